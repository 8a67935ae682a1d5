"""What happens around a training epoch: seeds, best weights, early stopping, resuming, progress."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from cytoline import training_state
from cytoline.compute import seed_everything
from cytoline.errors import CytolineError
from cytoline.progress import Bar


def _plain(model: Any) -> Any:
    return getattr(model, "module", model)


class EpochSeed(Hook):  # type: ignore[misc]
    """Start each epoch from a seed of its own, so that a resumed run shakes the data as an unbroken one does."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed Python, NumPy and PyTorch."""
        seed_everything(self.seed * 10_007 + runner.epoch)


class Frozen(Hook):  # type: ignore[misc]
    """Keep modules as they were pre-trained: no gradient, and batch statistics that do not move.

    The first layers know edges and colours, which a few hundred cells cannot teach better, and at full
    resolution they cost more time than all layers after them.
    """

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        named = dict(model.named_modules())
        self.modules = [named[name] for name in names]
        for module in self.modules:
            module.requires_grad_(False)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """MMEngine puts the whole model into training mode once an epoch; these go back."""
        for module in self.modules:
            module.eval()


class BestOnValidation(Hook):  # type: ignore[misc]
    """Keep the weights of the best validation and stop when ``patience`` of them brought nothing better."""

    # Before EMAHook (NORMAL) swaps the averaged weights out again.
    priority = "HIGH"

    def __init__(self, metric: str, patience: int) -> None:
        self.metric = metric
        self.patience = patience
        self.state: dict[str, Tensor] = {}
        self.value = float("-inf")
        self.epoch = 0
        self.waited = 0

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Compare the figure that decides; ``metrics`` holds the evaluator's."""
        value = float((metrics or {})[self.metric])
        if value > self.value:
            self.value, self.epoch, self.waited = value, runner.epoch, 0
            self.state = {key: item.detach().cpu().clone() for key, item in _plain(runner.model).state_dict().items()}
            return
        self.waited += 1
        if self.waited >= self.patience:
            runner.train_loop.stop_training = True

    def result(self) -> tuple[dict[str, Tensor], int, float]:
        """Best state, its epoch (from 1) and its figure."""
        if not self.state:
            raise CytolineError("training ended before any validation", "raise `epochs` or lower `validate_every`")
        return self.state, self.epoch, self.value

    def summary(self) -> dict[str, float]:
        """What a resumed run must know beside the weights."""
        return {"value": self.value, "epoch": self.epoch, "waited": self.waited}


class Watch(Hook):  # type: ignore[misc]
    """Progress bar with time left, the curves, and the epoch's figures for whoever records the run."""

    priority = "LOW"

    def __init__(self, epochs: int, on_epoch: Callable[[int, Mapping[str, float]], None]) -> None:
        self.epochs = epochs
        self.on_epoch = on_epoch
        self.history: list[dict[str, float]] = []
        self.losses: list[float] = []
        self.bar: Bar | None = None

    def before_train(self, runner: Runner) -> None:
        """Open the bar; epochs done before an interrupt count as done."""
        steps = len(runner.train_dataloader)
        self.bar = Bar(total=self.epochs * steps, description="training")
        self.bar.__enter__()
        self.bar.advance(runner.epoch * steps)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Tensor] | None = None
    ) -> None:
        """One step on."""
        loss = (outputs or {})["loss"].item()
        self.losses.append(loss)
        if self.bar is not None:
            self.bar.advance(1, epoch=f"{runner.epoch + 1}/{self.epochs}", loss=f"{loss:.3f}")

    def after_train_epoch(self, runner: Runner) -> None:
        """Note the epoch's mean loss and learning rate."""
        rate = float(runner.optim_wrapper.get_lr()["lr"][0])
        mean = sum(self.losses) / max(1, len(self.losses))
        self.losses = []
        row = {"epoch": float(runner.epoch + 1), "loss": round(mean, 6), "learning_rate": round(rate, 9)}
        self.history.append(row)
        self.on_epoch(runner.epoch + 1, {key: value for key, value in row.items() if key != "epoch"})

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Add the validation's figures to the epoch that it judged."""
        figures = {f"val_{key.split('/')[-1]}": round(float(value), 6) for key, value in (metrics or {}).items()}
        self.history[-1].update(figures)
        self.on_epoch(runner.epoch, figures)
        if self.bar is not None:
            self.bar.advance(0, **{key: f"{value:.3f}" for key, value in figures.items()})

    def after_train(self, runner: Runner) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.__exit__(None, None, None)


class Resumable(Hook):  # type: ignore[misc]
    """Write the whole state at the start of each epoch, and begin from it when a run was interrupted."""

    # After EMAHook has made its copy, before Watch opens the bar.
    priority = "BELOW_NORMAL"

    def __init__(self, folder: Path, best: BestOnValidation, watch: Watch) -> None:
        self.folder = folder
        self.best = best
        self.watch = watch

    @staticmethod
    def forget(folder: Path) -> None:
        """Remove the state of a training that is complete."""
        shutil.rmtree(folder, ignore_errors=True)

    def before_train(self, runner: Runner) -> None:
        """Take up an interrupted training if there is one."""
        saved = training_state.read(self.folder)
        if saved is None:
            return
        _plain(runner.model).load_state_dict(saved["model"], strict=True)
        if (average := _average(runner)) is not None:
            average.load_state_dict(saved["average"], strict=True)
        runner.optim_wrapper.load_state_dict(saved["optimizer"])
        for scheduler, state in zip(runner.param_schedulers, saved["schedulers"], strict=True):
            scheduler.load_state_dict(state)
        runner.train_loop._epoch = int(saved["epoch"])
        runner.train_loop._iter = int(saved["iteration"])
        self.best.state = saved["best_state"]
        self.best.value, self.best.epoch = float(saved["best"]["value"]), int(saved["best"]["epoch"])
        self.best.waited = int(saved["best"]["waited"])
        self.watch.history = saved["history"]

    def before_train_epoch(self, runner: Runner) -> None:
        """Save what the last epoch and its validation left."""
        if runner.epoch == 0 or runner.rank != 0:
            return
        average = _average(runner)
        training_state.write(
            self.folder,
            {
                "model": _plain(runner.model).state_dict(),
                "average": {} if average is None else average.state_dict(),
                "optimizer": runner.optim_wrapper.state_dict(),
                "schedulers": [
                    {key: value for key, value in scheduler.state_dict().items() if key != "verbose"}
                    for scheduler in runner.param_schedulers
                ],
                "epoch": runner.epoch,
                "iteration": runner.iter,
                "best": self.best.summary(),
                "best_state": self.best.state,
                "history": self.watch.history,
            },
        )


def _average(runner: Runner) -> Any:
    for hook in runner.hooks:
        if isinstance(hook, EMAHook):
            return hook.ema_model
    return None
