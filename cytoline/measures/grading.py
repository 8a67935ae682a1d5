"""Figures of grading for any weights of the patients, from counts alone: fast enough for a thousand resamples.

Each equals scikit-learn's figure on the resampled cells (tests compare them); the figures as they are come from
scikit-learn itself, see ``classifier.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cytoline.measures.bootstrap import Floats, average

BINS = 15
"""Equal-width bins of confidence, as in Guo et al. 2017 (arXiv 1706.04599)."""


def confusions(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], owner: NDArray[np.int64], classes: int, patients: int
) -> Floats:
    """[patients, classes, classes]: cells of each patient by true and predicted class."""
    table = np.zeros((patients, classes, classes))
    np.add.at(table, (owner, truth, predicted), 1.0)
    return table


def weighted(table: Floats, weights: Floats) -> Floats:
    """Sum over patients [P, ...] with weights [B, P]: [B, ...]."""
    total: Floats = np.tensordot(weights, table, axes=1).astype(np.float64)
    return total


def accuracy(confusion: Floats) -> Floats:
    """[B]"""
    return ratio(np.trace(confusion, axis1=1, axis2=2), confusion.sum(axis=(1, 2)))


def sensitivity(confusion: Floats) -> Floats:
    """[B, C]: right among the true; NaN for a class without cells."""
    return ratio(np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2))


def specificity(confusion: Floats) -> Floats:
    """[B, C]: not called so among those that are not; NaN where every cell is of the class."""
    total = confusion.sum(axis=(1, 2))[:, None]
    true, called = confusion.sum(axis=2), confusion.sum(axis=1)
    both = np.diagonal(confusion, axis1=1, axis2=2)
    return ratio(total - true - called + both, total - true)


def f1(confusion: Floats) -> Floats:
    """[B, C]: NaN for a class without true cells."""
    true, called = confusion.sum(axis=2), confusion.sum(axis=1)
    score = ratio(2 * np.diagonal(confusion, axis1=1, axis2=2), true + called)
    return np.where(true > 0, score, np.nan)


def quadratic_kappa(confusion: Floats) -> Floats:
    """[B]: Cohen 1968 with squared distances between ordered classes."""
    grade = np.arange(confusion.shape[1])
    distance = (grade[:, None] - grade[None]) ** 2
    total = confusion.sum(axis=(1, 2))
    chance = confusion.sum(axis=2)[:, :, None] * confusion.sum(axis=1)[:, None, :]
    expected = ratio((chance * distance).sum(axis=(1, 2)), total)
    return 1 - ratio((confusion * distance).sum(axis=(1, 2)), expected)


def macro(per_class: Floats) -> Floats:
    """[B, C] to [B]: mean over the classes for which the figure is defined."""
    return average([per_class[:, column] for column in range(per_class.shape[1])])


def auroc(scores: Floats, positive: NDArray[np.bool_], owner: NDArray[np.int64], weights: Floats) -> Floats:
    """[B]: chance that a positive cell scores above a negative one, ties counting half; NaN without either."""
    order = np.argsort(scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    share = weights[:, owner[order]]
    ups = np.diff(np.cumsum(share * positive[order], axis=1)[:, ends], axis=1, prepend=0.0)
    below = np.cumsum(share * ~positive[order], axis=1)[:, ends]
    downs = np.diff(below, axis=1, prepend=0.0)
    won = (ups * (below - downs / 2)).sum(axis=1)
    return ratio(won, ups.sum(axis=1) * downs.sum(axis=1))


def equal_classes(truth: NDArray[np.int64]) -> Floats:
    """[N] weights of cells [N] under which every class that has cells counts the same; their mean is 1."""
    sizes = np.bincount(truth)
    weights: Floats = len(truth) / np.count_nonzero(sizes) / sizes[truth] if len(truth) else np.zeros(0)
    return weights


def calibration_table(
    confidence: Floats, right: NDArray[np.bool_], weights: Floats, owner: NDArray[np.int64], patients: int
) -> Floats:
    """[patients, BINS, 3]: weight, weighted confidences, weight of those right, by bin of the top probability."""
    edge = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    table = np.zeros((patients, BINS, 3))
    rows = np.stack([np.ones(len(right)), confidence, right.astype(float)], axis=1)
    np.add.at(table, (owner, edge), rows * weights[:, None])
    return table


def calibration_error(table: Floats) -> Floats:
    """[B] from [B, BINS, 3]: mean gap between confidence and accuracy, weighted by the bins' weights."""
    return ratio(np.abs(table[:, :, 1] - table[:, :, 2]).sum(axis=1), table[:, :, 0].sum(axis=1))


def ratio(part: Floats, whole: Floats) -> Floats:
    """Division that gives NaN for nothing out of nothing."""
    part, whole = np.broadcast_arrays(part, whole)
    shares: Floats = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return shares


def concatenated(parts: Sequence[Floats]) -> Floats:
    """Chunks of resamples in a row; an empty array where there are none."""
    return np.concatenate(parts) if parts else np.zeros(0)
