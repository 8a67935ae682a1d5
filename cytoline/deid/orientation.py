"""EXIF orientation, turned into pixels so that the tag can go, and boxes that turn with them."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from cytoline.images import FORMATS, RGB
from cytoline.manifest import BBox

UPRIGHT = 1
_TAG = 0x0112


def read_orientation(content: bytes) -> int:
    """1 to 8; 1 where there is no tag, a senseless one, a TIFF (``images`` refuses turned ones) or an HEIC (whose
    pixels come turned, and which Pillow does not open).

    Only for files whose header passed ``images.probe``.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            value = UPRIGHT if image.format == "TIFF" else image.getexif().get(_TAG, UPRIGHT)
    except Exception:  # broken Exif blocks raise anything; they are thrown away with the rest
        return UPRIGHT
    return value if isinstance(value, int) and 1 <= value <= 8 else UPRIGHT


def turn_pixels(rgb: RGB, orientation: int) -> RGB:
    """The picture as a viewer that honours the tag shows it."""
    if orientation >= 5:
        rgb = rgb.transpose(1, 0, 2)
    flip_x, flip_y = _flips(orientation)
    return np.ascontiguousarray(rgb[:: -1 if flip_y else 1, :: -1 if flip_x else 1])


def turn_box(bbox: BBox, size: tuple[int, int], orientation: int) -> BBox:
    """The same box on the turned picture; ``size`` is (width, height) before turning."""
    x, y, w, h = bbox
    width, height = size
    if orientation >= 5:
        x, y, w, h, width, height = y, x, h, w, height, width
    flip_x, flip_y = _flips(orientation)
    if flip_x:
        x, w = _mirrored(x, w, width)
    if flip_y:
        y, h = _mirrored(y, h, height)
    return (x, y, w, h)


def _mirrored(start: float, length: float, whole: int) -> tuple[float, float]:
    """Rounding may put a box that touches the edge 1e-14 beyond it, which the manifest refuses."""
    new = max(0.0, whole - start - length)
    return new, length if new + length <= whole else whole - new


def turned_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Width and height after turning."""
    return (size[1], size[0]) if orientation >= 5 else size


def _flips(orientation: int) -> tuple[bool, bool]:
    """Mirrored left-right, top-bottom; after the transposition for 5 to 8."""
    return orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
