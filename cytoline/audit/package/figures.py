"""The figures of a model, out of its metrics files: name, value, interval, and the file that proves each."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cytoline.audit.package import layout

_STAGE_FILES = {
    "classifier": ("classifier.json", "two_stage.json"),
    "detector": ("detector.json", "two_stage.json"),
    "upscaler": ("upscaler.json",),
}


@dataclass(frozen=True)
class Figure:
    """``file`` is relative to the package, ``key`` the figure's place in it."""

    file: str
    key: str
    value: float
    low: float | None
    high: float | None


def figures(folder: Path, stage: str) -> tuple[Figure, ...]:
    """Every figure of the model's own files, in the order of the files and of their keys."""
    found: list[Figure] = []
    for name in _STAGE_FILES.get(stage, ()):
        path = folder / layout.METRICS / name
        if path.is_file():
            found += _figures(f"{layout.METRICS}/{name}", json.loads(path.read_bytes()), "")
    return tuple(found)


def headline(found: tuple[Figure, ...]) -> tuple[Figure, ...]:
    """Those with an interval that stand at the top of a file: what a reader looks for first."""
    return tuple(one for one in found if one.low is not None and "." not in one.key)


def _figures(file: str, values: dict[str, Any], prefix: str) -> Iterator[Figure]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _figures(file, value, f"{prefix}{key}.")
        elif _number(value) and not key.endswith(("_low", "_high")):
            low: Any = values.get(f"{key}_low")
            high: Any = values.get(f"{key}_high")
            both = _number(low) and _number(high)
            yield Figure(
                file, f"{prefix}{key}", float(value), float(low) if both else None, float(high) if both else None
            )


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
