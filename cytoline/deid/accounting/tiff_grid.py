"""How a TIFF's tiles or strips lie in the picture, and which of them reach beyond its edge.

Source: TIFF 6.0 sections 3 and 15.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cytoline.deid.accounting.coverage import Offsets
from cytoline.deid.accounting.tiff_tiles import Tile

Indices = NDArray[np.intp]
"""Of tiles, row by row and plane by plane."""


@dataclass(frozen=True)
class Grid:
    """How tiles or strips lie in the picture."""

    width: int
    height: int
    tile: tuple[int, int]
    tiled: bool
    planes: int

    @property
    def across(self) -> int:
        """Tiles in a row."""
        return -(-self.width // self.tile[0])

    @property
    def down(self) -> int:
        """Rows of tiles."""
        return -(-self.height // self.tile[1])

    @property
    def total(self) -> int:
        """Tiles of all planes."""
        return self.across * self.down * self.planes

    def tiles(self, ranges: Offsets, once: Indices, held: Indices) -> Iterator[Tile]:
        """Each range in the file once, and again for each way in which the picture's edge cuts it."""
        for index in once.tolist():
            tile = self._tile(ranges, index)
            if tile.inside == self.tile:
                yield tile
        done: set[Tile] = set()
        for index in held[self._at_edge(held)].tolist():
            tile = self._tile(ranges, index)
            if tile not in done:
                done.add(tile)
                yield tile

    def _at_edge(self, indices: Indices) -> NDArray[np.bool_]:
        rows, columns = np.divmod(indices % (self.across * self.down), self.across)
        found = np.zeros(len(indices), bool)
        if self.width % self.tile[0]:
            found |= columns == self.across - 1
        if self.height % self.tile[1]:
            found |= rows == self.down - 1
        return found

    def _tile(self, ranges: Offsets, index: int) -> Tile:
        row, column = divmod(index % (self.across * self.down), self.across)
        inside = (
            min(self.tile[0], self.width - column * self.tile[0]),
            min(self.tile[1], self.height - row * self.tile[1]),
        )
        size = self.tile if self.tiled else (self.width, inside[1])  # the last strip is cut, not filled up
        return Tile(int(ranges[index, 0]), int(ranges[index, 1]), *size, inside)
