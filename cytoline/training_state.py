"""Nested training state (weights, optimizer, schedulers, counters) without pickle.

Tensors go into one safetensors file, everything else into JSON in which a tensor's place holds its name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from cytoline import atomic

TENSORS = "state.safetensors"
SHAPE = "state.json"

_TENSOR = "__tensor__"
_PAIRS = "__pairs__"
_TUPLE = "__tuple__"


def write(folder: Path, state: dict[str, Any]) -> None:
    """Replace the state in ``folder`` as a whole."""
    tensors: dict[str, Tensor] = {}
    shape = _flatten(state, tensors)
    with atomic.rebuilt_folder(folder) as fresh:
        (fresh / TENSORS).write_bytes(save(tensors))
        (fresh / SHAPE).write_text(json.dumps(shape), encoding="utf-8")


def read(folder: Path) -> dict[str, Any] | None:
    """The state that was written, or None where there is none or it does not read."""
    try:
        tensors = load_file(folder / TENSORS)
        shape = json.loads((folder / SHAPE).read_text(encoding="utf-8"))
        state = _restore(shape, tensors)
    except (OSError, ValueError, KeyError, SafetensorError):
        return None
    return state if isinstance(state, dict) else None


def _flatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {_TENSOR: name}
    if isinstance(value, dict):
        # Pairs, because an optimizer's keys are numbers and JSON would turn them into text.
        return {_PAIRS: [[key, _flatten(item, tensors)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {_TUPLE: [_flatten(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_flatten(item, tensors) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.dtype | torch.device):
        return str(value)
    raise TypeError(f"training state holds a {type(value).__name__}, which has no plain form")


def _restore(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_restore(item, tensors) for item in value]
    if isinstance(value, dict):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        if _TUPLE in value:
            return tuple(_restore(item, tensors) for item in value[_TUPLE])
        return {key: _restore(item, tensors) for key, item in value[_PAIRS]}
    return value
