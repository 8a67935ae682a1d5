"""One page of the pyramid as a picture: its tiles by number, any region of it as RGB."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cytoline.deid.slide.coding import Coding, Tile, coding_of
from cytoline.deid.slide.limits import SlideLimits
from cytoline.deid.slide.refusal import CannotRecreate
from cytoline.deid.slide.tiff_read import Page
from cytoline.images import RGB

_ROOM = 65536
"""Bytes by which a coded tile may exceed its raw size."""


@dataclass(frozen=True)
class Level:
    """A tiled page that holds together: as many tiles as it needs, each of them there."""

    page: Page
    width: int
    height: int
    coding: Coding
    offsets: NDArray[np.uint64]
    counts: NDArray[np.uint64]

    @property
    def across(self) -> int:
        return -(-self.width // self.coding.width)

    @property
    def down(self) -> int:
        return -(-self.height // self.coding.height)

    @property
    def bytes_at_most(self) -> int:
        """Generous estimate of the written page's size."""
        if self.coding.compression == 7:
            return 2 * int(self.counts.sum()) + 4096 * len(self.counts)
        return len(self.counts) * (self.coding.raw_size + self.coding.raw_size // 512 + 64)

    def raw(self, number: int) -> bytes:
        """The stored bytes of a tile, in rows from the top left."""
        return self.page.source.read(int(self.offsets[number]), int(self.counts[number]))

    def tile(self, number: int) -> Tile:
        return self.coding.read(self.raw(number))

    def place(self, number: int) -> tuple[int, int]:
        """x and y of a tile's top left corner."""
        y, x = divmod(number, self.across)
        return x * self.coding.width, y * self.coding.height

    def region(self, x: int, y: int, width: int, height: int) -> RGB:
        """Pixels of a region that lies inside the picture."""
        out = np.empty((height, width, 3), np.uint8)
        tile_w, tile_h = self.coding.width, self.coding.height
        for row in range(y // tile_h, (y + height - 1) // tile_h + 1):
            for column in range(x // tile_w, (x + width - 1) // tile_w + 1):
                left, top = column * tile_w, row * tile_h
                x0, y0 = max(x, left), max(y, top)
                x1, y1 = min(x + width, left + tile_w), min(y + height, top + tile_h)
                samples = self.coding.decode(self.raw(row * self.across + column))
                part = samples[y0 - top : y1 - top, x0 - left : x1 - left]
                out[y0 - y : y1 - y, x0 - x : x1 - x] = self.coding.to_rgb(part)
        return out


def level_of(page: Page, limits: SlideLimits) -> Level:
    """Check a tiled page's sizes and tiles before anything is decoded.  Raises ``CannotRecreate``."""
    width, height = page.integer(256), page.integer(257)
    tile_w, tile_h = page.integer(322), page.integer(323)
    if not (width > 0 and height > 0 and width * height <= limits.max_pixels):
        raise CannotRecreate("too_large")
    if tile_w <= 0 or tile_h <= 0 or tile_w % 16 or tile_h % 16 or tile_w * tile_h > limits.max_tile_pixels:
        raise CannotRecreate("damaged")
    needed = -(-width // tile_w) * -(-height // tile_h)
    if needed > limits.max_tiles:
        raise CannotRecreate("too_large")
    if page.integer(284, 1) != 1:
        raise CannotRecreate("samples")
    offsets, counts = page.integers(324, needed), page.integers(325, needed)
    if len(offsets) != needed or len(counts) != needed:
        raise CannotRecreate("damaged")
    if not offsets.all() or not counts.all():
        raise CannotRecreate("missing_tile")
    size = page.source.size
    if int(offsets.max()) > size or int(counts.max()) > min(size, 4 * tile_w * tile_h * 3 + _ROOM):
        raise CannotRecreate("damaged")
    if int((offsets + counts).max()) > size:
        raise CannotRecreate("damaged")
    first = page.source.read(int(offsets[0]), int(counts[0]))
    return Level(page, width, height, coding_of(page, first), offsets, counts)
