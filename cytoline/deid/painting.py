"""Painting over: the marked pixels take the median colour of what surrounds them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from cytoline.deid.polygon import Polygon
from cytoline.images import RGB
from cytoline.manifest import BBox

Mask = NDArray[np.uint8]
"""Height x width, 1 where painted."""

RING = 8
"""Pixels around a painted region that give its colour."""


def mask_of(polygons: Sequence[Polygon], size: tuple[int, int], margin: int) -> Mask:
    """The polygons widened by ``margin`` on an image of ``size`` = (width, height)."""
    mask = np.zeros((size[1], size[0]), np.uint8)
    for polygon in polygons:
        cv2.fillPoly(mask, [np.array(polygon, np.int32)], (1,))
    return _widen(mask, margin)


def paint(rgb: RGB, mask: Mask) -> RGB:
    """A copy with each connected region of ``mask`` in one colour, so that no stroke shows through."""
    out = rgb.copy()
    count, regions = cv2.connectedComponents(mask)
    for number in range(1, count):
        region = (regions == number).astype(np.uint8)
        ring = (_widen(region, RING) == 1) & (mask == 0)
        around = rgb[ring] if ring.any() else rgb.reshape(-1, 3)
        out[region == 1] = np.median(around, axis=0).astype(np.uint8)
    return out


def painted_share(mask: Mask, bbox: BBox) -> float:
    """Share of the box's pixels that are painted, 0 to 1, to a thousandth; never 0 if any of them is."""
    x, y, w, h = bbox
    part = mask[int(y) : int(np.ceil(y + h)), int(x) : int(np.ceil(x + w))]
    if not part.any():
        return 0.0
    return max(0.001, round(float((part != 0).mean()), 3))


def _widen(mask: Mask, by: int) -> Mask:
    return np.asarray(cv2.dilate(mask, np.ones((2 * by + 1, 2 * by + 1), np.uint8)), dtype=np.uint8)
