"""Curves and tables for ``dvc plots`` and for the report.

Every file is there in every case: a curve that cannot be drawn is one row of blanks, because DVC takes a list
without rows for a broken file.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

from cytoline.measures import grading
from cytoline.measures.bootstrap import DIGITS, Floats, Patients
from cytoline.measures.ranking import Field, froc, precision_curve, rank
from cytoline.taxonomy import Taxonomy
from stages.evaluate.classifier import Cells, confusion_rows
from stages.evaluate.two_stage import GradedField, curves

_FROC_GRID = tuple(float(rate) for rate in np.geomspace(1 / 16, 16, 33))
_ROC_GRID = np.linspace(0, 1, 101)

HISTORY_COLUMNS = {
    "detector": ("epoch", "loss", "val_ap50"),
    "upscaler": ("epoch", "loss", "val_psnr"),
    "classifier": ("epoch", "loss", "val_balanced_accuracy"),
}
"""What dvc.yaml plots of a history, so what must be there even where nothing was trained."""

Rows = list[dict[str, Any]]


def detector_plots(fields: Sequence[Field]) -> dict[str, bytes]:
    """``pr_curve.csv`` and ``froc.json``."""
    patients = Patients.of([item.patient for item in fields], 0, 0)
    pr: Rows = []
    points: Rows = []
    if sum(len(item.truths) for item in fields):
        ranking = rank(fields, patients, ious=(0.5, 0.75))
        points_of_recall, half = precision_curve(ranking, 0)
        strict = precision_curve(ranking, 1)[1]
        pr = [
            {"recall": _short(x), "precision": _short(y), "precision_iou75": _short(z)}
            for x, y, z in zip(points_of_recall, half, strict, strict=True)
        ]
        found = froc(ranking, patients.once(), _FROC_GRID)[0]
        points = [
            {"false_positives_per_field": _short(x), "sensitivity": _short(y)}
            for x, y in zip(_FROC_GRID, found, strict=True)
        ]
    return {
        "pr_curve.csv": _csv(pr, ("recall", "precision", "precision_iou75")),
        "froc.json": _json(points, ("false_positives_per_field", "sensitivity")),
    }


def two_stage_plots(fields: Sequence[GradedField], taxonomy: Taxonomy) -> dict[str, bytes]:
    """``two_stage_pr.csv``: the mean over classes (column ``precision``) and each class."""
    found = curves(fields, taxonomy)
    columns = ("recall", "precision", *taxonomy.classes)
    rows: Rows = []
    if found:
        mean = np.mean(list(found.values()), axis=0)
        for place, level in enumerate(np.linspace(0, 1, 101)):
            row = {"recall": _short(level), "precision": _short(mean[place])}
            rows.append(row | {name: _short(found[name][place]) if name in found else "" for name in taxonomy.classes})
    return {"two_stage_pr.csv": _csv(rows, columns)}


def classifier_plots(cells: Cells, taxonomy: Taxonomy) -> dict[str, bytes]:
    """``confusion.csv``, ``calibration.json`` and ``roc.csv``."""
    return {
        "confusion.csv": _csv(confusion_rows(cells, taxonomy.classes), ("actual", "predicted")),
        "calibration.json": _json(_calibration(cells), ("confidence", "accuracy", "cells")),
        "roc.csv": _csv(_roc(cells, taxonomy), ("false_positive_rate", "true_positive_rate", *taxonomy.classes)),
    }


def history_plot(stage: str, history: Sequence[Mapping[str, float]]) -> bytes:
    """A model's training history; every row has every column, as DVC demands, null where an epoch has no figure."""
    needed = HISTORY_COLUMNS[stage]
    columns = [*needed, *sorted({key for row in history for key in row} - set(needed))]
    rows = [{key: _rounded(row.get(key)) for key in columns} for row in history]
    return _json(rows, columns)


def _calibration(cells: Cells) -> Rows:
    """By bin, every class counting the same; ``cells`` is how many there are."""
    confidence, right = cells.probabilities.max(axis=1), cells.predicted == cells.truth
    owner, once = np.zeros(len(right), dtype=np.int64), np.ones(len(right))
    table = grading.calibration_table(confidence, right, grading.equal_classes(cells.truth), owner, 1)[0]
    counts = grading.calibration_table(confidence, right, once, owner, 1)[0, :, 0]
    return [
        {"confidence": _short(total / weight), "accuracy": _short(hits / weight), "cells": int(count)}
        for (weight, total, hits), count in zip(table.tolist(), counts.tolist(), strict=True)
        if count
    ]


def _roc(cells: Cells, taxonomy: Taxonomy) -> Rows:
    found: dict[str, Floats] = {}
    for number, name in enumerate(taxonomy.classes):
        positive = cells.truth == number
        if positive.any() and not positive.all():
            false, true, _ = roc_curve(positive, cells.probabilities[:, number])
            found[name] = np.interp(_ROC_GRID, false, true)
    if not found:
        return []
    mean = np.mean(list(found.values()), axis=0)
    return [
        {"false_positive_rate": _short(x), "true_positive_rate": _short(mean[place])}
        | {name: _short(found[name][place]) if name in found else "" for name in taxonomy.classes}
        for place, x in enumerate(_ROC_GRID)
    ]


def _csv(rows: Rows | list[dict[str, str]], columns: Sequence[str]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows or [dict.fromkeys(columns, "")])
    return text.getvalue().encode()


def _json(rows: Rows, columns: Sequence[str]) -> bytes:
    return (json.dumps(rows or [dict.fromkeys(columns)], indent=1, allow_nan=False) + "\n").encode()


def _short(value: float) -> float:
    return round(float(value), DIGITS)


def _rounded(value: float | None) -> float | None:
    return None if value is None else _short(value)
