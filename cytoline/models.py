"""The model folder: weights, the resolved configuration, what happened in training, and a checked card.

No pickle is ever written or read here, and equal models are equal bytes: nothing holds a time, a host or a path.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from cytoline import atomic
from cytoline.errors import CytolineError

WEIGHTS = "weights.safetensors"
CONFIG = "config.py"
CARD = "model_card.json"
HISTORY = "history.json"

Text = Annotated[str, Field(min_length=1)]
Digest = Annotated[str, Field(pattern=r"^(md5:|sha256:|blake3:)?[0-9a-f]{8,64}(\.dir)?$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Port(BaseModel):
    """One input or output of a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Text
    shape: tuple[int | str, ...]
    """Sizes; a word where the size is free, for example ("batch", 3, 112, 112)."""
    dtype: Text
    range: tuple[Finite, Finite] | None = None
    """Smallest and largest value that is allowed (input) or possible (output)."""
    meaning: Text

    @model_validator(mode="after")
    def _range_ascends(self) -> Self:
        if self.range is not None and self.range[0] >= self.range[1]:
            raise ValueError("a range goes from the smaller to the larger value")
        return self


class ModelCard(BaseModel):
    """What a user and an auditor must know about a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Text
    version: Text
    stage: Literal["detector", "upscaler", "classifier"]
    intended_use: Text
    limits: Annotated[tuple[Text, ...], Field(min_length=1)]
    inputs: Annotated[tuple[Port, ...], Field(min_length=1)]
    outputs: Annotated[tuple[Port, ...], Field(min_length=1)]
    classes: tuple[Text, ...] = ()
    """What the class numbers of the outputs mean, in order; empty where there are none."""
    training_data: Annotated[dict[Text, Digest], Field(min_length=1)]
    """Every data set that shaped the weights, the initial weights included: name -> digest."""
    metrics: dict[Text, Finite]
    versions: Annotated[dict[Text, Text], Field(min_length=1)]
    """Package -> version, of all that computes with the weights."""
    seed: Annotated[int, Field(ge=0)]
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """The logits are divided by it to make the probabilities honest; None where that does not apply."""
    settings: dict[Text, JsonValue] = {}
    """What must be the same again when the model is used (input size, method of enlargement), by name."""
    untrained: Text | None = None
    """Why the folder holds no trained model (a data set of single cells needs no detector); None where it does."""
    parameters: Annotated[int, Field(ge=0)] = 0
    """Number of weights.  Filled by ``save_model``."""
    files: dict[Text, Sha256] = {}
    """File -> sha256 of every other file of the folder.  Filled by ``save_model``."""


def save_model(
    out: Path,
    state: Mapping[str, Tensor],
    config: str,
    card: ModelCard,
    history: Sequence[Mapping[str, float]],
) -> ModelCard:
    """Write a model folder in the place of ``out``, in one step, and give the completed card.

    ``config`` is the text of the resolved OpenMMLab configuration (or a comment for a model that has none).
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(state.items())}
    contents = {
        WEIGHTS: save_safetensors(plain),
        CONFIG: config.encode("utf-8"),
        HISTORY: _pretty([dict(row) for row in history]),
    }
    completed = ModelCard.model_validate(
        {
            **card.model_dump(),
            "parameters": sum(tensor.numel() for tensor in plain.values()),
            "files": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        }
    )
    with atomic.rebuilt_folder(out) as folder:
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        (folder / CARD).write_bytes(_pretty(completed.model_dump(mode="json")))
    return completed


def read_card(folder: Path) -> ModelCard:
    """Read and check the card.  Raises ``CytolineError`` that names the first bad entry."""
    path = folder / CARD
    try:
        return ModelCard.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise CytolineError(f"{path} is missing", _rebuild(folder)) from None
    except ValidationError as error:
        item = error.errors()[0]
        where = ".".join(str(part) for part in item["loc"]) or "file"
        raise CytolineError(f"{path}: {where}: {item['msg']}", _rebuild(folder)) from None


def read_history(folder: Path) -> list[dict[str, float]]:
    """One row of figures per epoch, as given to ``save_model``."""
    rows: list[dict[str, float]] = json.loads(_checked(folder, HISTORY))
    return rows


def load_state(folder: Path) -> dict[str, Tensor]:
    """The weights, on the CPU, after checking that they are those the card speaks of."""
    content = _checked(folder, WEIGHTS)
    try:
        return load_safetensors(content)
    except SafetensorError as error:
        raise CytolineError(f"{folder / WEIGHTS} is no safetensors file: {error}", _rebuild(folder)) from None


def load_strictly(module: torch.nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Put ``state`` into ``module``; every tensor must find its place and no place may stay empty."""
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise CytolineError(
            f"the weights of {what} do not fit its configuration: {first[0].strip()[:300]}",
            "use the config.py and the weights of one and the same training run",
        ) from None


def verify_model(folder: Path) -> ModelCard:
    """Check the card and that every file is the one the card names, no more and no less."""
    card = read_card(folder)
    present = {item.name for item in folder.iterdir()} - {CARD, ".gitignore"}
    if present != set(card.files):
        odd = ", ".join(sorted(present ^ set(card.files)))
        raise CytolineError(f"{folder} and its card disagree about which files there are: {odd}", _rebuild(folder))
    for name in card.files:
        _checked(folder, name, card)
    return card


def _checked(folder: Path, name: str, card: ModelCard | None = None) -> bytes:
    expected = (card or read_card(folder)).files.get(name)
    try:
        content = (folder / name).read_bytes()
    except FileNotFoundError:
        raise CytolineError(f"{folder / name} is missing", _rebuild(folder)) from None
    if hashlib.sha256(content).hexdigest() != expected:
        raise CytolineError(f"{folder / name} is not the file that its card names (sha256 differs)", _rebuild(folder))
    return content


def _rebuild(folder: Path) -> str:
    return f"restore it with `dvc checkout {folder}` or train it again with `dvc repro`"


def _pretty(value: object) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
