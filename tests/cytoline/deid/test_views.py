"""Pictures that are too long for the text reader: each pixel is shown to it, in pictures that it leaves as they are."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.deid.ground import purple_field
from cytoline.deid import marks
from cytoline.deid.marks import find_marks
from cytoline.deid.painting import mask_of
from cytoline.deid.params import AnonymizeParams
from cytoline.deid.views import LONGEST, OVERLAP, views
from cytoline.images import RGB

PARAMS = AnonymizeParams.load()
TEXT = "MUELLER 4471"


def with_text(rgb: RGB, places: list[tuple[int, int]], levels: int, scale: float, thick: int = 1) -> tuple[RGB, RGB]:
    """Darker by so many grey levels; the picture and where its ink is."""
    ink = np.zeros(rgb.shape[:2], np.uint8)
    for place in places:
        cv2.putText(ink, TEXT, place, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thick, cv2.LINE_AA)
    darker = rgb.astype(np.int16) - (ink.astype(np.float32) / 255 * levels).astype(np.int16)[..., None]
    return np.clip(darker, 0, 255).astype(np.uint8), ink


def shares(rgb: RGB, ink: RGB, places: list[tuple[int, int]]) -> list[float]:
    """How much of the ink around each place is found."""
    found = mask_of(find_marks(rgb, PARAMS).texts, (rgb.shape[1], rgb.shape[0]), PARAMS.margin) > 0
    near = [np.s_[max(y - 80, 0) : y + 40, max(x - 10, 0) : x + 500] for x, y in places]
    return [float(found[part][ink[part] > 128].mean()) for part in near]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 700), st.integers(1, 20_000), st.booleans(), st.data())
def test_each_pixel_is_shown_and_found_again(short: int, long: int, lies: bool, data: st.DataObject) -> None:
    height, width = (short, long) if lies else (long, short)
    rgb = np.zeros((height, width, 3), np.uint8)
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    rgb[y, x] = 255
    homes = []
    for view in views(rgb):
        if max(rgb.shape) > LONGEST and view.rgb is not rgb:
            assert max(view.rgb.shape) <= LONGEST
        for row, column in np.argwhere(view.rgb[..., 0] == 255):
            corner = np.array([(column, row)], np.float32)
            # The middle of a box decides to which line of a page it belongs: put it where the pixel is.
            homes.append(tuple(view.home(corner)[0].astype(int)))
    assert set(homes) == {(x, y)}


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 500), st.integers(2001, 65_535))
def test_a_strip_takes_no_more_than_some_times_its_own_pixels(short: int, long: int) -> None:
    shown = sum(view.rgb.shape[0] * view.rgb.shape[1] for view in views(np.zeros((short, long, 3), np.uint8)))
    assert shown <= 4 * short * (long + LONGEST)


def test_faint_small_writing_is_found_in_a_large_field() -> None:
    """Reduced to 2,000 pixels, the second is lost."""
    places = [(120, 90), (1290, 330), (2400, 610), (700, 650)]
    rgb, ink = with_text(purple_field(1, (2800, 720)), places, 100, 0.4)
    assert min(shares(rgb, ink, places)) > 0.95


def test_large_writing_is_found_in_a_large_field() -> None:
    """Longer than a window."""
    rgb, ink = with_text(purple_field(1, (2100, 1000)), [(80, 600)], 120, 8, 16)
    found = mask_of(find_marks(rgb, PARAMS).texts, (2100, 1000), PARAMS.margin) > 0
    assert found[ink > 128].mean() > 0.95


def test_what_two_windows_show_counts_once() -> None:
    rgb, _ = with_text(np.full((600, 2300, 3), 220, np.uint8), [(1110, 300)], 200, 0.6)
    assert len(list(views(rgb))) == 3
    assert len(find_marks(rgb, PARAMS).texts) == 1


MARK = 1150
"""Column of a pixel, in both windows of a picture of 2,300, that tells a reader where its view begins."""


class Reader:
    """The same lines in each view, more or less surely where the whole picture is shown."""

    def __init__(self, boxes: list[list[tuple[int, int]]], wide: float, narrow: float) -> None:
        self.boxes = [np.array(box, np.float32) for box in boxes]
        self.wide, self.narrow = wide, narrow

    def lines(self, bgr: RGB, _precision: str) -> list[Any]:
        left = MARK - int(np.argmax(bgr[0, :, 0]))
        score = self.narrow if left or bgr.shape[1] <= LONGEST else self.wide
        return [marks._Line(box - np.array((left, 0), np.float32), 6, score, 20.0) for box in self.boxes]


def read_by(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> marks.Hits:
    rgb = np.full((600, 2 * MARK, 3), 200, np.uint8)
    rgb[0, MARK] = 255
    monkeypatch.setattr(marks, "_reader", lambda _scale: reader)
    return find_marks(rgb, PARAMS, look_first=False)


@pytest.mark.parametrize(
    ("wide", "narrow", "texts", "doubtful"),
    [(0.45, 0.45, 0, 1), (0.9, 0.45, 1, 0), (0.45, 0.9, 1, 0), (0.9, 0.9, 1, 0)],
)
def test_what_several_views_show_is_one_text_or_one_doubt(
    monkeypatch: pytest.MonkeyPatch, wide: float, narrow: float, texts: int, doubtful: int
) -> None:
    hits = read_by(Reader([[(1100, 300), (1220, 300), (1220, 320), (1100, 320)]], wide, narrow), monkeypatch)
    assert (len(hits.texts), hits.doubtful) == (texts, doubtful)


def test_what_is_found_lies_within_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what is one box around two that nearly agree."""
    edge = [(1100, -4), (1220, -1), (1220, 18), (1100, 16)]
    near = [(1101, -6), (1219, -3), (1219, 17), (1101, 15)]
    hits = read_by(Reader([edge, near], 0.9, 0.9), monkeypatch)
    assert len(hits.texts) == 1
    assert all(0 <= x < 2 * MARK and 0 <= y < 600 for x, y in hits.texts[0])


def test_two_lines_that_touch_stay_two(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [[(1100, y), (1220, y), (1220, y + 20), (1100, y + 20)] for y in (300, 317)]
    assert len(read_by(Reader(lines, 0.9, 0.9), monkeypatch).texts) == 2


@pytest.mark.parametrize("quarters", [0, 1])
def test_writing_is_found_all_along_a_strip(quarters: int) -> None:
    strip: RGB = np.full((60, 7000, 3), 225, np.uint8)
    places = [(40, 42), (LONGEST - OVERLAP - 60, 42), (3650, 42), (6650, 42)]
    strip, ink = with_text(strip, places, 180, 1.2, 2)
    turned = np.ascontiguousarray(np.rot90(strip, quarters))
    found = mask_of(find_marks(turned, PARAMS).texts, (turned.shape[1], turned.shape[0]), PARAMS.margin) > 0
    back = np.rot90(found, -quarters)
    assert back[ink > 128].mean() > 0.98
    assert back.mean() < 0.4
