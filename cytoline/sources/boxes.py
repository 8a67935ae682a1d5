"""Boxes as written -> boxes that lie inside their image, or a reason why not."""

from __future__ import annotations

import math

from cytoline.manifest import BBox
from cytoline.sources.folders import WHOLE_IMAGE
from cytoline.sources.found import Box, Found, Reason, Refusal

MIN_SIDE = 1.0
"""Pixels; what is thinner shows no cell."""


def fit(bbox: BBox, width: int, height: int) -> tuple[BBox | None, Reason | None]:
    """The part of ``bbox`` (xywh, pixels) inside a ``width`` x ``height`` image.

    Gives (box, None) if all of it is, (box, "clipped") if a part is, (None, reason) if none or it is no box.
    """
    if not all(map(math.isfinite, bbox)):
        return None, "not_a_box"
    x, y, w, h = bbox
    if w < MIN_SIDE or h < MIN_SIDE:
        return None, "degenerate"
    left, top = max(0.0, x), max(0.0, y)
    right, bottom = min(float(width), x + w), min(float(height), y + h)
    if right - left < MIN_SIDE or bottom - top < MIN_SIDE:
        return None, "outside"
    if (left, top, right, bottom) == (x, y, x + w, y + h):
        return bbox, None
    return (left, top, right - left, bottom - top), "clipped"


def place_cell(found: Found, width: int, height: int, side: float | None) -> tuple[BBox | None, Reason | None]:
    """cells-folders: the square of ``side`` round the nucleus (or the middle); the whole image without ``side``.

    Where the square reaches over an edge, the opposite edge moves in too: patches are cut round the middle of the
    box, and that must stay the nucleus.
    """
    if side is None:
        return (0.0, 0.0, float(width), float(height)), None
    x, y = found.centre or (width / 2, height / 2)
    if not (math.isfinite(x) and math.isfinite(y)):
        return None, "not_a_box"
    half_w, half_h = min(side / 2, x, width - x), min(side / 2, y, height - y)
    if min(half_w, half_h) * 2 < MIN_SIDE:
        return None, "outside"
    box = (x - half_w, y - half_h, 2 * half_w, 2 * half_h)
    return box, None if min(half_w, half_h) == side / 2 else "clipped"


def fit_all(
    found: Found, width: int, height: int, side: float | None, aliases: dict[str, str | None]
) -> tuple[list[Box], list[Refusal]]:
    """Boxes to keep, labels after ``aliases`` (casefolded keys), and what was left out or cut."""
    kept: list[Box] = []
    notes: list[Refusal] = []
    there = set()
    for box in found.boxes:
        whole = box.bbox == WHOLE_IMAGE
        bbox, reason = place_cell(found, width, height, side) if whole else fit(box.bbox, width, height)
        written = box.label.strip()
        label = aliases.get(written.casefold(), written)
        if bbox is not None and label is None:
            bbox, reason = None, "label_left_out"
        if bbox is not None and (bbox, label) in there:
            bbox, reason = None, "duplicate_box"
        if reason is not None:
            place = found.centre if whole else box.bbox
            notes.append(Refusal("box", found.path, reason, f"{written} at {_shown(place or ())}"))
        if bbox is not None and label is not None:
            there.add((bbox, label))
            kept.append(Box(bbox, label, box.annotator))
    return kept, notes


def _shown(numbers: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in numbers)
