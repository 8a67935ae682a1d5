"""train_classifier: what it learns is the grade, not how common the grade is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cytoline import openmm
from cytoline.classification import VIEWS, turned

openmm.register()

from stages.train_classifier.calibrate import fit_temperature  # noqa: E402
from stages.train_classifier.loss import LogitAdjustedLoss, drawn_shares  # noqa: E402


def test_adjusted_loss_is_cross_entropy_of_shifted_scores() -> None:
    shares = [0.7, 0.2, 0.1]
    scores, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    loss = LogitAdjustedLoss(shares, label_smooth_val=0.0)(scores, labels)
    wanted = torch.nn.functional.cross_entropy(scores + torch.tensor(shares).log(), labels)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_scores_say_nothing_of_how_common_a_class_is() -> None:
    """One input, 90 % of class 0: plain cross entropy learns 0.9 for it, this one that nothing can be told."""
    labels = torch.tensor([0] * 90 + [1] * 10)
    scores = torch.zeros(1, 2, requires_grad=True)
    loss = LogitAdjustedLoss([0.9, 0.1], label_smooth_val=0.0)
    optimizer = torch.optim.LBFGS([scores], max_iter=50)

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        value: torch.Tensor = loss(scores.expand(100, 2), labels)
        value.backward()
        return value

    optimizer.step(step)
    assert scores.softmax(1)[0, 0].item() == pytest.approx(0.5, abs=0.01)


def test_offsets_are_not_exported() -> None:
    assert not LogitAdjustedLoss([0.5, 0.5], label_smooth_val=0.0).state_dict()


def test_shares_are_those_of_the_sampler() -> None:
    """81 and 9 cells: drawn 9 to 3 by square root; a class without any stays finite."""
    np.testing.assert_allclose(drawn_shares([0] * 81 + [1] * 9, 2), [0.75, 0.25])
    assert all(0 < share < 1 for share in drawn_shares([0] * 81 + [1] * 9, 3))


def test_every_view_is_another_look_at_the_same_square() -> None:
    patches = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3), dtype=np.uint8)
    views = [turned(patches, view) for view in range(VIEWS)]
    assert np.array_equal(views[0], patches)
    assert len({view.tobytes() for view in views}) == VIEWS
    assert all(np.array_equal(np.sort(view.reshape(2, -1)), np.sort(patches.reshape(2, -1))) for view in views)


def test_temperature_counts_every_class_the_same() -> None:
    """Class 0 (900 cells) is always right, class 1 (100) right half the time: it must not drown."""
    logits = np.array([[4.0, 0.0]] * 900 + [[0.0, 4.0]] * 50 + [[4.0, 0.0]] * 50)
    labels = np.array([0] * 900 + [1] * 100)
    # Three of four right by equal weights: softmax(4 / T) = 0.75.
    assert 4 / fit_temperature(logits, labels) == pytest.approx(np.log(3), rel=0.02)
