"""Which pages are the picture: the base and what is shown to be a reduction of it, by structure and by pixels.

Everything else (label, macro, thumbnail, focal planes) is left out.  No description text is looked at: a label is
told by what it is not.  SVS marks levels as full images and OME keeps them in SubIFDs, so a page counts as a
reduction if it is tiled, not marked as label or macro (NewSubfileType 1 in strips, 9), has the base's aspect ratio,
and its pixels are those of the next larger level seen from afar.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from cytoline.deid.slide.level import Level, level_of
from cytoline.deid.slide.limits import SlideLimits
from cytoline.deid.slide.refusal import CannotRecreate
from cytoline.deid.slide.tiff_read import NDPI_VERSION, Page, Source, pages

FULL, REDUCED = 0, 1
LEAST_STEP = 1.2
"""A level is at least so many times smaller than the one before."""
COARSE = 8
"""Blocks each way in which two levels are compared."""
TOLERANCE = 16.0
"""Mean difference of the blocks, of 255, that resampling and coding may make."""
PROBE = 1024
"""Pixels of the larger level, each way, that one comparison reads at most."""
PROBES = 6
"""Comparisons each way over a large level; small ones are compared whole."""

_APERIO_MPP = re.compile(rb"\|\s*MPP\s*=\s*([0-9]{1,3}\.?[0-9]{0,9})\s*(?:\||\0|$)")
_DESCRIPTION_BYTES = 65536
SHARPEST, COARSEST = 0.02, 20.0
"""Microns per pixel that a microscope gives; 72 and 96 dpi are 353 and 265."""
_UNITS = {2: 25400.0, 3: 10000.0}
"""Microns in an inch, in a centimetre."""


@dataclass(frozen=True)
class Pyramid:
    """The pages to keep, largest first."""

    levels: tuple[Level, ...]
    mpp: tuple[float, float] | None
    """Microns per pixel of the base, x and y, six digits."""
    left_out: int
    """Pages that are none of the levels."""


def read_pyramid(source: Source, limits: SlideLimits) -> Pyramid:
    """Raises ``CannotRecreate``."""
    every = list(pages(source, limits.max_pages))
    if any(NDPI_VERSION in page for page in every):
        raise CannotRecreate("vendor_format")
    tiled = [page for page in every if page.tiled and page.integer(254, FULL) in (FULL, REDUCED)]
    base_page = max((page for page in tiled if page.integer(254, FULL) == FULL), key=_area, default=None)
    if base_page is None:
        raise CannotRecreate("no_base")
    levels = [level_of(base_page, limits)]
    for page in sorted(tiled, key=_area, reverse=True):
        if page is not base_page and _has_shape(page, levels):
            level = level_of(page, limits)
            if _is_reduction(level, levels[-1]):
                levels.append(level)
    return Pyramid(tuple(levels), _mpp(base_page), len(every) - len(levels))


def _area(page: Page) -> int:
    return page.integer(256) * page.integer(257)


def _has_shape(page: Page, levels: Sequence[Level]) -> bool:
    """Smaller than the last level, and of the base's aspect ratio but for what rounding (up or down) does."""
    width, height, base, last = page.integer(256), page.integer(257), levels[0], levels[-1]
    if not width or not height or last.width < LEAST_STEP * width or last.height < LEAST_STEP * height:
        return False
    return abs(base.width * height - base.height * width) <= 2 * max(base.width, base.height)


def _is_reduction(level: Level, larger: Level) -> bool:
    """Whether blocks of the level have the colours that the same blocks of the larger level have."""
    fx, fy = larger.width / level.width, larger.height / level.height
    side_x, side_y = (max(1, int(PROBE / factor)) for factor in (fx, fy))
    for y in _starts(level.height, side_y):
        for x in _starts(level.width, side_x):
            w, h = min(side_x, level.width - x), min(side_y, level.height - y)
            left, top = int(x * fx), int(y * fy)
            right, bottom = min(larger.width, math.ceil((x + w) * fx)), min(larger.height, math.ceil((y + h) * fy))
            small = _coarse(level.region(x, y, w, h))
            if float(np.abs(small - _coarse(larger.region(left, top, right - left, bottom - top))).mean()) > TOLERANCE:
                return False
    return True


def _starts(length: int, side: int) -> list[int]:
    """Where probes begin: all over a short length, spread evenly over a long one."""
    count = min(PROBES, -(-length // side))
    return sorted({round(index * max(0, length - side) / max(1, count - 1)) for index in range(count)})


def _coarse(rgb: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.asarray(cv2.resize(rgb, (COARSE, COARSE), interpolation=cv2.INTER_AREA), dtype=np.float32)


def _mpp(page: Page) -> tuple[float, float] | None:
    """Aperio's own number, else the resolution tags if a microscope could have given them."""
    found = _APERIO_MPP.search(page.raw(270, _DESCRIPTION_BYTES))
    if found and page.raw(270, 6) == b"Aperio":
        return _plausible(float(found[1]), float(found[1]))
    unit = _UNITS.get(page.integer(296, 2))
    across, down = page.ratio(282), page.ratio(283)
    if unit is None or not across or not down:
        return None
    return _plausible(unit / across, unit / down)


def _plausible(x: float, y: float) -> tuple[float, float] | None:
    if not all(math.isfinite(value) and SHARPEST <= value <= COARSEST for value in (x, y)):
        return None
    return float(f"{x:.6g}"), float(f"{y:.6g}")
