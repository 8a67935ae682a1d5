"""95 % intervals by drawing patients, not cells: cells of one patient are alike and do not count as independent.

Percentile bootstrap (Efron & Tibshirani 1993, chapter 13) over clusters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DIGITS = 6
_CHUNK = 128
"""Resamples worked on at once: bounds memory at chunk x detections."""
_ENOUGH = 0.5
"""Below this share of resamples in which a figure is defined, its interval would speak of other data."""


@dataclass(frozen=True)
class Patients:
    """The patients of one split, and how often each resample holds each of them."""

    names: tuple[str, ...]
    weights: Floats
    """[samples, patients]; a row sums to the number of patients."""

    @classmethod
    def of(cls, names: Sequence[str], samples: int, seed: int) -> Patients:
        """Draw ``samples`` resamples of the distinct ``names``; none where there are fewer than two patients."""
        distinct = tuple(sorted(set(names)))
        count = len(distinct)
        if count < 2:
            return cls(distinct, np.zeros((0, count)))
        draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=samples)
        return cls(distinct, draws.astype(np.float64))

    def method(self, confidence: float) -> list[str]:
        """How the intervals were made, in words (a list, which ``dvc metrics`` passes over)."""
        resamples = len(self.weights)
        if not resamples:
            return []
        return [f"{confidence:.0%} percentile bootstrap over {len(self.names)} patients, {resamples} resamples"]

    def index(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Column of each name."""
        place = {name: number for number, name in enumerate(self.names)}
        return np.array([place[name] for name in names], dtype=np.int64)

    def chunks(self) -> Iterator[Floats]:
        """The weights, some resamples at a time."""
        for start in range(0, len(self.weights), _CHUNK):
            yield self.weights[start : start + _CHUNK]

    def once(self) -> Floats:
        """[1, patients]: everybody as they are."""
        return np.ones((1, len(self.names)))


@dataclass
class Figures:
    """Collects figures with their intervals; what cannot be said is left out and the reason kept in ``notes``."""

    confidence: float
    values: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def count(self, name: str, value: int) -> None:
        """A plain count."""
        self.values[name] = int(value)

    def add(self, name: str, value: float | None, resampled: Floats | None = None, *, why: str = "undefined") -> None:
        """One figure; ``resampled`` [samples] may hold NaN where the figure is undefined.

        ``why`` is the reason to give if ``value`` is None or NaN.
        """
        if value is None or not np.isfinite(value):
            self.notes.append(f"{name}: {why}")
            return
        self.values[name] = round(float(value), DIGITS)
        if resampled is None:
            return
        if len(resampled) == 0:
            self._no_interval("fewer than two patients: no intervals")
            return
        defined = resampled[np.isfinite(resampled)]
        if len(defined) < _ENOUGH * len(resampled):
            self._no_interval(f"{name}: undefined in most resamples of the patients: no interval")
            return
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(defined, [tail, 1 - tail])
        self.values[f"{name}_low"] = round(float(low), DIGITS)
        self.values[f"{name}_high"] = round(float(high), DIGITS)

    def done(self) -> dict[str, Any]:
        """The figures, ready for JSON.  ``notes`` is a list, which ``dvc metrics`` passes over."""
        return self.values | ({"notes": self.notes} if self.notes else {})

    def _no_interval(self, reason: str) -> None:
        if reason not in self.notes:
            self.notes.append(reason)


def average(parts: Sequence[Floats]) -> Floats:
    """Mean over the classes for which a resample defines the figure; NaN where none does."""
    stacked = np.stack(parts, axis=-1)
    defined = np.isfinite(stacked)
    counts = defined.sum(axis=-1)
    total = np.where(defined, stacked, 0.0).sum(axis=-1)
    mean: Floats = np.divide(total, counts, out=np.full(total.shape, np.nan), where=counts > 0)
    return mean
