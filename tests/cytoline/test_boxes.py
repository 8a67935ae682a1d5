"""boxes: IoU's axioms, agreement with pycocotools, and COCO's matching rule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from cytoline.boxes import UNMATCHED, best_overlap, greedy_match, iou_matrix

# Quarters of a pixel are exact in floating point, so equalities below are equalities.
NUMBER = st.integers(0, 400).map(lambda quarters: quarters / 4)
SIDE = st.integers(1, 400).map(lambda quarters: quarters / 4)
BOX = st.tuples(NUMBER, NUMBER, SIDE, SIDE)
BOXES = st.lists(BOX, max_size=8)


@given(BOXES, BOXES)
def test_iou_is_symmetric_and_a_share(a: list, b: list) -> None:
    overlaps = iou_matrix(a, b)
    assert overlaps.shape == (len(a), len(b))
    assert np.array_equal(overlaps, iou_matrix(b, a).T)
    assert ((overlaps >= 0) & (overlaps <= 1)).all()


@given(BOX, BOX)
def test_iou_is_one_for_the_same_box_only(a: tuple, b: tuple) -> None:
    assert iou_matrix([a], [a])[0, 0] == 1
    assert (iou_matrix([a], [b])[0, 0] == 1) == (a == b)


@given(BOX, BOX, NUMBER, NUMBER, st.sampled_from([0.5, 2, 4]))
def test_iou_does_not_change_with_place_or_scale(a: tuple, b: tuple, dx: float, dy: float, scale: float) -> None:
    def moved(box: tuple) -> tuple:
        return ((box[0] + dx) * scale, (box[1] + dy) * scale, box[2] * scale, box[3] * scale)

    assert iou_matrix([moved(a)], [moved(b)])[0, 0] == pytest.approx(iou_matrix([a], [b])[0, 0], abs=1e-12)


@given(st.lists(BOX, min_size=1, max_size=8), st.lists(BOX, min_size=1, max_size=8))
def test_iou_agrees_with_pycocotools(a: list, b: list) -> None:
    expected = coco_mask.iou(np.asarray(a, float), np.asarray(b, float), [0] * len(b))
    assert iou_matrix(a, b) == pytest.approx(expected, abs=1e-12)


def test_a_box_without_area_overlaps_nothing() -> None:
    assert iou_matrix([[5, 5, 0, 0], [0, 0, -3, 4]], [[0, 0, 10, 10], [5, 5, 0, 0]]).sum() == 0


@given(BOXES, st.data(), BOXES, st.sampled_from([0.1, 0.5, 0.75, 1.0]))
def test_matching_is_one_to_one_above_the_threshold_and_leaves_no_better_claim(
    found: list, data: st.DataObject, truth: list, threshold: float
) -> None:
    scores = data.draw(st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=len(found), max_size=len(found)))
    matches, overlaps = greedy_match(found, scores, truth, threshold), iou_matrix(found, truth)
    claimed = [match for match in matches if match != UNMATCHED]
    assert len(claimed) == len(set(claimed))
    order = sorted(range(len(found)), key=lambda index: -scores[index])
    free = set(range(len(truth)))
    for index in order:
        options = {cell: overlaps[index, cell] for cell in free if overlaps[index, cell] >= threshold - 1e-10}
        if matches[index] == UNMATCHED:
            assert not options
        else:
            assert overlaps[index, matches[index]] == max(options.values())
            free.remove(int(matches[index]))


def test_the_best_score_claims_first_wherever_it_stands_in_the_list() -> None:
    cell, near = [0, 0, 10, 10], [0, 0, 10, 9]
    assert list(greedy_match([near, cell], [0.3, 0.8], [cell])) == [UNMATCHED, 0]
    assert list(greedy_match([near, cell], [0.8, 0.3], [cell])) == [0, UNMATCHED]


def test_a_second_choice_is_taken_when_the_first_is_gone() -> None:
    truth = [[0, 0, 10, 10], [2, 0, 10, 10]]
    assert list(greedy_match([[0, 0, 10, 10], [0, 0, 10, 10]], [0.9, 0.8], truth)) == [0, 1]


def test_best_overlap_lets_two_boxes_show_one_cell() -> None:
    nearest, overlaps = best_overlap([[0, 0, 10, 10], [0, 0, 10, 5], [50, 50, 2, 2]], [[0, 0, 10, 10]])
    assert list(nearest) == [0, 0, UNMATCHED]
    assert list(overlaps) == [1, 0.5, 0]


def test_best_overlap_without_truth() -> None:
    nearest, overlaps = best_overlap([[0, 0, 1, 1]], [])
    assert list(nearest) == [UNMATCHED]
    assert list(overlaps) == [0]
