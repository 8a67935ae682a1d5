"""Overlap of boxes, and which detection claims which cell.

Boxes are rows of x, y, width, height in pixels; the unit does not matter as long as both sides share it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

UNMATCHED = -1


def as_boxes(boxes: ArrayLike) -> Floats:
    """Any sequence of xywh boxes as a float64 array [N, 4]; an empty one gives [0, 4]."""
    return np.asarray(boxes, dtype=np.float64).reshape(-1, 4)


def iou_matrix(a: ArrayLike, b: ArrayLike) -> Floats:
    """Intersection over union of every box of ``a`` [N, 4] with every box of ``b`` [M, 4]: float64 [N, M] in 0..1.

    Boxes without area overlap nothing (0), as in pycocotools.
    """
    first, second = as_boxes(a), as_boxes(b)
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum((first[:, :2] + first[:, 2:])[:, None], (second[:, :2] + second[:, 2:])[None])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = np.clip(first[:, 2:], 0, None).prod(axis=1), np.clip(second[:, 2:], 0, None).prod(axis=1)
    union = areas[0][:, None] + areas[1][None] - shared
    overlaps: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return np.clip(overlaps, 0, 1)


def greedy_match(detected: ArrayLike, scores: ArrayLike, truth: ArrayLike, threshold: float = 0.5) -> NDArray[np.int64]:
    """COCO's rule: by falling score, each detection claims the free true box that it overlaps most.

    Returns for each detection, in the given order, the index of its true box or ``UNMATCHED``.  Equal scores
    keep the given order (stable); of equal overlaps the later true box wins, as in ``COCOeval.evaluateImg``.
    """
    overlaps = iou_matrix(detected, truth)
    matches = np.full(len(overlaps), UNMATCHED, dtype=np.int64)
    free = np.ones(overlaps.shape[1], dtype=bool)
    for index in np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable"):
        candidates = np.where(free & (overlaps[index] >= min(threshold, 1 - 1e-10)), overlaps[index], -1.0)
        if candidates.size and candidates.max() >= 0:
            best = candidates.size - 1 - int(candidates[::-1].argmax())
            matches[index] = best
            free[best] = False
    return matches


def best_overlap(boxes: ArrayLike, truth: ArrayLike) -> tuple[NDArray[np.int64], Floats]:
    """For each box the index of the true box that it overlaps most, and that IoU (``UNMATCHED``, 0 if there is none).

    Not one to one: two boxes on one cell both show that cell.
    """
    overlaps = iou_matrix(boxes, truth)
    if not overlaps.shape[1]:
        return np.full(len(overlaps), UNMATCHED, dtype=np.int64), np.zeros(len(overlaps))
    best = overlaps.argmax(axis=1)
    values = overlaps[np.arange(len(overlaps)), best]
    return np.where(values > 0, best, UNMATCHED).astype(np.int64), values
