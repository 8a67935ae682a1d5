"""Accounts for the coded pixels of one TIFF page: each tile or strip holds its pixels and not a byte more.

What tiles at the right and lower edge hold beyond the picture (whole tiles are coded, the viewer cuts them) must be
one colour or repeat the picture's edge.
Source: TIFF 6.0 sections 9, 13, 14, 15; Technical Note 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cytoline.deid.accounting import jpeg, jpeg2000
from cytoline.deid.accounting.inflate import inflated
from cytoline.deid.accounting.jpeg_tables import Tables
from cytoline.deid.accounting.source import DamagedError, Source, SurplusError, cut
from cytoline.deid.accounting.tiff_packing import unpack_bits, unpack_lzw
from cytoline.deid.finding import Finding

_PLAIN, _LZW, _JPEG, _DEFLATE, _PACKBITS, _OLD_DEFLATE = 1, 5, 7, 8, 32773, 32946
_JPEG2000 = frozenset({33003, 33004, 33005, 34712})
_YCBCR = 6
MAX_TILE = 1 << 28
"""Bytes of one tile or strip, packed or unpacked; larger ones are unsupported."""


class Tile(NamedTuple):
    """Where it lies in the file, its size in pixels, and how much of that lies inside the picture."""

    start: int
    size: int
    width: int
    height: int
    inside: tuple[int, int]


@dataclass(frozen=True)
class Coding:
    """How the page's pixels are stored."""

    compression: int
    photometric: int
    bits: int
    samples: int
    """In one tile: 1 where each colour has its own plane."""
    predictor: int
    order: str
    tables: Tables | None
    raw_tables: bytes = b""
    """The field that they came in."""

    def row(self, width: int) -> int:
        """Bytes of one row."""
        return -(-width * self.samples * self.bits // 8)


def findings(content: Source, tiles: Iterator[Tile], coding: Coding, place: str, budget: jpeg.Budget) -> set[Finding]:
    """What the page's tiles hold besides its pixels."""
    found: set[Finding] = set()
    for tile in tiles:
        if tile.size > MAX_TILE or tile.height * coding.row(tile.width) > MAX_TILE:
            found.add(Finding(place, "unsupported"))
            continue
        if coding.compression == _JPEG:
            data = cut(content, tile.start, tile.size)
            size = tile.width, tile.height
            inside, raw = tile.inside, coding.raw_tables
            found.update(jpeg.findings(data, f"{place}/jpeg", budget, coding.tables, size, coding.samples, inside, raw))
        elif coding.compression in _JPEG2000:
            found.update(jpeg2000.findings(cut(content, tile.start, tile.size), f"{place}/jpeg2000"))
        else:
            found |= _unpacked(content, tile, coding, place)
    return found


def _unpacked(content: Source, tile: Tile, coding: Coding, place: str) -> set[Finding]:
    size = tile.height * coding.row(tile.width)
    at_edge = tile.inside != (tile.width, tile.height)
    if tile.width * coding.samples * coding.bits % 8 or (coding.photometric == _YCBCR and coding.samples > 1):
        return {Finding(place, "unsupported")}
    try:
        if coding.compression == _PLAIN:
            if tile.size != size:
                return {Finding(place, "unused" if tile.size > size else "damaged")}
            pixels = iter((cut(content, tile.start, tile.size),) if at_edge else ())
        elif coding.compression in (_DEFLATE, _OLD_DEFLATE):
            pixels = inflated((cut(content, tile.start, tile.size),), size)
        elif coding.compression in (_LZW, _PACKBITS):
            unpack = unpack_lzw if coding.compression == _LZW else unpack_bits
            pixels = iter((unpack(cut(content, tile.start, tile.size), size),))
        else:
            return {Finding(place, "unsupported")}
        if at_edge:
            return _judge_edge(b"".join(pixels), tile, coding, place)
        for _ in pixels:
            pass
    except SurplusError:
        return {Finding(place, "unused")}
    except DamagedError:
        return {Finding(place, "damaged")}
    return set()


def _judge_edge(pixels: bytes, tile: Tile, coding: Coding, place: str) -> set[Finding]:
    """Pixels beyond the picture."""
    if coding.bits not in (8, 16, 32, 64) or coding.predictor > 2:
        return {Finding(place, "unsupported")}
    raw = np.frombuffer(pixels, f"{coding.order}u{coding.bits // 8}")
    grid: NDArray[np.unsignedinteger] = raw.reshape(tile.height, tile.width, coding.samples).astype(
        f"u{coding.bits // 8}"
    )
    if coding.predictor == 2:
        grid = np.cumsum(grid, axis=1, dtype=grid.dtype)
    if _is_uniform(grid, tile.inside) or _repeats_edge(grid, tile.inside):
        return set()
    return {Finding(f"{place}/edge", "unused")}


def _is_uniform(grid: NDArray[np.unsignedinteger], inside: tuple[int, int]) -> bool:
    across, down = inside
    right, below = grid[:down, across:].reshape(-1, grid.shape[2]), grid[down:].reshape(-1, grid.shape[2])
    first = (right if len(right) else below)[0]
    return bool((right == first).all() and (below == first).all())


def _repeats_edge(grid: NDArray[np.unsignedinteger], inside: tuple[int, int]) -> bool:
    across, down = inside
    same_right = (grid[:down, across:] == grid[:down, across - 1 : across]).all()
    return bool(same_right and (grid[down:] == grid[down - 1]).all())
