"""Several looks at one field become one answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cytoline.fusion import MIRRORS, Found, fuse, mirrored, unmirrored


def found(*rows: tuple[float, float, float, float, float, int]) -> Found:
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    return table[:, :4], table[:, 4], table[:, 5].astype(np.int64)


@pytest.mark.parametrize("mirror", MIRRORS)
def test_a_box_found_in_the_mirror_comes_back_to_its_pixels(mirror: tuple[bool, bool]) -> None:
    image = np.zeros((40, 60, 3), dtype=np.uint8)
    image[5:15, 8:28] = 255
    seen = mirrored(image, mirror)
    rows, columns = np.nonzero(seen[:, :, 0])
    box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
    assert unmirrored(np.array([box], dtype=np.float64), mirror, 60, 40).tolist() == [[8, 5, 20, 10]]


def test_boxes_are_averaged_by_score_and_scores_over_all_looks() -> None:
    boxes, scores, classes = fuse([found((10, 10, 20, 20, 0.9, 0)), found((13, 10, 20, 20, 0.3, 0)), found()])
    assert boxes.tolist() == [[pytest.approx(10.75), 10, 20, 20]]
    assert scores.tolist() == [pytest.approx(0.4)]
    assert classes.tolist() == [0]


def test_two_touching_cells_of_one_look_stay_two() -> None:
    look = found((10, 10, 20, 20, 0.9, 0), (14, 10, 20, 20, 0.8, 0))
    boxes, scores, _ = fuse([look, look])
    assert boxes.tolist() == [[10, 10, 20, 20], [14, 10, 20, 20]]
    assert scores.tolist() == pytest.approx([0.9, 0.8])


def test_classes_never_merge() -> None:
    boxes, scores, classes = fuse([found((10, 10, 20, 20, 0.9, 0)), found((10, 10, 20, 20, 0.6, 1))])
    assert sorted(zip(classes.tolist(), scores.tolist(), strict=True)) == [(0, 0.45), (1, 0.3)]
    assert len(boxes) == 2


def test_what_one_look_alone_has_seen_falls_behind() -> None:
    both, alone = (10, 10, 20, 20, 0.6, 0), (100, 10, 20, 20, 0.8, 0)
    boxes, _, _ = fuse([found(both, alone), found(both)])
    assert boxes[:, 0].tolist() == [10, 100]


def test_nothing_found_is_an_empty_answer() -> None:
    boxes, scores, classes = fuse([found(), found()])
    assert [boxes.shape, scores.shape, classes.shape] == [(0, 4), (0,), (0,)]


rows = st.tuples(
    *(st.floats(0, 200) for _ in range(2)), *(st.floats(1, 50) for _ in range(2)), st.floats(0, 1), st.integers(0, 1)
)


@given(st.lists(st.lists(rows, max_size=6), min_size=2, max_size=4))
def test_no_find_is_lost_and_scores_fall(looks: list[list[tuple[float, float, float, float, float, int]]]) -> None:
    boxes, scores, _ = fuse([found(*look) for look in looks])
    assert max(map(len, looks)) <= len(boxes) <= sum(map(len, looks))
    assert (np.diff(scores) <= 1e-12).all()
    assert ((scores >= 0) & (scores <= 1)).all()
    assert scores.sum() * len(looks) == pytest.approx(sum(row[4] for look in looks for row in look), abs=1e-6)
