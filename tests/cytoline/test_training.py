"""Training chooses the best epoch, stops early, and an interrupted run ends where an unbroken one does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cytoline import openmm

openmm.register()

from mmengine.config import Config  # noqa: E402
from mmengine.evaluator import BaseMetric  # noqa: E402
from mmengine.model import BaseModel  # noqa: E402
from mmengine.registry import DATASETS, METRICS  # noqa: E402

from cytoline.training import Schedule, Trained, train  # noqa: E402


class Line(BaseModel):  # type: ignore[misc]
    """Fits y = 3x with dropout, so that a wrong random state shows in the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.dropout = nn.Dropout(0.3)

    def forward(self, inputs: list[Tensor], mode: str = "loss") -> Any:
        points = torch.stack(inputs)
        if mode == "predict":
            return [self.layer(points)]
        return {"loss": (self.layer(self.dropout(points)) - 3 * points.sum(1, keepdim=True)).square().mean()}


class Points(torch.utils.data.Dataset[dict[str, Tensor]]):
    metainfo: Mapping[str, Any] = {}

    def __len__(self) -> int:
        return 32

    def __getitem__(self, at: int) -> dict[str, Tensor]:
        return {"inputs": torch.randn(4, generator=torch.Generator().manual_seed(at))}


class Closeness(BaseMetric):  # type: ignore[misc]
    """Minus the squared error; from ``worsens_after`` validations on, each counts as worse than the last."""

    def __init__(self, worsens_after: int = 0) -> None:
        super().__init__(prefix="line")
        self.worsens_after = worsens_after
        self.judged = 0

    def process(self, data_batch: Any, data_samples: Any) -> None:
        wanted = 3 * torch.stack(data_batch["inputs"]).sum(1, keepdim=True)
        self.results.append(float((data_samples[0] - wanted).square().sum()))

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        self.judged += 1
        if self.worsens_after:
            return {"good": float(-abs(self.judged - self.worsens_after))}
        return {"good": -sum(results)}


DATASETS.register_module(name="TestPoints", module=Points, force=True)
METRICS.register_module(name="TestCloseness", module=Closeness, force=True)
CONFIG = Config({"optimizer": {"type": "AdamW", "lr": 0.1}, "paramwise_cfg": None, "clip_grad": {"max_norm": 5}})


class StopError(Exception):
    """Stands in for Ctrl-C."""


def run(folder: Path, epochs: int = 5, stop_at: int = 0, worsens_after: int = 0, patience: int = 9) -> Trained:
    torch.manual_seed(3)

    def on_epoch(epoch: int, figures: Mapping[str, float]) -> None:
        if epoch == stop_at and "loss" in figures:
            raise StopError

    loader = {"dataset": {"type": "TestPoints"}, "sampler": {"type": "DefaultSampler", "shuffle": True}}
    schedule = Schedule(epochs, 8, 0.1, 2, 1, patience, "line/good", True, 5)
    metric = {"type": "TestCloseness", "worsens_after": worsens_after}
    return train("mmpretrain", Line(), CONFIG, loader, loader, metric, schedule, folder / "state", on_epoch)


def test_an_interrupted_training_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    whole = run(tmp_path / "a")
    with pytest.raises(StopError):
        run(tmp_path / "b", stop_at=4)
    assert (tmp_path / "b" / "state").is_dir()
    resumed = run(tmp_path / "b")
    assert not (tmp_path / "b" / "state").exists(), "a complete training leaves no state behind"
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in whole.history]
    assert resumed.best_epoch == whole.best_epoch
    for name, tensor in whole.state.items():
        assert torch.equal(tensor, resumed.state[name]), name


def test_the_best_epoch_is_kept_and_patience_ends_the_training(tmp_path: Path) -> None:
    trained = run(tmp_path, epochs=20, worsens_after=3, patience=2)
    assert trained.best_epoch == 3
    assert len(trained.history) == 5
    shorter = run(tmp_path / "shorter", epochs=20, worsens_after=3, patience=1)
    for name, tensor in trained.state.items():
        assert torch.equal(tensor, shorter.state[name]), f"{name} is not that of the best epoch"


def test_learning_brings_the_loss_down(tmp_path: Path) -> None:
    losses = [row["loss"] for row in run(tmp_path, epochs=25).history]
    assert losses[-1] < losses[0] / 2
