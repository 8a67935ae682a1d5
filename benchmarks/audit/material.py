"""What several real trainings said of the same new patients, and test sets drawn from it.

Read from trainings.npz (``benchmarks.audit.trainings`` makes it).  A test set holds distinct patients of that pool, so
nothing is drawn twice; a comparison sets two real trainings against each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoline.gate.recompute import Side, statistic
from cytoline.gate.revision import Snapshot
from cytoline.measures.ranking import Ranking, average_precision

CLASSES = ("NILM", "LSIL", "HSIL", "SCC")
ABNORMAL = CLASSES[1:]
CLASSIFIER = ("classifier.balanced_accuracy", "classifier.abnormal_sensitivity")
DETECTOR = "detector.ap50"

Row = dict[str, Any]
Found = NDArray[np.int64]
"""[N, 3] of field, score in ten-thousandths, whether it is a hit: what one detector finds."""
Called = NDArray[np.int64]
"""[cells] class numbers: what one classifier says."""


@dataclass(frozen=True, eq=False)
class Material:
    """The pool of patients and what every training says of it."""

    cell_patient: NDArray[np.int64]
    truth: NDArray[np.int64]
    called: tuple[Called, ...]
    """Classifiers with the full schedule, one per seed."""
    worse: tuple[Called, ...]
    """Classifiers with a short schedule: really worse ones."""
    field_patient: NDArray[np.int64]
    field_cells: NDArray[np.int64]
    found: tuple[Found, ...]
    """What each detector finds."""

    @classmethod
    def read(cls, path: Path) -> Material:
        """Read trainings.npz (numbers only: nothing in it can run)."""
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name].astype(np.int64) for name in file.files}
        plan, found = arrays["plan"], arrays["found"]
        full = plan[:, 1] == plan[:, 1].max()
        return cls(
            arrays["cell_patient"],
            arrays["cell_truth"],
            tuple(arrays["cell_called"][full]),
            tuple(arrays["cell_called"][~full]),
            arrays["field_patient"],
            arrays["field_cells"],
            tuple(found[found[:, 0] == model][:, 1:] for model in np.unique(found[:, 0])),
        )

    @property
    def patients(self) -> list[int]:
        """Everybody in the pool."""
        return sorted(set(self.field_patient.tolist()))

    @cached_property
    def cell_field(self) -> NDArray[np.int64]:
        """Cells are listed field by field."""
        return np.repeat(np.arange(len(self.field_cells)), self.field_cells)

    def state(self, name: str, called: Called, found: Found, patients: Sequence[int]) -> Snapshot:
        """A state of the repository with these patients as its test part."""
        cases = tuple(self._cases(called, found, patients))
        side = Side.of(cases, sorted({str(case["patient"]) for case in cases}), ABNORMAL)
        figures = {}
        for address in (*CLASSIFIER, DETECTOR):
            figure = statistic(address, side)
            value = np.nan if figure is None else float(figure(np.ones((1, len(side.patients))))[0])
            if np.isfinite(value):
                figures[address] = value
        return Snapshot(name, figures, cases)

    def balanced_accuracy(self, called: Called) -> float:
        """Over the whole pool."""
        return float(np.mean([np.mean(called[self.truth == k] == k) for k in np.unique(self.truth)]))

    @cache  # noqa: B019 (one object for the whole run)
    def pool_figures(self) -> list[dict[str, float]]:
        """The classifier's figures over the whole pool, once for each training."""
        nobody = self.found[0][:0]
        return [dict(self.state("", called, nobody, self.patients).figures) for called in self.called]

    @cache  # noqa: B019
    def share_of_hits(self, detector: int, drop: float) -> float:
        """The share of a detector's hits that must go for AP50 to fall by ``drop`` over the whole pool."""
        whole, low, high = self._pool_ap(detector, 0.0), 0.0, 0.9
        for _ in range(7):
            middle = (low + high) / 2
            fallen = whole - self._pool_ap(detector, middle)
            low, high = (middle, high) if fallen < drop else (low, middle)
        return (low + high) / 2

    def _pool_ap(self, detector: int, share: float) -> float:
        found = worse_found(self.found[detector], share, np.random.default_rng(0), self.field_patient)
        found = found[np.argsort(-found[:, 1], kind="stable")]
        hits, owner = found[:, 2].astype(bool)[None], np.zeros(len(found), dtype=np.int64)
        cells, fields = float(self.field_cells.sum()), float(len(self.field_cells))
        ranking = Ranking(found[:, 1].astype(float), hits, owner, np.array([cells]), np.array([fields]))
        return float(average_precision(ranking, np.ones((1, 1)))[0, 0])

    def _cases(self, called: Called, found: Found, patients: Sequence[int]) -> list[Row]:
        chosen = np.isin(self.field_patient, patients)
        rows: list[Row] = [
            {"kind": "field", "cells": int(self.field_cells[field])} | self._of(field)
            for field in np.flatnonzero(chosen)
        ]
        rows += [
            {"kind": "cell", "truth": CLASSES[self.truth[cell]], "predicted": CLASSES[called[cell]]}
            | {"probabilities": dict.fromkeys(CLASSES, 0.25)}
            | self._of(self.cell_field[cell])
            for cell in np.flatnonzero(chosen[self.cell_field])
        ]
        rows += [
            {"kind": "detection", "score": score / 1e4, "truth": "cell" if hit else None} | self._of(field)
            for field, score, hit in found[chosen[found[:, 0]]].tolist()
        ]
        return rows

    def _of(self, field: int) -> Row:
        return {"patient": f"{self.field_patient[field]:04d}", "image_id": f"{field:05d}"}


def worse_called(material: Material, good: Called, drop: float, rng: np.random.Generator) -> Called:
    """``good`` with so many cells graded by a worse classifier that balanced accuracy falls by ``drop`` over the pool.

    Of the worse ones the least bad that is bad enough.  Raises ``ValueError`` where none is.
    """
    whole = material.balanced_accuracy(good)
    gaps = {whole - material.balanced_accuracy(bad): number for number, bad in enumerate(material.worse)}
    gap = min((gap for gap in gaps if gap >= drop), default=None)
    if gap is None:
        raise ValueError(f"no classifier is worse by {drop}")
    return np.where(rng.random(len(good)) < drop / gap, material.worse[gaps[gap]], good)


def worse_found(found: Found, share: float, rng: np.random.Generator, field_patient: NDArray[np.int64]) -> Found:
    """``found`` without some of its hits: ``share`` on average, more of some patients and fewer of others.

    A patient's own share is Beta-distributed with half its mean as standard deviation: a detector that has become
    worse has become so on some stains and scanners first.
    """
    if share <= 0:
        return found
    spread = max((1 - share) / share / 0.25 - 1, 0.5)
    rates = rng.beta(share * spread, (1 - share) * spread, size=int(field_patient.max()) + 1)
    lost = rng.random(len(found)) < rates[field_patient[found[:, 0]]]
    kept: Found = found[~(lost & (found[:, 2] == 1))]
    return kept
