"""Which images look alike, found anew: not by the code that made the split, so that one mistake does not hide another.

A perceptual hash (``imagehash``: 16 x 16 frequencies of the grey image) in all eight orientations proposes pairs, the
correlation of small grey pictures decides; both are about light and dark, so a pair must agree in both.
Not found: a part cut out of an image, and fields that overlap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cytoline.images import read_image

SIDE = 16
THUMB = 32
CORRELATION = 0.85
_ROWS = 256
"""Images that are held against all others at a time."""


@dataclass(frozen=True)
class Look:
    """``hashes``: 8 orientations x 4 words; ``thumb``: grey, THUMB x THUMB, 0 to 255."""

    hashes: NDArray[np.uint64] = field(repr=False)
    thumb: NDArray[np.float32] = field(repr=False)


def look(path: Path) -> Look:
    """Read one image.  Raises ``CytolineError`` where it cannot be read."""
    grey = Image.fromarray(read_image(path)).convert("L")
    small = grey.resize((4 * SIDE, 4 * SIDE), Image.Resampling.LANCZOS)
    bits = [imagehash.phash(turned, hash_size=SIDE).hash.ravel() for turned in _turned(small)]
    words = np.packbits(np.array(bits), axis=1).view(np.uint64)
    return Look(words, np.asarray(grey.resize((THUMB, THUMB), Image.Resampling.BOX), np.float32))


def alike(looks: Sequence[Look], parts: Sequence[int], distance: int) -> Iterator[tuple[int, int]]:
    """Pairs of indices, in different parts, within ``distance`` of 256 bits in some orientation, that correlate.

    Every pair is compared; the memory is that of ``_ROWS`` rows.
    """
    if not looks:
        return
    hashes = np.stack([one.hashes for one in looks])
    sides = np.asarray(parts)
    for start in range(0, len(looks), _ROWS):
        rows = hashes[start : start + _ROWS, None, 0, :]
        apart = np.full((rows.shape[0], len(looks) - start), 256, np.uint16)
        for turn in range(8):
            np.minimum(apart, np.bitwise_count(rows ^ hashes[None, start:, turn, :]).sum(2, dtype=np.uint16), out=apart)
        near = np.triu(apart <= distance, k=1) & (sides[start : start + _ROWS, None] != sides[None, start:])
        for row, column in np.argwhere(near):
            one, other = start + int(row), start + int(column)
            if _agree(looks[one].thumb, looks[other].thumb):
                yield one, other


def _agree(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    a = one - one.mean()
    for base in (other, other[:, ::-1]):
        for quarters in range(4):
            b = np.rot90(base, quarters)
            b = b - b.mean()
            scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
            if scale == 0:
                if not a.any() and not b.any():
                    return True
            elif float((a * b).sum()) / scale >= CORRELATION:
                return True
    return False


def _turned(image: Image.Image) -> Iterator[Image.Image]:
    pixels: NDArray[Any] = np.asarray(image)
    for base in (pixels, pixels[:, ::-1]):
        for quarters in range(4):
            yield Image.fromarray(np.ascontiguousarray(np.rot90(base, quarters)))
