"""What the text reader is shown of a picture that is too long for it: windows at its own scale, a long strip as a page.

RapidOCR makes pictures smaller whose longer side is over 2,000 pixels: at half the size, faint writing of 9 to 14
pixels is lost.  So a large field is looked at as a whole, where large writing is found, and window by
window.  A long strip is cut into pieces that are laid below each other like lines of writing: on a plain ground as high
as a quarter of its length, a picture of two pixels by 65,535 would take gigabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from cytoline.images import RGB

LONGEST = 2000
"""Pixels of the longer side up to which the reader leaves a picture as it is."""
STRIP = 4
"""A picture longer than so many times its shorter side is a strip."""
OVERLAP = 200
"""Pixels that neighbours share: a line of small writing is whole in one of them, each letter of a long one."""

Box = NDArray[np.float32]
"""Four corners, x and y."""


@dataclass(frozen=True)
class View:
    """A picture to read, and where a box in it lies in the whole picture."""

    rgb: RGB
    home: Callable[[Box], Box]


def views(rgb: RGB) -> Iterator[View]:
    """The picture itself if the reader takes it as it is, else what stands for it."""
    height, width = rgb.shape[:2]
    if is_strip(rgb) and max(height, width) > LONGEST >= STRIP * min(height, width):
        yield from _pages(rgb)
        return
    if max(height, width) <= LONGEST or not is_strip(rgb):
        yield View(rgb, lambda box: box)
    if max(height, width) > LONGEST:
        yield from _windows(rgb)


def is_strip(rgb: RGB) -> bool:
    """Whether the picture is much longer than wide."""
    return max(rgb.shape[:2]) > STRIP * min(rgb.shape[:2])


def _windows(rgb: RGB) -> Iterator[View]:
    height, width = rgb.shape[:2]
    (tops, high), (lefts, wide) = (_starts(length, OVERLAP) for length in (height, width))
    for top, left in product(tops, lefts):
        corner = np.array((left, top), np.float32)
        yield View(rgb[top : top + high, left : left + wide], partial(np.add, corner))


def _pages(rgb: RGB) -> Iterator[View]:
    """Pieces of a strip below each other, or side by side, as far apart as the strip is wide."""
    across = min(rgb.shape[:2])
    lies = rgb.shape[1] >= rgb.shape[0]
    flat = rgb if lies else rgb.transpose(1, 0, 2)
    ground = np.median(rgb.reshape(-1, 3), axis=0).astype(np.uint8)
    starts, length = _starts(flat.shape[1], max(OVERLAP, across))
    lines = (LONGEST // across + 1) // 2
    for first in range(0, len(starts), lines):
        own = starts[first : first + lines]
        page = np.empty(((2 * len(own) - 1) * across, length, 3), np.uint8)
        page[:] = ground
        for line, start in enumerate(own):
            page[2 * line * across : (2 * line + 1) * across] = flat[:, start : start + length]
        upright = np.ascontiguousarray(page if lies else page.transpose(1, 0, 2))
        yield View(upright, partial(_from_page, starts=own, across=across, lies=lies))


def _from_page(box: Box, starts: list[int], across: int, lies: bool) -> Box:
    """From the line in which the middle of the box lies to where that line was cut out."""
    along, down = (0, 1) if lies else (1, 0)
    line = int(np.clip(np.rint((box[:, down].mean() / across - 0.5) / 2), 0, len(starts) - 1))
    home = box.copy()
    home[:, along] += starts[line]
    home[:, down] -= 2 * line * across
    return home


def _starts(length: int, overlap: int) -> tuple[list[int], int]:
    """Where pieces of equal length begin that share ``overlap`` pixels at least, and that length."""
    if length <= LONGEST:
        return [0], length
    pieces = -(-(length - overlap) // (LONGEST - overlap))
    size = -(-(length + (pieces - 1) * overlap) // pieces)
    return [round(piece * (length - size) / (pieces - 1)) for piece in range(pieces)], size
