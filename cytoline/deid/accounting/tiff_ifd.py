"""Reads the directories (IFDs) of a TIFF: entries with their types and where their values lie.

Source: TIFF 6.0 section 2; BigTIFF (Adobe's proposal as libtiff implements it).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cytoline.deid.accounting.coverage import Coverage
from cytoline.deid.accounting.source import DamagedError, Source, cut

SIGNATURES = {b"II*\0": ("<", False), b"MM\0*": (">", False), b"II+\0": ("<", True), b"MM\0+": (">", True)}
"""Byte order, and whether offsets have 64 bits."""

SHORT, LONG, RATIONAL, UNDEFINED, IFD, LONG8, IFD8 = 3, 4, 5, 7, 13, 16, 18
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_NUMBERS = {1: "u1", 3: "u2", 4: "u4", 5: "u4", 7: "u1", 13: "u4", 16: "u8", 18: "u8"}

MAX_ENTRIES = 4096
"""In one directory; there are some hundred tags."""
MAX_DIRECTORIES = 1024
"""In one file; slides have some ten levels."""

Numbers = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Entry:
    """One field of a directory."""

    tag: int
    kind: int
    count: int
    start: int
    """Of the value, in the file."""
    size: int
    """Of the value, in bytes; 0 for a type that nobody knows."""
    rest: bytes
    """What lies in the entry behind a value that is shorter than the room for it."""


@dataclass
class Reader:
    """A TIFF's bytes, and which of them were asked for."""

    content: Source
    coverage: Coverage
    order: str = "<"
    big: bool = False
    _read: int = 0
    _seen: set[int] = field(default_factory=set)

    def first(self) -> int:
        """Check the header; the offset of the first directory."""
        self.order, self.big = SIGNATURES[cut(self.content, 0, 4)]
        self.coverage.add(0, 16 if self.big else 8)
        if not self.big:
            return self._number(4, "I")
        if (self._number(4, "H"), self._number(6, "H")) != (8, 0):
            raise DamagedError
        return self._number(8, "Q")

    def directory(self, at: int) -> tuple[list[Entry], int]:
        """Its entries and the offset of the next one, 0 if there is none.

        Raises ``DamagedError`` for offsets outside the file, for more directories than any slide has, and when one
        comes up twice or all together are larger than the file: then they overlap, and following them might not end.
        """
        count = self._number(at, "Q" if self.big else "H")
        if count > MAX_ENTRIES:
            raise DamagedError
        head, each, word = (8, 20, 8) if self.big else (2, 12, 4)
        size = head + each * count + word
        self._claim(at, size)
        if at in self._seen or len(self._seen) >= MAX_DIRECTORIES:
            raise DamagedError
        self._seen.add(at)
        entries = [self._entry(at + head + each * index) for index in range(count)]
        return entries, self._number(at + size - word, "Q" if self.big else "I")

    def numbers(self, entry: Entry) -> Numbers:
        """The values (numerator and denominator of rationals in turn).  Raises ``DamagedError`` for other types."""
        kind = _NUMBERS.get(entry.kind)
        if kind is None:
            raise DamagedError
        return np.frombuffer(cut(self.content, entry.start, entry.size), self.order + kind).astype(np.uint64)

    def _entry(self, at: int) -> Entry:
        word = 8 if self.big else 4
        tag, kind = self._number(at, "H"), self._number(at + 2, "H")
        count = self._number(at + 4, "Q" if self.big else "I")
        size = _SIZES.get(kind, 0) * count
        inline = at + 4 + word
        if size <= word:
            return Entry(tag, kind, count, inline, size, cut(self.content, inline + size, word - size))
        start = self._number(inline, "Q" if self.big else "I")
        self._claim(start, size)
        return Entry(tag, kind, count, start, size, b"")

    def _claim(self, start: int, size: int) -> None:
        self._read += size
        if start < 0 or start + size > len(self.content) or self._read > len(self.content):
            raise DamagedError
        self.coverage.add(start, size)

    def _number(self, at: int, code: str) -> int:
        value: int = struct.unpack(self.order + code, cut(self.content, at, struct.calcsize("<" + code)))[0]
        return value
