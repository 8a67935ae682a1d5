"""Text and barcode labels burned into the pixels: planned here as boxes, drawn here as pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
import zxingcpp
from numpy.typing import NDArray

FONT = cv2.FONT_HERSHEY_SIMPLEX
SCALE, THICK, LINE, MARGIN = 0.5, 1, 19, 8
LABEL = 6
"""White rim of a barcode label in pixels."""
PLAIN, STRIP, LIGHT = 0, 1, 2
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Mark:
    """One line of text or one barcode with the box (x, y, w, h) that its ink fills."""

    kind: str
    value: str
    box: Box


@dataclass(frozen=True)
class Overlay:
    """What is burned into one field.  ``style`` is one of PLAIN, STRIP, LIGHT, or a barcode format's name."""

    style: int | str
    box: Box
    marks: tuple[Mark, ...]


def plan_text(lines: Sequence[tuple[str, str]], style: int, corner: int, size: tuple[int, int]) -> Overlay:
    """Lay lines of (kind, text) into a corner: 0 and 1 at the top, 0 and 2 at the left."""
    extents = [cv2.getTextSize(text, FONT, SCALE, THICK)[0] for _, text in lines]
    width, height = max(w for w, _ in extents) + 2 * MARGIN, LINE * len(lines) + MARGIN
    x, y = _corner(corner, (width, height), size)
    marks = []
    for number, ((kind, text), (w, h)) in enumerate(zip(lines, extents, strict=True)):
        top = y + MARGIN // 2 + LINE * number + (LINE - h) // 2
        marks.append(Mark(kind, text, (x + MARGIN, top, w, h + 4)))
    return Overlay(style, (x, y, width, height), tuple(marks))


def plan_barcode(kind: str, value: str, corner: int, size: tuple[int, int]) -> Overlay:
    """A paper label with one upright code in it."""
    height, width = _barcode(kind, value).shape
    outer = (width + 2 * LABEL, height + 2 * LABEL)
    x, y = _corner(corner, outer, size)
    return Overlay(kind, (x, y, *outer), (Mark("barcode", value, (x + LABEL, y + LABEL, width, height)),))


def draw_overlay(image: NDArray[np.uint8], overlay: Overlay) -> None:
    """Burn it in, in place, sharp: scanners do so after the optics."""
    x, y, w, h = overlay.box
    if isinstance(overlay.style, str):
        image[y : y + h, x : x + w] = (250, 249, 244)
        mark = overlay.marks[0]
        mx, my, mw, mh = mark.box
        image[my : my + mh, mx : mx + mw] = _barcode(overlay.style, mark.value)[..., None]
        return
    ink: tuple[int, ...] = (12, 12, 16)
    region = image[y : y + h, x : x + w]
    if overlay.style == STRIP:
        region[:] = (20, 24, 30)
        ink = (245, 245, 240)
    elif overlay.style == LIGHT or int(np.percentile(region.min(axis=2), 2)) < 110:
        # Dark ink straight on the field only where nothing dark lies below, else nobody could read it.
        region[:] = (244, 244, 238)
    for mark in overlay.marks:
        base = (mark.box[0], mark.box[1] + mark.box[3] - 4)
        cv2.putText(image, mark.value, base, FONT, SCALE, ink, THICK, cv2.LINE_AA)


def _corner(corner: int, outer: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    x = MARGIN if corner % 2 == 0 else size[0] - outer[0] - MARGIN
    y = MARGIN if corner < 2 else size[1] - outer[1] - MARGIN
    return max(x, 0), max(y, 0)


@cache
def _barcode(kind: str, value: str) -> NDArray[Any]:
    code = zxingcpp.create_barcode(value, getattr(zxingcpp.BarcodeFormat, kind))
    pixels = np.array(code.to_image(scale=1, add_quiet_zones=True))
    if kind == "Code128":
        # Bars keep one height; modules of two pixels survive JPEG.
        return np.asarray(np.repeat(pixels[:44], 2, axis=1))
    return np.asarray(np.kron(pixels, np.ones((3, 3), pixels.dtype)))
