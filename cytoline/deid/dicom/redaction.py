"""Search the frames, and paint over what was found in the values themselves, whatever they mean."""

from __future__ import annotations

import cv2
import numpy as np

from cytoline.deid.dicom.frames import Stored, as_rgb, stretched
from cytoline.deid.dicom.palette import Palette
from cytoline.deid.dicom.refusal import CannotRecreate
from cytoline.deid.dicom.source import Layout
from cytoline.deid.painting import RING, Mask, mask_of
from cytoline.deid.polygon import Look, Polygon

Rounds = tuple[tuple[Polygon, ...], ...]
"""What was painted in one frame, round by round."""

ATTEMPTS = 4
"""Searches of one frame: painting over one line can bring another to light."""


def search(values: Stored, layout: Layout, palette: Palette | None, look: Look, margin: int) -> Rounds:
    """Search, paint, and search the result again until nothing is found.  Raises ``CannotRecreate``."""
    rounds: list[tuple[Polygon, ...]] = []
    for _ in range(ATTEMPTS):
        found = _found(values, layout, palette, look)
        if not found:
            return tuple(rounds)
        rounds.append(found)
        values = painted(values, (found,), margin, layout)
    if _found(values, layout, palette, look):
        raise CannotRecreate("text_remains")
    return tuple(rounds)


def painted(values: Stored, rounds: Rounds, margin: int, layout: Layout) -> Stored:
    """A copy with each region of each round in the value that surrounds it."""
    for polygons in rounds:
        values = _filled(values, mask_of(polygons, (layout.columns, layout.rows), margin), layout)
    return values


def _found(values: Stored, layout: Layout, palette: Palette | None, look: Look) -> tuple[Polygon, ...]:
    views = [as_rgb(values, layout, palette), stretched(values, layout)]
    return tuple(sorted({polygon for view in views if view is not None for polygon in look(view)}))


def _filled(values: Stored, mask: Mask, layout: Layout) -> Stored:
    """As ``painting.paint`` does, for values of any depth; a palette's indexes have no middle, only a most frequent."""
    out = values.copy()
    count, regions = cv2.connectedComponents(mask)
    kernel = np.ones((2 * RING + 1, 2 * RING + 1), np.uint8)
    for number in range(1, count):
        region = regions == number
        ring = (cv2.dilate(region.astype(np.uint8), kernel) == 1) & (mask == 0)
        around = values[ring] if ring.any() else values.reshape(-1, *values.shape[2:])
        if layout.photometric == "PALETTE COLOR":
            kinds, counts = np.unique(around, return_counts=True)
            out[region] = kinds[np.argmax(counts)]
        else:
            out[region] = np.median(around, axis=0).astype(values.dtype)
    return out
