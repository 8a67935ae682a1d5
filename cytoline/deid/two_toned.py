"""Where a picture may hold a barcode that can be read: a cheap look, so that most of it need not be scanned.

A code is two inks side by side.  So many neighbouring pixels there differ by a good part of all that differs around
them, at any contrast and in any colour, in that reduction of the picture in which modules are one to three pixels
wide.  Cells have as many edges, but theirs are slopes.  The shares below are from planted codes that the reader reads
(docs/decisions/007).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from cytoline.images import RGB

Area = tuple[slice, slice]
"""Rows and columns."""

_WINDOW = 16
"""Pixels across the windows in which edges are counted."""
_STEEP, _NOISE = 0.35, 2
"""Share of the window's range of levels, and levels on top, that the step to the next pixel is at an edge of a code."""
_SURE, _LIKELY, _MAY_BELONG = 0.32, 0.2, 0.12
"""Share of such edges in a window: the whole picture is scanned; what is around is scanned; that far around."""
_AROUND, _LEAST_AROUND = 32, 128
"""Pixels of the reduction that are scanned around such windows, and pixels of the picture at least."""
_SMALL = 256
"""Pixels of the shorter side: what is smaller is scanned as a whole."""
_MOST = 0.5
"""Share of the picture from which on it is scanned as a whole."""
_GRID = 16


def code_areas(rgb: RGB) -> list[Area]:
    """What has to be scanned for codes; mostly nothing.  Areas may overlap."""
    height, width = rgb.shape[:2]
    whole = [(slice(0, height), slice(0, width))]
    if min(height, width) < _SMALL:
        return whole
    grid = np.zeros((-(-height // _GRID), -(-width // _GRID)), np.uint8)
    level, scale = rgb, 1
    while min(level.shape[:2]) >= 2 * _WINDOW:
        share = _edges(level)
        if share.max() >= 255 * _SURE:
            return whole
        around = max(_AROUND * scale, _LEAST_AROUND)
        for x, y, w, h in _likely(share):
            first = max((x * scale - around) // _GRID, 0), max((y * scale - around) // _GRID, 0)
            last = ((x + w) * scale + around) // _GRID, ((y + h) * scale + around) // _GRID
            grid[first[1] : last[1] + 1, first[0] : last[0] + 1] = 1
        level = cv2.resize(level, (level.shape[1] // 2, level.shape[0] // 2), interpolation=cv2.INTER_AREA)
        scale *= 2
    if grid.mean() >= _MOST:
        return whole
    count, _, numbers, _ = cv2.connectedComponentsWithStats(grid)
    boxes = (numbers[1:count, :4] * _GRID).tolist()
    return [(slice(y, min(y + h, height)), slice(x, min(x + w, width))) for x, y, w, h in boxes]


def _edges(level: RGB) -> NDArray[np.uint8]:
    """For each pixel the share, of 255, of steep steps in the window around it."""
    window = np.ones((_WINDOW, _WINDOW), np.uint8)
    spread = cv2.subtract(cv2.dilate(level, window), cv2.erode(level, window))[:-1, :-1]
    here = level[:-1, :-1]
    step = cv2.max(cv2.absdiff(level[:-1, 1:], here), cv2.absdiff(level[1:, :-1], here))
    beyond = cv2.subtract(step, cv2.convertScaleAbs(spread, alpha=_STEEP, beta=_NOISE))
    steep = cv2.bitwise_not(cv2.inRange(beyond, (0, 0, 0), (0, 0, 0)))
    return np.asarray(cv2.boxFilter(steep, -1, (_WINDOW, _WINDOW), borderType=cv2.BORDER_REFLECT), np.uint8)


def _likely(share: NDArray[np.uint8]) -> list[tuple[int, int, int, int]]:
    """Boxes (x, y, width, height) of what belongs together around windows that look like a code."""
    peaks = share >= 255 * _LIKELY
    if not peaks.any():
        return []
    _, regions, numbers, _ = cv2.connectedComponentsWithStats((share >= 255 * _MAY_BELONG).astype(np.uint8))
    found = (numbers[number] for number in np.unique(regions[peaks]))
    return [(int(x), int(y), int(w), int(h)) for x, y, w, h, _area in found]
