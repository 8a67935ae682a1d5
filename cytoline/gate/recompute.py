"""Figures computed again from per-case results, for any weights of the patients.

What ``evaluate`` writes to ``metrics/cases.jsonl`` is enough for average precision, recall, accuracy, balanced
accuracy, macro F1 and the sensitivity and specificity of each class.  Others have no paired test: for them only
the noise of the seed is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoline.measures import grading
from cytoline.measures.bootstrap import Floats
from cytoline.measures.ranking import Ranking, average_precision, recall

Cases = Sequence[Mapping[str, Any]]
Statistic = Callable[[Floats], Floats]
"""Weights of the patients [B, P] to the figure [B]; NaN where it is undefined."""


@dataclass(frozen=True)
class Side:
    """The cases of one state, reduced to some patients in a fixed order."""

    patients: tuple[str, ...]
    cases: tuple[Mapping[str, Any], ...]

    @classmethod
    def of(cls, cases: Cases, patients: Sequence[str]) -> Side:
        """Only these patients' cases."""
        wanted = set(patients)
        return cls(tuple(patients), tuple(case for case in cases if case["patient"] in wanted))

    def kind(self, kind: str) -> list[Mapping[str, Any]]:
        """Cases of one kind: ``field``, ``cell`` or ``detection``."""
        return [case for case in self.cases if case["kind"] == kind]

    def owners(self, cases: Cases) -> NDArray[np.int64]:
        """Column of each case's patient."""
        place = {name: number for number, name in enumerate(self.patients)}
        return np.array([place[str(case["patient"])] for case in cases], dtype=np.int64)


def patients_of(cases: Cases) -> set[str]:
    """Everybody who has a case."""
    return {str(case["patient"]) for case in cases}


def statistic(address: str, side: Side) -> Statistic | None:
    """How to compute the figure ``address`` from cases; None for one that cannot be."""
    file, *keys = address.split(".")
    if file == "detector" and keys in (["ap50"], ["recall"]):
        return _detection(side, keys[0])
    if file == "classifier":
        return _grading(side, keys)
    return None


def _detection(side: Side, name: str) -> Statistic:
    ranking = _ranking(side)
    if name == "ap50":
        return lambda weights: average_precision(ranking, weights)[:, 0]
    return lambda weights: recall(ranking, weights)[:, 0]


def _ranking(side: Side) -> Ranking:
    fields, found = side.kind("field"), side.kind("detection")
    truths, images = np.zeros(len(side.patients)), np.zeros(len(side.patients))
    np.add.at(truths, side.owners(fields), [float(case["cells"]) for case in fields])
    np.add.at(images, side.owners(fields), 1.0)
    scores = np.array([float(case["score"]) for case in found], dtype=np.float64)
    hits = np.array([case["truth"] is not None for case in found], dtype=bool)
    order = np.argsort(-scores, kind="stable")
    return Ranking(scores[order], hits[None, order], side.owners(found)[order], truths, images)


def _grading(side: Side, keys: list[str]) -> Statistic | None:
    cells = side.kind("cell")
    classes = sorted({name for case in cells for name in case["probabilities"]})
    if not cells:
        return None
    table = grading.confusions(
        np.array([classes.index(case["truth"]) for case in cells], dtype=np.int64),
        np.array([classes.index(case["predicted"]) for case in cells], dtype=np.int64),
        side.owners(cells),
        len(classes),
        len(side.patients),
    )

    def drawn(weights: Floats) -> Floats:
        return grading.weighted(table, weights)

    whole: dict[str, Statistic] = {
        "accuracy": lambda weights: grading.accuracy(drawn(weights)),
        "balanced_accuracy": lambda weights: grading.macro(grading.sensitivity(drawn(weights))),
        "macro_f1": lambda weights: grading.macro(grading.f1(drawn(weights))),
    }
    if len(keys) == 1:
        return whole.get(keys[0])
    if len(keys) == 3 and keys[0] == "per_class" and keys[1] in classes and keys[2] in ("sensitivity", "specificity"):
        column, one = classes.index(keys[1]), getattr(grading, keys[2])
        return lambda weights: one(drawn(weights))[:, column]
    return None
