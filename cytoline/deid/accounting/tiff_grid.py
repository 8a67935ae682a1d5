"""How a TIFF's tiles or strips lie in the picture, and which of them reach beyond its edge.

Source: TIFF 6.0 sections 3 and 15.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cytoline.deid.accounting.coverage import Offsets
from cytoline.deid.accounting.tiff_tiles import Tile


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

    def tiles(self, ranges: Offsets, distinct: list[int], held: list[int]) -> Iterator[Tile]:
        """Each range in the file once, and again for each way in which the picture's edge cuts it."""
        done: set[Tile] = set()
        whole = self.tile
        for index in distinct:
            tile = self._tile(ranges, index)
            if tile.inside == whole:
                yield tile
        for index in held:
            if self._is_edge(index):
                tile = self._tile(ranges, index)
                if tile not in done:
                    done.add(tile)
                    yield tile

    def _is_edge(self, index: int) -> bool:
        row, column = divmod(index % (self.across * self.down), self.across)
        cut_across = column == self.across - 1 and self.width % self.tile[0]
        return bool(cut_across or (row == self.down - 1 and self.height % self.tile[1]))

    def _tile(self, ranges: Offsets, index: int) -> Tile:
        row, column = divmod(index % (self.across * self.down), self.across)
        inside = (
            min(self.tile[0], self.width - column * self.tile[0]),
            min(self.tile[1], self.height - row * self.tile[1]),
        )
        size = self.tile if self.tiled else (self.width, inside[1])  # the last strip is cut, not filled up
        return Tile(int(ranges[index, 0]), int(ranges[index, 1]), *size, inside)
