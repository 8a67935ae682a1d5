"""Accounts for every byte of a BMP: headers with nothing reserved or profile-like, palette in use, rows, no padding.

Numbers are bounded so that no four letters or digits can be written as one of them.
Source: Microsoft, "Bitmap Storage" and BITMAPV5HEADER.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from operator import or_

import numpy as np
from numpy.typing import NDArray

from cytoline.deid.accounting.numbers import is_short
from cytoline.deid.accounting.source import DamagedError, Source, cut
from cytoline.deid.finding import Finding, Why

_CORE, _INFO, _V2, _V3, _V4, _V5 = 12, 40, 52, 56, 108, 124
_RGB, _BITFIELDS = 0, 3
_MAX_PIXELS_PER_METRE = 10**8
_SPACES = (b"\0\0\0\0", b"BGRs", b" niW")
"""Calibrated (its numbers must all be 0), sRGB, Windows' own."""
_INTENTS = (0, 1, 2, 4, 8)
_PIECE = 1 << 22


def findings(content: Source) -> list[Finding]:
    """What a BMP holds besides pixels."""
    walker = _Walker(content)
    try:
        walker.walk()
    except DamagedError:
        walker.add("structure", "damaged")
    return sorted(walker.found)


@dataclass
class _Walker:
    content: Source
    found: set[Finding] = field(default_factory=set)
    width: int = 0
    height: int = 0
    bits: int = 24
    masks: tuple[int, ...] = ()
    """Of the colours in 16 and 32-bit pixels."""

    def add(self, part: str, why: Why) -> None:
        self.found.add(Finding(f"bmp:{part}", why))

    def walk(self) -> None:
        head = cut(self.content, 0, 18)
        size = int.from_bytes(head[14:18], "little")
        if size not in (_CORE, _INFO, _V2, _V3, _V4, _V5):
            raise DamagedError
        if any(head[6:10]):
            self.add("reserved", "unused")
        header = cut(self.content, 14, size)
        end = 14 + size
        colours = self._core(header) if size == _CORE else self._info(header)
        if size == _INFO and header[16] == _BITFIELDS:
            self.masks = _words(cut(self.content, end, 12))
            end += 12
        self._check_masks()
        entry = 3 if size == _CORE else 4
        palette = cut(self.content, end, entry * colours)
        end += len(palette)
        if entry == 4 and any(palette[3::4]):
            self.add("palette", "unused")
        if len({palette[at : at + 3] for at in range(0, len(palette), entry)}) != colours:
            self.add("palette", "value")  # a picture drawn in two entries of one colour
        first = int.from_bytes(head[10:14], "little")
        if first < end:
            raise DamagedError
        if first > end:
            self.add("gap", "unused")
        self._pixels(first, colours, int.from_bytes(head[2:6], "little"))

    def _core(self, header: bytes) -> int:
        self.width, self.height = int.from_bytes(header[4:6], "little"), int.from_bytes(header[6:8], "little")
        self.bits = int.from_bytes(header[10:12], "little")
        if header[8:10] != b"\1\0" or self.bits not in (1, 4, 8, 24):
            raise DamagedError
        return 1 << self.bits if self.bits <= 8 else 0

    def _info(self, header: bytes) -> int:
        """Read and check a header of 40 bytes or more; the number of palette entries."""
        self.width = int.from_bytes(header[4:8], "little", signed=True)
        self.height = abs(int.from_bytes(header[8:12], "little", signed=True))
        self.bits = int.from_bytes(header[14:16], "little")
        coding, size, across, down, colours, important = _words(header[16:40])
        if header[12:14] != b"\1\0" or self.bits not in (1, 4, 8, 16, 24, 32):
            raise DamagedError
        if coding not in (_RGB, _BITFIELDS) or (coding == _BITFIELDS and self.bits not in (16, 32)):
            self.add("pixels", "unsupported")
            raise DamagedError
        if size not in (0, self._row() * self.height):
            self.add("header", "value")
        if (
            across != down
            or across > _MAX_PIXELS_PER_METRE
            or not is_short(across)
            or important > colours
            or (self.bits > 8 and colours)
        ):
            self.add("header", "value")
        if self.bits <= 8 and colours > 1 << self.bits:
            raise DamagedError
        if len(header) > _INFO:
            self._longer(header, coding)
        if self.bits > 8:
            return 0
        return colours or 1 << self.bits

    def _longer(self, header: bytes, coding: int) -> None:
        """Masks, colour space and profile of the versions 2 to 5."""
        masks = _words(header[40 : min(len(header), _V3)])
        if coding == _BITFIELDS:
            self.masks = masks
        elif any(masks):
            self.add("header", "unused")
        if len(header) >= _V4 and (header[56:60] not in _SPACES or any(header[60:_V4])):
            self.add("profile", "metadata")
        if len(header) == _V5:
            intent, *rest = _words(header[_V4:])
            if intent not in _INTENTS or any(rest):
                self.add("profile", "metadata")

    def _check_masks(self) -> None:
        """Runs of ones that do not overlap, inside the pixel."""
        if self.bits in (16, 32) and not self.masks:
            self.masks = (0x7C00, 0x3E0, 0x1F) if self.bits == 16 else (0xFF0000, 0xFF00, 0xFF)
        taken = 0
        for mask in self.masks:
            run = mask // (mask & -mask) if mask else 0
            if mask & taken or mask >> self.bits or run & (run + 1):
                raise DamagedError
            taken |= mask

    def _row(self) -> int:
        """Bytes, always a multiple of four."""
        return -(-self.width * self.bits // 32) * 4

    def _pixels(self, first: int, colours: int, claimed: int) -> None:
        if self.width <= 0 or self.height <= 0:
            raise DamagedError
        row = self._row()
        end = first + row * self.height
        if end > len(self.content):
            raise DamagedError
        if end < len(self.content):
            self.add("end", "trailing")
        if claimed != end:
            self.add("header", "value")
        used: set[int] = set()
        idle: set[int] = set()
        for rows in self._pieces(first, row):
            self._check_padding(rows)
            if self.bits in (16, 32):
                spare = ~reduce(or_, self.masks) & ((1 << self.bits) - 1)
                pixels = rows[:, : self.width * self.bits // 8].copy().view(f"<u{self.bits // 8}")
                idle.update(np.unique(pixels & spare).tolist()[:3])
            elif self.bits <= 8:
                used.update(self._indices(rows))
        if len(idle) > 1 or (self.bits == 16 and idle - {0}) or (idle and idle - {0, 0xFF000000}):
            self.add("pixels", "unused")
        if used and max(used) >= colours:
            self.add("pixels", "value")
        if len(used) < colours:
            self.add("palette", "unused")

    def _pieces(self, first: int, row: int) -> Iterator[NDArray[np.uint8]]:
        rows = max(_PIECE // row, 1)
        for at in range(0, self.height, rows):
            here = min(rows, self.height - at)
            yield np.frombuffer(cut(self.content, first + at * row, here * row), np.uint8).reshape(here, row)

    def _check_padding(self, rows: NDArray[np.uint8]) -> None:
        taken = -(-self.width * self.bits // 8)
        spare = taken * 8 - self.width * self.bits
        if rows[:, taken:].any() or (spare and (rows[:, taken - 1] & ((1 << spare) - 1)).any()):
            self.add("padding", "unused")

    def _indices(self, rows: NDArray[np.uint8]) -> set[int]:
        """Palette entries that occur; several share a byte below 8 bits, the first one in its high bits."""
        used: set[int] = set()
        each = 8 // self.bits
        for place in range(min(each, self.width)):
            count = -(-(self.width - place) // each)
            shifted = rows[:, :count] >> (8 - self.bits * (place + 1))
            used.update(np.unique(shifted & ((1 << self.bits) - 1)).tolist())
        return used


def _words(body: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(body[at : at + 4], "little") for at in range(0, len(body), 4))
