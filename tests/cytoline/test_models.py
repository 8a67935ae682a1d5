"""The model folder: what goes in comes out, equal models are equal bytes, and a changed file is noticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from cytoline import models
from cytoline.errors import CytolineError


@pytest.fixture
def card() -> models.ModelCard:
    return models.ModelCard(
        name="cell detector",
        version="0.1.0",
        stage="detector",
        intended_use="research",
        limits=("not for diagnosis",),
        inputs=(models.Port(name="field", shape=("batch", 3, 384, 512), dtype="uint8", range=(0, 255), meaning="RGB"),),
        outputs=(models.Port(name="boxes", shape=("cells", 4), dtype="float32", meaning="pixels"),),
        classes=("cell",),
        training_data={"data/clean": "md5:" + "0" * 32 + ".dir"},
        metrics={"ap50": 0.9},
        versions={"torch": "2.14.1"},
        seed=0,
    )


@pytest.fixture
def state() -> dict[str, Tensor]:
    shared = torch.arange(6.0).reshape(2, 3)
    return {"weight": shared.t(), "same": shared.t(), "steps": torch.tensor(7), "half": shared.bfloat16()}


HISTORY = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]


def test_what_goes_in_comes_out(tmp_path: Path, card: models.ModelCard, state: dict[str, Tensor]) -> None:
    written = models.save_model(tmp_path / "m", state, "model = dict()\n", card, HISTORY)
    loaded = models.load_state(tmp_path / "m")
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) and loaded[name].dtype == state[name].dtype for name in state)
    assert models.read_card(tmp_path / "m") == written == models.verify_model(tmp_path / "m")
    assert written.parameters == 6 + 6 + 1 + 6
    assert models.read_history(tmp_path / "m") == HISTORY
    assert (tmp_path / "m" / "config.py").read_text() == "model = dict()\n"
    assert [item.name for item in tmp_path.iterdir()] == ["m"]


def test_equal_models_are_equal_bytes(tmp_path: Path, card: models.ModelCard, state: dict[str, Tensor]) -> None:
    models.save_model(tmp_path / "a", state, "x = 1", card, HISTORY)
    models.save_model(tmp_path / "b", dict(reversed(state.items())), "x = 1", card, HISTORY)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_failed_save_leaves_the_old_model(tmp_path: Path, card: models.ModelCard, state: dict[str, Tensor]) -> None:
    models.save_model(tmp_path / "m", state, "x = 1", card, HISTORY)
    with pytest.raises(ValueError, match="not JSON compliant"):
        models.save_model(tmp_path / "m", state, "x = 2", card, [{"loss": float("nan")}])
    models.verify_model(tmp_path / "m")
    assert (tmp_path / "m" / "config.py").read_text() == "x = 1"


@pytest.mark.parametrize("name", [models.WEIGHTS, models.CONFIG, models.HISTORY])
def test_a_changed_file_is_noticed(tmp_path: Path, card: models.ModelCard, state: dict[str, Tensor], name: str) -> None:
    models.save_model(tmp_path / "m", state, "x = 1", card, HISTORY)
    path = tmp_path / "m" / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(CytolineError, match=name):
        models.verify_model(tmp_path / "m")


def test_weights_are_checked_before_they_are_used(
    tmp_path: Path, card: models.ModelCard, state: dict[str, Tensor]
) -> None:
    models.save_model(tmp_path / "m", state, "x = 1", card, HISTORY)
    (tmp_path / "m" / models.WEIGHTS).write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(CytolineError, match="sha256 differs"):
        models.load_state(tmp_path / "m")
    (tmp_path / "m" / models.WEIGHTS).unlink()
    with pytest.raises(CytolineError, match="is missing"):
        models.load_state(tmp_path / "m")


def test_a_file_that_the_card_does_not_name_is_noticed(
    tmp_path: Path, card: models.ModelCard, state: dict[str, Tensor]
) -> None:
    models.save_model(tmp_path / "m", state, "x = 1", card, HISTORY)
    (tmp_path / "m" / "weights.pth").touch()
    with pytest.raises(CytolineError, match=r"weights\.pth"):
        models.verify_model(tmp_path / "m")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("limits", []),
        ("intended_use", ""),
        ("training_data", {"data/clean": "yesterday's"}),
        ("training_data", {}),
        ("metrics", {"ap50": "good"}),
        ("inputs", [{"name": "x", "shape": [1], "dtype": "uint8", "range": [1, 0], "meaning": "m"}]),
        ("stage", "oracle"),
        ("surprise", 1),
        ("temperature", 0),
    ],
)
def test_a_card_with_holes_is_refused(
    tmp_path: Path, card: models.ModelCard, state: dict[str, Tensor], key: str, value: object
) -> None:
    models.save_model(tmp_path / "m", state, "x = 1", card, HISTORY)
    path = tmp_path / "m" / models.CARD
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(CytolineError, match=key):
        models.read_card(tmp_path / "m")


def test_a_figure_that_is_no_number_never_enters_a_card(card: models.ModelCard) -> None:
    with pytest.raises(ValidationError):
        models.ModelCard.model_validate({**card.model_dump(), "metrics": {"ap50": float("nan")}})


def test_no_card_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CytolineError, match=r"model_card\.json is missing"):
        models.read_card(tmp_path)


def test_loading_is_strict() -> None:
    module = nn.Linear(2, 3)
    models.load_strictly(module, {"weight": torch.ones(3, 2), "bias": torch.ones(3)}, "the detector")
    assert module.bias.sum() == 3
    for broken in ({"weight": torch.ones(3, 2)}, {"weight": torch.ones(2, 2), "bias": torch.ones(3)}):
        with pytest.raises(CytolineError, match="the detector"):
            models.load_strictly(module, broken, "the detector")
