"""Detections in the order of their scores: average precision, recall and FROC, for any weights of the patients.

The rules are COCO's (pycocotools.cocoeval: greedy matching by falling score, 101 recall points, precision made
monotone), without its limit on detections per image, so that the figures of the bootstrap are those of
pycocotools on the resampled fields; a test compares both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cytoline.boxes import UNMATCHED, greedy_match
from cytoline.measures.bootstrap import Floats, Patients

IOUS: tuple[float, ...] = tuple(float(value) for value in np.linspace(0.5, 0.95, 10))
FROC_RATES: dict[str, float] = {"1_8": 1 / 8, "1_4": 1 / 4, "1_2": 1 / 2, "1": 1, "2": 2, "4": 4, "8": 8}
"""False positives per field at which sensitivity is read; LUNA16's seven points."""

_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class Field:
    """One field: what is there and what was found.  Boxes are xywh in pixels."""

    image_id: str
    patient: str
    truths: Floats
    """[M, 4]"""
    boxes: Floats
    """[N, 4]"""
    scores: Floats
    """[N]"""


@dataclass(frozen=True)
class Ranking:
    """All detections of a set of fields by falling score."""

    scores: Floats
    """[N]"""
    hits: NDArray[np.bool_]
    """[T, N]: whether the detection claims a cell at each IoU."""
    patient: NDArray[np.int64]
    """[N]: column of its patient."""
    truths: Floats
    """[P]: cells of each patient."""
    fields: Floats
    """[P]: fields of each patient."""


def rank(fields: Sequence[Field], patients: Patients, ious: Sequence[float] = IOUS) -> Ranking:
    """Match every field and put all detections in one order (equal scores: by field, then as given)."""
    owners = patients.index([item.patient for item in fields])
    truths, images = np.zeros(len(patients.names)), np.zeros(len(patients.names))
    for owner, item in zip(owners, fields, strict=True):
        truths[owner] += len(item.truths)
        images[owner] += 1
    scores = np.concatenate([item.scores for item in fields]) if fields else np.zeros(0)
    hits = [[greedy_match(item.boxes, item.scores, item.truths, iou) != UNMATCHED for iou in ious] for item in fields]
    table = np.concatenate(hits, axis=1) if hits else np.zeros((len(ious), 0), dtype=bool)
    owner = np.repeat(owners, [len(item.scores) for item in fields])
    order = np.argsort(-scores, kind="stable")
    return Ranking(scores[order], table[:, order], owner[order], truths, images)


def average_precision(ranking: Ranking, weights: Floats) -> Floats:
    """[B, T] for patient weights [B, P]; NaN where there is no cell to find."""
    cells = weights @ ranking.truths
    share = weights[:, ranking.patient]
    result = np.full((len(weights), len(ranking.hits)), np.nan)
    for column, hits in enumerate(ranking.hits):
        true = np.cumsum(share * hits, axis=1)
        false = np.cumsum(share * ~hits, axis=1)
        for row in np.flatnonzero(cells > 0):
            result[row, column] = _interpolated(true[row], false[row], cells[row]).mean()
    return result


def precision_curve(ranking: Ranking, column: int) -> tuple[Floats, Floats]:
    """Recall points [101] and the interpolated precision there, for IoU number ``column``."""
    hits = ranking.hits[column]
    return _RECALLS.astype(np.float64), _interpolated(
        np.cumsum(hits, dtype=float), np.cumsum(~hits, dtype=float), ranking.truths.sum()
    )


def recall(ranking: Ranking, weights: Floats) -> Floats:
    """[B, T]: share of cells that any detection claims."""
    cells = weights @ ranking.truths
    found = weights[:, ranking.patient] @ ranking.hits.T.astype(float)
    shares: Floats = np.divide(found, cells[:, None], out=np.full(found.shape, np.nan), where=cells[:, None] > 0)
    return shares


def froc(ranking: Ranking, weights: Floats, rates: Sequence[float]) -> Floats:
    """[B, R]: sensitivity at IoU 0.5 with at most ``rates`` false positives per field.

    Read at the lowest threshold that keeps within the rate, so never better than a reader could have it.
    """
    ends = _threshold_ends(ranking.scores)
    share = weights[:, ranking.patient]
    true = np.cumsum(share * ranking.hits[0], axis=1)[:, ends]
    false = np.cumsum(share * ~ranking.hits[0], axis=1)[:, ends]
    cells, images = weights @ ranking.truths, weights @ ranking.fields
    result = np.full((len(weights), len(rates)), np.nan)
    for row in np.flatnonzero((cells > 0) & (images > 0)):
        last = np.searchsorted(false[row], np.asarray(rates) * images[row] + 1e-9, side="right")
        found = np.concatenate([[0.0], true[row]])[last]
        result[row] = found / cells[row]
    return result


def operating_score(ranking: Ranking) -> float | None:
    """The score from which on F1 at IoU 0.5 is highest; None where nothing is found."""
    ends = _threshold_ends(ranking.scores)
    if not len(ends) or not ranking.hits[0].any():
        return None
    true = np.cumsum(ranking.hits[0])[ends]
    f1 = 2 * true / (ends + 1 + ranking.truths.sum())
    return float(ranking.scores[ends[int(np.argmax(f1))]])


def _threshold_ends(scores: Floats) -> NDArray[np.int64]:
    """Last place of every run of equal scores: a threshold cannot part them."""
    if not len(scores):
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(np.append(scores[1:] != scores[:-1], True)).astype(np.int64)


def _interpolated(true: Floats, false: Floats, cells: float) -> Floats:
    found = true / cells if cells > 0 else np.zeros_like(true)
    precision = true / (true + false + np.spacing(1))
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(found, _RECALLS, side="left")
    return np.append(falling, 0.0)[place]
