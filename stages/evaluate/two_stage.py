"""Both stages together: the classifier's grade on the detector's box, judged as COCO judges a detector.

Every detection stands once in the list of every class with the score detector score x class probability, as a
detector with one head per class would have it; a label alone would throw the runner-up away, which AP counts.
Probabilities are the classifier's own: what it gives to ``background`` is taken from every class, so that a
false positive of stage one that stage two recognises sinks in all lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoline.boxes import UNMATCHED, greedy_match
from cytoline.measures import grading
from cytoline.measures.bootstrap import Figures, Floats, Patients, average
from cytoline.measures.ranking import Field, average_precision, precision_curve, rank
from cytoline.taxonomy import Taxonomy
from stages.evaluate import coco


@dataclass(frozen=True)
class GradedField:
    """One field with what both stages say of it."""

    field: Field
    labels: NDArray[np.int64]
    """[M] class of each true cell."""
    probabilities: Floats
    """[N, C] of each detection over the taxonomy's classes; rows sum to less than 1 where there is background."""

    def of_class(self, number: int) -> Field:
        """True cells of one class, and all detections with their score for it."""
        plain = self.field
        scores = plain.scores * self.probabilities[:, number]
        return Field(plain.image_id, plain.patient, plain.truths[self.labels == number], plain.boxes, scores)


def judge_two_stages(
    fields: Sequence[GradedField], taxonomy: Taxonomy, patients: Patients, confidence: float
) -> dict[str, Any]:
    """Per-class AP50 and their mean over the classes that have cells, each with its interval."""
    figures = Figures(confidence)
    figures.count("fields", len(fields))
    points, drawn = [], []
    per_class: dict[str, Any] = {}
    for number, name in enumerate(taxonomy.classes):
        mine = [item.of_class(number) for item in fields]
        part = Figures(confidence)
        part.count("cells", sum(len(item.truths) for item in mine))
        point = coco.average_precision(mine)
        samples = _resampled(mine, patients)
        part.add("ap50", None if point is None else float(point[0]), samples, why="no cell of this class")
        per_class[name] = part.done()
        if point is not None:
            points.append(float(point[0]))
            drawn.append(samples)
        else:
            figures.notes.append(f"no cell of {name} in these fields: map50 is over the other classes")
    value = sum(points) / len(points) if points else None
    figures.add("map50", value, average(drawn) if drawn else None, why="no labelled field holds a cell")
    _graded_right(figures, fields, patients)
    figures.values["per_class"] = per_class
    return figures.done()


def plain_two_stages(fields: Sequence[GradedField], taxonomy: Taxonomy) -> dict[str, Any]:
    """mAP50 without an interval, for validation."""
    points = [
        float(point[0])
        for number in range(len(taxonomy.classes))
        if (point := coco.average_precision([item.of_class(number) for item in fields])) is not None
    ]
    figures = Figures(0.95)
    figures.add("val_map50", sum(points) / len(points) if points else None, why="no labelled field holds a cell")
    return figures.done()


def curves(fields: Sequence[GradedField], taxonomy: Taxonomy) -> Mapping[str, Floats]:
    """Interpolated precision [101] at IoU 0.5 of each class that has cells."""
    patients = Patients.of([item.field.patient for item in fields], 0, 0)
    result = {}
    for number, name in enumerate(taxonomy.classes):
        if any((item.labels == number).any() for item in fields):
            ranking = rank([item.of_class(number) for item in fields], patients, ious=(0.5,))
            result[name] = precision_curve(ranking, 0)[1]
    return result


def _resampled(fields: Sequence[Field], patients: Patients) -> Floats:
    ranking = rank(fields, patients, ious=(0.5,))
    return grading.concatenated([average_precision(ranking, weights)[:, 0] for weights in patients.chunks()])


def _graded_right(figures: Figures, fields: Sequence[GradedField], patients: Patients) -> None:
    """Share of the cells that stage one found (IoU 0.5) whose most probable class is the true one."""
    table = np.zeros((len(patients.names), 2))
    owners = patients.index([item.field.patient for item in fields])
    for owner, item in zip(owners, fields, strict=True):
        claimed = greedy_match(item.field.boxes, item.field.scores, item.field.truths)
        found = np.flatnonzero(claimed != UNMATCHED)
        right = item.probabilities[found].argmax(axis=1) == item.labels[claimed[found]] if len(found) else np.zeros(0)
        table[owner] += len(found), right.sum()
    total = table.sum(axis=0)
    samples = grading.weighted(table, patients.weights)
    value = total[1] / total[0] if total[0] else None
    figures.add("found_graded_right", value, grading.ratio(samples[:, 1], samples[:, 0]), why="no cell was found")
