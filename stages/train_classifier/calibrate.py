"""Temperature scaling (Guo et al. 2017, arXiv 1706.04599): one number that makes confidence honest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from cytoline.classification import softmax
from cytoline.measures.grading import equal_classes

_RANGE = (np.log(0.05), np.log(20.0))


def fit_temperature(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Temperature (0.05 to 20) that minimises the negative log likelihood of ``labels`` [N] under
    ``softmax(logits / temperature)``, logits [N, C], every class counting the same, as in training.
    The order of the classes in a row never changes by it.
    """
    weights = equal_classes(labels)

    def loss(log_temperature: float) -> float:
        chosen = softmax(logits / np.exp(log_temperature))[np.arange(len(labels)), labels]
        return float(-np.average(np.log(chosen.clip(1e-12)), weights=weights))

    return float(np.exp(minimize_scalar(loss, bounds=_RANGE, method="bounded").x))
