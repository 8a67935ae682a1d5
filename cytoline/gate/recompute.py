"""Figures computed again from per-case results, for any weights of the patients.

What ``evaluate`` writes to ``metrics/cases.jsonl`` is enough for average precision and recall of the detector, the mean
average precision of both stages, accuracy, balanced accuracy, macro F1, and the sensitivity and specificity of each
class and of "abnormal".  Others have no paired test: for them only the noise of the seed is known.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoline.boxes import as_boxes
from cytoline.measures import grading
from cytoline.measures.bootstrap import Floats, Patients, average
from cytoline.measures.ranking import Field, Ranking, average_precision, rank, recall

Cases = Sequence[Mapping[str, Any]]
Statistic = Callable[[Floats], Floats]
"""Weights of the patients [B, P] to the figure [B]; NaN where it is undefined."""


@dataclass(frozen=True)
class Side:
    """The cases of one state, reduced to some patients in a fixed order."""

    patients: tuple[str, ...]
    cases: tuple[Mapping[str, Any], ...]
    abnormal: frozenset[str] = frozenset()
    """Classes that count as abnormal; without any there is no figure of "abnormal"."""

    @classmethod
    def of(cls, cases: Cases, patients: Sequence[str], abnormal: Collection[str] = ()) -> Side:
        """Only these patients' cases."""
        wanted = set(patients)
        kept = tuple(case for case in cases if case["patient"] in wanted)
        return cls(tuple(patients), kept, frozenset(abnormal))

    def by_image(self) -> Side:
        """The same cases with every image in the place of a patient."""
        renamed = tuple({**case, "patient": f"{case['patient']} {case.get('image_id', '')}"} for case in self.cases)
        return Side(tuple(sorted(patients_of(renamed))), renamed, self.abnormal)

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
    if file == "two_stage" and keys == ["map50"]:
        return _two_stages(side)
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


def _two_stages(side: Side) -> Statistic | None:
    """Mean AP50 over the classes that have cells, as ``stages.evaluate.two_stage`` has it."""
    patients = Patients(side.patients, np.zeros((0, len(side.patients))))
    classes = sorted({str(case["truth"]) for case in side.kind("cell")})
    if not side.kind("field") or not classes:
        return None
    rankings = [rank(_fields(side, name), patients, ious=(0.5,)) for name in classes]
    return lambda weights: average([average_precision(ranking, weights)[:, 0] for ranking in rankings])


def _fields(side: Side, name: str) -> list[Field]:
    """True cells of one class, and every detection with its score for that class."""
    cells, found = _by_image(side.kind("cell")), _by_image(side.kind("detection"))
    fields = []
    for case in side.kind("field"):
        image = str(case["image_id"])
        rows = sorted(found.get(image, []), key=lambda row: (-float(row["score"]), str(row["patch_id"])))
        truths = [cell["bbox"] for cell in cells.get(image, []) if cell["truth"] == name]
        scores = [float(row["score"]) * float(row["probabilities"].get(name, 0.0)) for row in rows]
        boxes = as_boxes([row["bbox"] for row in rows])
        fields.append(Field(image, str(case["patient"]), as_boxes(truths), boxes, np.array(scores, dtype=np.float64)))
    return fields


def _by_image(cases: Cases) -> dict[str, list[Mapping[str, Any]]]:
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for case in cases:
        grouped.setdefault(str(case["image_id"]), []).append(case)
    return grouped


def _grading(side: Side, keys: list[str]) -> Statistic | None:
    cells = side.kind("cell")
    classes = sorted({str(name) for case in cells for name in (case["truth"], case["predicted"])})
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
    if len(keys) == 1 and keys[0] in ("abnormal_sensitivity", "abnormal_specificity"):
        return _abnormal(side, cells, positive=keys[0] == "abnormal_sensitivity")
    if len(keys) == 1:
        return whole.get(keys[0])
    if len(keys) == 3 and keys[0] == "per_class" and keys[1] in classes and keys[2] in ("sensitivity", "specificity"):
        column, one = classes.index(keys[1]), getattr(grading, keys[2])
        return lambda weights: one(drawn(weights))[:, column]
    return None


def _abnormal(side: Side, cells: Cases, *, positive: bool) -> Statistic | None:
    """Share of the abnormal cells that are called some abnormal class (or of the normal ones that are not)."""
    asked = [case for case in cells if (case["truth"] in side.abnormal) == positive]
    if not asked or not side.abnormal:
        return None
    table = np.zeros((len(side.patients), 2))
    right = [(case["predicted"] in side.abnormal) == positive for case in asked]
    np.add.at(table, side.owners(asked), np.stack([np.array(right, dtype=float), np.ones(len(right))], axis=1))

    def share(weights: Floats) -> Floats:
        counts = weights @ table
        return grading.ratio(counts[:, 0], counts[:, 1])

    return share
