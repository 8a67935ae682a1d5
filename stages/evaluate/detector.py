"""How well cells are found, whatever their class: AP, recall and FROC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cytoline.measures.bootstrap import Figures, Floats, Patients
from cytoline.measures.ranking import FROC_RATES, Field, average_precision, froc, operating_score, rank, recall
from stages.evaluate import coco

NO_CELLS = "no labelled field holds a cell"


def judge_detector(
    fields: Sequence[Field], patients: Patients, confidence: float, operating: float | None
) -> dict[str, Any]:
    """Figures of one split.  ``operating`` is the score threshold chosen on validation, None where there was none."""
    figures = Figures(confidence)
    figures.count("fields", len(fields))
    figures.count("patients", len({item.patient for item in fields}))
    figures.count("cells", sum(len(item.truths) for item in fields))
    figures.count("detections", sum(len(item.scores) for item in fields))
    ranking = rank(fields, patients)
    rates = tuple(FROC_RATES.values())
    drawn_ap = _stack([average_precision(ranking, weights) for weights in patients.chunks()], len(ranking.hits))
    drawn_recall = _stack([recall(ranking, weights) for weights in patients.chunks()], len(ranking.hits))
    drawn_froc = _stack([froc(ranking, weights, rates) for weights in patients.chunks()], len(rates))
    point = coco.average_precision(fields)
    figures.add("ap50", None if point is None else float(point[0]), drawn_ap[:, 0], why=NO_CELLS)
    figures.add("ap50_95", None if point is None else float(point.mean()), drawn_ap.mean(axis=1), why=NO_CELLS)
    figures.add("recall", float(recall(ranking, patients.once())[0, 0]), drawn_recall[:, 0], why=NO_CELLS)
    sensitivity = froc(ranking, patients.once(), rates)[0]
    for column, name in enumerate(FROC_RATES):
        figures.add(f"froc_{name}", float(sensitivity[column]), drawn_froc[:, column], why=NO_CELLS)
    figures.add("froc_mean", float(sensitivity.mean()), drawn_froc.mean(axis=1), why=NO_CELLS)
    _note_short_list(figures, fields, ranking.hits[0])
    _at_threshold(figures, fields, patients, operating)
    return figures.done()


def plain_detector(fields: Sequence[Field]) -> dict[str, Any]:
    """The headline figures without intervals, for validation."""
    figures = Figures(0.95)
    patients = Patients.of([item.patient for item in fields], 0, 0)
    ranking = rank(fields, patients)
    point = coco.average_precision(fields)
    figures.add("val_ap50", None if point is None else float(point[0]), why=NO_CELLS)
    figures.add("val_ap50_95", None if point is None else float(point.mean()), why=NO_CELLS)
    figures.add("val_recall", float(recall(ranking, patients.once())[0, 0]), why=NO_CELLS)
    rates = tuple(FROC_RATES.values())
    figures.add("val_froc_mean", float(froc(ranking, patients.once(), rates)[0].mean()), why=NO_CELLS)
    return figures.done()


def threshold_of(fields: Sequence[Field]) -> float | None:
    """Score threshold with the highest F1 on these (validation) fields."""
    return operating_score(rank(fields, Patients.of([item.patient for item in fields], 0, 0)))


def _at_threshold(figures: Figures, fields: Sequence[Field], patients: Patients, operating: float | None) -> None:
    figures.add("operating_score", operating, why="no validation field on which to choose a threshold")
    if operating is None:
        return
    kept = [
        Field(item.image_id, item.patient, item.truths, item.boxes[chosen], item.scores[chosen])
        for item in fields
        for chosen in [item.scores >= operating]
    ]
    ranking = rank(kept, patients, ious=(0.5,))
    drawn = [recall(ranking, weights)[:, 0] for weights in patients.chunks()]
    value = float(recall(ranking, patients.once())[0, 0])
    figures.add("operating_recall", value, np.concatenate(drawn) if drawn else np.zeros(0), why=NO_CELLS)
    hits, count = int(ranking.hits.sum()), ranking.hits.size
    shares = [
        _share(weights[:, ranking.patient] @ ranking.hits[0].astype(float), weights[:, ranking.patient].sum(axis=1))
        for weights in patients.chunks()
    ]
    figures.add(
        "operating_precision",
        hits / count if count else None,
        np.concatenate(shares) if shares else np.zeros(0),
        why="no detection reaches the threshold",
    )


def _note_short_list(figures: Figures, fields: Sequence[Field], hits: Any) -> None:
    if not fields:
        return
    reached = float((~hits).sum()) / len(fields)
    short = [name for name, rate in FROC_RATES.items() if rate > reached]
    if short:
        names = ", ".join(f"froc_{name}" for name in short)
        figures.notes.append(
            f"{names}: the list of detections ends at {reached:.2f} false positives per field (detect.min_score); "
            "the sensitivity there is given"
        )


def _share(part: Floats, whole: Floats) -> Floats:
    shares: Floats = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return shares


def _stack(parts: Sequence[Floats], columns: int) -> Floats:
    return np.concatenate(parts) if parts else np.zeros((0, columns))
