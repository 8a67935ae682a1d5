"""Pen marks and handwriting on the slide: long thin strokes of one ink that no dye of the stain looks like.

Looked at from afar (``SIDE`` pixels), where cells are blots and a stroke of a pen is still a line.  A stroke is a
connected region of one kind of ink that is long for its width: marker colours (green, blue, red, far more saturated
than the picture's own dyes) or black, darker than nearly everything else.  What a picture's own dyes look like is
taken from the picture itself.

Not found: strokes thinner than some four pixels of a thousand, in the hue of the stain, faint pencil, or so many that
they are most of the picture.  It is a net for the usual marker on glass, no proof.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cytoline.deid.polygon import Polygon
from cytoline.images import RGB

SIDE = 512
"""Pixels of the longer side on which strokes are looked for."""
LEAST_SIDE = 160
"""Of the longer side: smaller pictures are single cells."""


Box = tuple[int, int, int, int]
"""x, y, width, height."""


@dataclass(frozen=True)
class Strokes:
    """``sure``: outlines of what must be a pen.  ``weak``: of what may be one."""

    sure: tuple[Polygon, ...] = ()
    weak: tuple[Polygon, ...] = ()


@dataclass(frozen=True)
class _Shape:
    """One region of one ink, in pixels of the small picture."""

    length: float
    width: float
    evenness: float
    """Spread of its colour, in levels."""
    extent: float
    """Diagonal of its box."""
    fill: float
    """Share of its box."""


_HUES = {"red": ((0, 8), (174, 180)), "green": ((38, 86),), "blue": ((98, 122),)}
"""Of OpenCV's half turns; between them lie the dyes: violet and pink above blue, orange and yellow above red."""
_SATURATED = 110
"""Of 255: markers; dyes stay below but for the deepest nuclei, which are violet."""
_VIVID_MOST = 0.25
"""Share of the picture that one colour may fill: beyond it is the stain itself."""
_BLACK = 75
"""The brightest channel of black ink on glass."""
_GAP = 3
"""Pixels that a stroke may be interrupted by, where a cell shines through."""
_SURE, _WEAK = 200.0, 170.0
"""Diagonal at least.  Crowded cells of one dye were up to 168 across in 100 clean phantom fields."""
_RATIO, _EVEN = 7.0, 26.0
"""Length by width at least, spread of colour at most."""
_FILL, _STRAIGHT = 0.4, 6.0
"""A stroke leaves most of its box free, or its box is itself as thin as this."""
_THIN, _THICK = 2.0, 45.0
"""Width in pixels: thinner are hairs, folds and cell borders."""


def find_strokes(rgb: RGB) -> Strokes:
    """Search one picture."""
    height, width = rgb.shape[:2]
    longer = max(height, width)
    if longer < LEAST_SIDE or min(height, width) < LEAST_SIDE // 4:
        return Strokes()
    factor = min(1.0, SIDE / longer)
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) if factor < 1 else rgb
    sure: list[Polygon] = []
    weak: list[Polygon] = []
    for box, shape in _regions(small):
        if _is_stroke(shape, box):
            (sure if shape.extent >= _SURE else weak).append(_outline(box, factor, (width, height)))
    return Strokes(tuple(sorted(sure)), tuple(sorted(weak)))


def _is_stroke(shape: _Shape, box: Box) -> bool:
    thin = _THIN <= shape.width <= _THICK and shape.length >= _RATIO * shape.width
    sprawls = shape.fill <= _FILL or max(box[2:]) >= _STRAIGHT * min(box[2:])
    return thin and sprawls and shape.extent >= _WEAK and shape.evenness <= _EVEN


def _regions(small: RGB) -> Iterator[tuple[Box, _Shape]]:
    for mask in _inks(small):
        if not mask.any() or mask.mean() > _VIVID_MOST:
            continue
        closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((_GAP, _GAP), np.uint8))
        count, regions, numbers, _ = cv2.connectedComponentsWithStats(closed)
        for number in range(1, count):
            x, y, w, h, area = (int(value) for value in numbers[number])
            if w * w + h * h < _WEAK**2:
                continue
            region = (regions[y : y + h, x : x + w] == number).astype(np.uint8)
            yield (x, y, w, h), _measured(small[y : y + h, x : x + w], region, area)


def _inks(small: RGB) -> Iterator[NDArray[np.uint8]]:
    """Where each kind of ink may be."""
    hue, saturation, value = cv2.split(cv2.cvtColor(small, cv2.COLOR_RGB2HSV))
    vivid = (saturation >= _SATURATED) & (value >= 30)
    for ranges in _HUES.values():
        own = np.zeros(hue.shape, bool)
        for low, high in ranges:
            own |= (hue >= low) & (hue <= high)
        yield (own & vivid).astype(np.uint8)
    yield (value <= _BLACK).astype(np.uint8)


def _measured(small: RGB, region: NDArray[np.uint8], area: int) -> _Shape:
    """A stroke's width is twice the depth along its middle, its length what its area then gives."""
    depth = cv2.distanceTransform(np.pad(region, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    ridge = (depth >= cv2.dilate(depth, np.ones((3, 3), np.uint8)) - 1e-3) & (region > 0)
    width = float(2 * np.percentile(depth[ridge], 75)) if ridge.any() else 1.0
    inside = small[(depth >= max(1.0, width / 4)) & (region > 0)]
    spread = float(inside.astype(np.float32).std(axis=0).mean()) if len(inside) else 255.0
    extent = float(np.hypot(region.shape[0], region.shape[1]))
    return _Shape(area / max(width, 1.0), width, spread, extent, area / region.size)


def _outline(box: Box, factor: float, size: tuple[int, int]) -> Polygon:
    """The upright rectangle around it, on the whole picture."""
    x, y, w, h = box
    left, top = int(x / factor), int(y / factor)
    right, bottom = min(int((x + w) / factor), size[0] - 1), min(int((y + h) / factor), size[1] - 1)
    return ((left, top), (right, top), (right, bottom), (left, bottom))
