"""How well annotated cells are graded, the detector left out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from cytoline.measures import grading
from cytoline.measures.bootstrap import Figures, Floats, Patients, average
from cytoline.taxonomy import Taxonomy


@dataclass(frozen=True)
class Cells:
    """Annotated cells with what the classifier says of them."""

    truth: NDArray[np.int64]
    """[N] position in the taxonomy."""
    probabilities: Floats
    """[N, C] over the taxonomy's classes alone, each row sums to 1."""
    patients: tuple[str, ...]
    """[N]"""

    @property
    def predicted(self) -> NDArray[np.int64]:
        """[N] most probable class."""
        best: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return best


def no_cells(taxonomy: Taxonomy) -> Cells:
    """What there is to judge where there is nothing to judge."""
    return Cells(np.zeros(0, dtype=np.int64), np.zeros((0, len(taxonomy.classes))), ())


def over_taxonomy(probabilities: Floats, classes: int) -> Floats:
    """Leave out a last class ``background`` and share its probability out in proportion.

    An annotated cell is a cell: what is asked is its grade.  A row that is all background becomes undecided.
    """
    kept = probabilities[:, :classes]
    total = kept.sum(axis=1, keepdims=True)
    shares: Floats = np.divide(kept, total, out=np.full(kept.shape, 1 / classes), where=total > 0)
    return shares


def judge_classifier(cells: Cells, taxonomy: Taxonomy, patients: Patients, confidence: float) -> dict[str, Any]:
    """Figures of one split, each with its interval."""
    figures = Figures(confidence)
    figures.count("cells", len(cells.truth))
    figures.count("patients", len(set(cells.patients)))
    if not len(cells.truth):
        return {"skipped": "the split holds no annotated cell"}
    _note_absent(figures, cells, taxonomy)
    owner = patients.index(cells.patients)
    table = grading.confusions(cells.truth, cells.predicted, owner, len(taxonomy.classes), len(patients.names))
    drawn = grading.weighted(table, patients.weights)
    point = _points(cells, taxonomy)
    figures.add("accuracy", point["accuracy"], grading.accuracy(drawn))
    figures.add("balanced_accuracy", point["balanced_accuracy"], grading.macro(grading.sensitivity(drawn)))
    figures.add("macro_f1", point["macro_f1"], grading.macro(grading.f1(drawn)))
    _areas(figures, cells, taxonomy, patients, owner)
    if taxonomy.ordered:
        why = "truth and prediction hold one class only"
        figures.add("quadratic_kappa", point["quadratic_kappa"], grading.quadratic_kappa(drawn), why=why)
    _calibration(figures, cells, patients, owner)
    _abnormal(figures, cells, taxonomy, patients, owner)
    figures.values["per_class"] = _per_class(figures, cells, taxonomy, drawn)
    return figures.done()


def plain_classifier(cells: Cells, taxonomy: Taxonomy) -> dict[str, Any]:
    """The headline figures without intervals, for validation."""
    if not len(cells.truth):
        return {}
    figures = Figures(0.95)
    for name, value in _points(cells, taxonomy).items():
        if name != "quadratic_kappa" or taxonomy.ordered:
            figures.add(f"val_{name}", value)
    nobody = Patients.of((), 0, 0)
    table = _calibration_table(cells, np.zeros(len(cells.truth), dtype=np.int64), 1)
    figures.add("val_ece", float(grading.calibration_error(table)[0]))
    _areas(figures, cells, taxonomy, nobody, np.zeros(0, dtype=np.int64), prefix="val_")
    return figures.done()


def _points(cells: Cells, taxonomy: Taxonomy) -> dict[str, float]:
    """Figures as they are, by scikit-learn; macro figures are means over the classes that have cells."""
    truth, predicted = cells.truth, cells.predicted
    present = sorted(set(truth.tolist()))
    every = list(range(len(taxonomy.classes)))
    with warnings.catch_warnings():
        # It warns where a class is predicted but has no cells; _note_absent says so in the figures.
        warnings.simplefilter("ignore")
        return {
            "accuracy": float(metrics.accuracy_score(truth, predicted)),
            "balanced_accuracy": float(metrics.balanced_accuracy_score(truth, predicted)),
            "macro_f1": float(metrics.f1_score(truth, predicted, labels=present, average="macro", zero_division=0)),
            "quadratic_kappa": float(metrics.cohen_kappa_score(truth, predicted, labels=every, weights="quadratic")),
        }


def _areas(
    figures: Figures,
    cells: Cells,
    taxonomy: Taxonomy,
    patients: Patients,
    owner: NDArray[np.int64],
    prefix: str = "",
) -> None:
    """Area under the ROC curve, one class against the rest, mean over the classes that have both sides."""
    points, drawn = [], []
    for number in range(len(taxonomy.classes)):
        positive = cells.truth == number
        if positive.all() or not positive.any():
            continue
        scores = cells.probabilities[:, number]
        points.append(float(metrics.roc_auc_score(positive, scores)))
        drawn.append(_drawn(patients, partial(grading.auroc, scores, positive, owner)))
    value = sum(points) / len(points) if points else None
    samples = None if prefix else (average(drawn) if drawn else np.zeros(0))
    figures.add(f"{prefix}auroc", value, samples, why="cells of one class only")


def _calibration(figures: Figures, cells: Cells, patients: Patients, owner: NDArray[np.int64]) -> None:
    table = _calibration_table(cells, owner, len(patients.names))
    value = float(grading.calibration_error(grading.weighted(table, patients.once()))[0])
    figures.add("ece", value, grading.calibration_error(grading.weighted(table, patients.weights)))


def _calibration_table(cells: Cells, owner: NDArray[np.int64], patients: int) -> Floats:
    """Every class counts the same, as in the probabilities, which are given as if all were equally common."""
    right, weights = cells.predicted == cells.truth, grading.equal_classes(cells.truth)
    return grading.calibration_table(cells.probabilities.max(axis=1), right, weights, owner, patients)


def _abnormal(figures: Figures, cells: Cells, taxonomy: Taxonomy, patients: Patients, owner: NDArray[np.int64]) -> None:
    """Screening's first question: is the cell abnormal at all?"""
    columns = [taxonomy.index(name) for name in taxonomy.abnormal]
    truth = np.isin(cells.truth, columns)
    if truth.all() or not truth.any():
        figures.notes.append("abnormal_*: the cells are all on one side")
        return
    scores = cells.probabilities[:, columns].sum(axis=1)
    called = np.isin(cells.predicted, columns)
    drawn = _drawn(patients, partial(grading.auroc, scores, truth, owner))
    figures.add("abnormal_auroc", float(metrics.roc_auc_score(truth, scores)), drawn)
    table = grading.confusions(truth.astype(np.int64), called.astype(np.int64), owner, 2, len(patients.names))
    sides = grading.sensitivity(grading.weighted(table, patients.weights))
    figures.add("abnormal_sensitivity", float(metrics.recall_score(truth, called)), sides[:, 1])
    figures.add("abnormal_specificity", float(metrics.recall_score(truth, called, pos_label=False)), sides[:, 0])


def _per_class(figures: Figures, cells: Cells, taxonomy: Taxonomy, drawn: Floats) -> dict[str, Any]:
    sensitivities, specificities = grading.sensitivity(drawn), grading.specificity(drawn)
    rows: dict[str, Any] = {}
    for number, name in enumerate(taxonomy.classes):
        part = Figures(figures.confidence)
        true, called = cells.truth == number, cells.predicted == number
        part.count("cells", int(true.sum()))
        sensitivity = float(called[true].mean()) if true.any() else None
        specificity = float((~called[~true]).mean()) if not true.all() else None
        part.add("sensitivity", sensitivity, sensitivities[:, number], why="no cell of this class")
        part.add("specificity", specificity, specificities[:, number], why="every cell is of this class")
        rows[name] = part.done()
    return rows


def _note_absent(figures: Figures, cells: Cells, taxonomy: Taxonomy) -> None:
    absent = [name for number, name in enumerate(taxonomy.classes) if not (cells.truth == number).any()]
    if absent:
        figures.notes.append(f"no annotated cell of {', '.join(absent)}: means are over the other classes")


def _drawn(patients: Patients, figure: Callable[[Floats], Floats]) -> Floats:
    return grading.concatenated([figure(weights) for weights in patients.chunks()])


def confusion_rows(cells: Cells, classes: Sequence[str]) -> list[dict[str, str]]:
    """One row per cell, as ``dvc plots`` wants a confusion matrix."""
    return [
        {"actual": classes[truth], "predicted": classes[called]}
        for truth, called in zip(cells.truth.tolist(), cells.predicted.tolist(), strict=True)
    ]
