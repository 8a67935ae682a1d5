"""Text in a slide: searched in overlapping windows at every level, painted over at every level.

The reductions are searched too: large writing fits a window there, and what only a level shows would be missed
else.  A polygon has one colour, the median of what surrounds it in the base, so levels and tiles agree.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cytoline.deid.painting import RING, Mask
from cytoline.deid.polygon import Look, Polygon
from cytoline.deid.slide.level import Level
from cytoline.deid.slide.limits import SlideLimits
from cytoline.deid.slide.refusal import CannotRecreate
from cytoline.images import RGB

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1."""
ROUNDS = 4
"""Searches of one window: painting over one line can bring another to light."""
RESAMPLING = 2
LARGEST_RING = 4096
"""Pixels each way around a polygon's middle that are looked at for its colour."""


@dataclass(frozen=True)
class Patch:
    """A polygon in base pixels and what it is painted with."""

    polygon: Polygon
    colour: tuple[int, int, int]

    def box(self, factor: tuple[float, float], margin: int) -> Box:
        """Around the widened polygon at a level ``factor`` times smaller than the base."""
        xs, ys = (sorted(corner[axis] / factor[axis] for corner in self.polygon) for axis in (0, 1))
        return (
            math.floor(xs[0]) - margin,
            math.floor(ys[0]) - margin,
            math.ceil(xs[-1]) + margin + 1,
            math.ceil(ys[-1]) + margin + 1,
        )


class Redaction:
    """The patches of one slide, to be laid over any part of any level."""

    def __init__(self, base: Level, margin: int) -> None:
        self._base = base
        self._margin = margin
        self.patches: list[Patch] = []

    def add(self, polygons: Sequence[Polygon]) -> None:
        """Polygons in base pixels."""
        self.patches += [Patch(polygon, self._colour(polygon)) for polygon in polygons]

    def lay_over(self, level: Level, x: int, y: int, rgb: RGB) -> tuple[RGB, Mask]:
        """A region of a level, painted, and which of its pixels are; ``rgb`` itself if none is."""
        height, width = rgb.shape[:2]
        mask: Mask = np.zeros((height, width), np.uint8)
        out: RGB = rgb
        for patch, box in self._touching(level, (x, y, x + width, y + height)):
            own = self._mask(level, patch, (x, y), (width, height), box)
            out = rgb.copy() if out is rgb else out
            out[own == 1] = patch.colour
            mask |= own
        return out, mask

    def touches(self, level: Level, box: Box) -> bool:
        return any(True for _ in self._touching(level, box))

    def _touching(self, level: Level, box: Box) -> Iterator[tuple[Patch, Box]]:
        factor, margin = self._scale(level)
        for patch in self.patches:
            around = patch.box(factor, margin)
            if around[0] < box[2] and around[2] > box[0] and around[1] < box[3] and around[3] > box[1]:
                yield patch, around

    def _scale(self, level: Level) -> tuple[tuple[float, float], int]:
        """How many times smaller the level is, and the margin there.

        Resampling carries strokes on by a pixel or two, a JPEG through the whole block that they touch.
        """
        factor = (self._base.width / level.width, self._base.height / level.height)
        margin = self._margin if level is self._base else math.ceil(self._margin / min(factor)) + RESAMPLING
        return factor, max(margin, level.coding.block + RESAMPLING if level.coding.block else 0)

    def _mask(self, level: Level, patch: Patch, at: tuple[int, int], size: tuple[int, int], box: Box) -> Mask:
        """The widened polygon within a region; drawn on a ground with room for what lies outside."""
        (fx, fy), margin = self._scale(level)
        x0, y0 = max(box[0], at[0] - margin), max(box[1], at[1] - margin)
        x1, y1 = min(box[2], at[0] + size[0] + margin), min(box[3], at[1] + size[1] + margin)
        drawn: Mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        cv2.fillPoly(
            drawn, [np.array([(px / fx - x0, py / fy - y0) for px, py in patch.polygon]).round().astype(int)], (1,)
        )
        kernel = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
        drawn = np.asarray(cv2.dilate(drawn, kernel), dtype=np.uint8)
        mask = np.zeros((size[1], size[0]), np.uint8)
        inside = (max(x0, at[0]), max(y0, at[1]), min(x1, at[0] + size[0]), min(y1, at[1] + size[1]))
        if inside[0] < inside[2] and inside[1] < inside[3]:
            part = drawn[inside[1] - y0 : inside[3] - y0, inside[0] - x0 : inside[2] - x0]
            mask[inside[1] - at[1] : inside[3] - at[1], inside[0] - at[0] : inside[2] - at[0]] = part
        return mask

    def _colour(self, polygon: Polygon) -> tuple[int, int, int]:
        patch = Patch(polygon, (255, 255, 255))
        x0, y0, x1, y1 = patch.box((1, 1), self._margin + RING)
        x0, y0 = max(0, x0, (x0 + x1 - LARGEST_RING) // 2), max(0, y0, (y0 + y1 - LARGEST_RING) // 2)
        x1, y1 = min(self._base.width, x1, x0 + LARGEST_RING), min(self._base.height, y1, y0 + LARGEST_RING)
        if x0 >= x1 or y0 >= y1:
            return patch.colour
        rgb = self._base.region(x0, y0, x1 - x0, y1 - y0)
        own = self._mask(self._base, patch, (x0, y0), (x1 - x0, y1 - y0), patch.box((1, 1), self._margin))
        painted, before = self.lay_over(self._base, x0, y0, rgb)
        free = (own == 0) & (before == 0)
        around: NDArray[np.uint8] = painted[free] if free.any() else rgb.reshape(-1, 3)
        red, green, blue = np.median(around, axis=0).astype(int).tolist()
        return red, green, blue


def search(
    levels: Sequence[Level], look: Look, limits: SlideLimits
) -> tuple[Redaction, tuple[tuple[Polygon, ...], ...]]:
    """Everything to paint over, and the polygons by round.  Raises ``CannotRecreate`` ("text_remains")."""
    redaction = Redaction(levels[0], limits.margin)
    rounds: list[list[Polygon]] = [[] for _ in range(ROUNDS)]
    for level in levels:
        for box in windows(level.width, level.height, limits.window, limits.overlap):
            _search_window(level, levels[0], box, look, redaction, rounds)
            if len(redaction.patches) > limits.max_polygons:
                raise CannotRecreate("text_remains")
    return redaction, tuple(tuple(found) for found in rounds if found)


def windows(width: int, height: int, side: int, overlap: int) -> Iterator[Box]:
    """Squares that cover the picture, row by row, neighbours sharing ``overlap`` pixels."""
    for y in _steps(height, side, overlap):
        for x in _steps(width, side, overlap):
            yield x, y, min(x + side, width), min(y + side, height)


def _steps(length: int, side: int, overlap: int) -> list[int]:
    return list(range(0, max(1, length - overlap), side - overlap))


def _search_window(
    level: Level, base: Level, box: Box, look: Look, redaction: Redaction, rounds: list[list[Polygon]]
) -> None:
    """Search, paint, and search again until nothing is found."""
    x0, y0, x1, y1 = box
    rgb = level.region(x0, y0, x1 - x0, y1 - y0)
    fx, fy = base.width / level.width, base.height / level.height
    for found in rounds:
        polygons = look(redaction.lay_over(level, x0, y0, rgb)[0])
        if not polygons:
            return
        moved = [tuple((round((x + x0) * fx), round((y + y0) * fy)) for x, y in polygon) for polygon in polygons]
        redaction.add(moved)
        found += moved
    if look(redaction.lay_over(level, x0, y0, rgb)[0]):
        raise CannotRecreate("text_remains")
