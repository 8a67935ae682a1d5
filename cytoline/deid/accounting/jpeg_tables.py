"""The quantiser and Huffman tables of a JPEG, and which of their entries the coded pixels make use of.

A table is a place to hide: a decoder reads 64 steps and up to 256 symbols and never asks what for.  So what no
block needs must stand in a table of the standard's Annex K, where it cannot say anything, or be one and the same step.
Source: ITU-T T.81 B.2.4, C.2, Annex K.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from cytoline.deid.accounting.source import DamagedError

Words = NDArray[np.uint16]
DC, AC = 0, 1
STEPS = 64

_LUMINANCE = bytes.fromhex(
    "100b0c0e0c0a100e0d0e1211101318281a181616183123251d283a333d3c3933383740485c4e404457453738506d51575f626768673e4d71"
    "797064785c656763"
)
_CHROMINANCE = bytes.fromhex("1112121815182f1a1a2f63423842" + "63" * 50)
"""Tables K.1 and K.2 in zigzag order."""

_DC_COUNTS = ("00010501010101010100000000000000", "00030101010101010101010000000000")
_DC_SYMBOLS = "000102030405060708090a0b"
_AC_LUMINANCE = (
    "0002010303020403050504040000017d01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a16"
    "1718191a25262728292a3435363738393a434445464748494a535455565758595a636465666768696a737475767778797a83848586878889"
    "8a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9ea"
    "f1f2f3f4f5f6f7f8f9fa"
)
_AC_CHROMINANCE = (
    "00020102040403040705040400010277000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a162434"
    "e125f11718191a262728292a35363738393a434445464748494a535455565758595a636465666768696a737475767778797a828384858687"
    "88898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9"
    "eaf2f3f4f5f6f7f8f9fa"
)
_STANDARD_CODES = {
    DC: {bytes.fromhex(counts + _DC_SYMBOLS) for counts in _DC_COUNTS},
    AC: {bytes.fromhex(_AC_LUMINANCE), bytes.fromhex(_AC_CHROMINANCE)},
}
"""Tables K.3 to K.6: 16 counts, then the symbols."""


@dataclass
class Quantiser:
    """64 steps in zigzag order, and the coefficients that some block coded with them."""

    steps: tuple[int, ...]
    coded: set[int] = field(default_factory=set)
    used: bool = False

    def is_explained(self) -> bool:
        """Whether no step is free to say anything."""
        idle = {step for k, step in enumerate(self.steps) if k not in self.coded}
        return self.used and (len(idle) <= 1 or self.steps in _scaled())


@dataclass
class Huffman:
    """One code, and the symbols that some block was coded with."""

    kind: int
    body: bytes
    """16 counts, then the symbols."""
    symbols: set[int] = field(default_factory=set)
    used: bool = False

    @property
    def codes(self) -> Words:
        """See ``expand``."""
        return expand(self.body)

    def is_explained(self) -> bool:
        """Whether each symbol is needed, or the table is one of the standard's own."""
        if not self.used:
            return False
        return self.body in _STANDARD_CODES[self.kind] or set(self.body[16:]) == self.symbols

    def has_doubles(self) -> bool:
        """Two codes for one symbol: the choice between them can spell something."""
        return len(set(self.body[16:])) != len(self.body) - 16


class Tables:
    """The tables in force, with those of the enclosing TIFF page behind them."""

    def __init__(self, behind: Tables | None = None) -> None:
        self._behind = behind
        self._quantisers: dict[int, Quantiser] = {}
        self._codes: dict[tuple[int, int], Huffman] = {}
        self.unexplained: set[str] = set()
        """``DQT`` and ``DHT`` where an entry serves nobody."""

    def quantiser(self, slot: int) -> Quantiser:
        """Raises ``DamagedError`` where none was defined."""
        found = self._quantisers.get(slot)
        if found is None:
            if self._behind is None:
                raise DamagedError
            found = self._behind.quantiser(slot)
        found.used = True
        return found

    def code(self, kind: int, slot: int) -> Huffman:
        """Raises ``DamagedError`` where none was defined."""
        found = self._codes.get((kind, slot))
        if found is None:
            if self._behind is None:
                raise DamagedError
            found = self._behind.code(kind, slot)
        found.used = True
        return found

    def define_quantisers(self, body: bytes) -> None:
        """A DQT body.  Raises ``DamagedError`` if it is not made of whole tables."""
        for slot, table in _quantisers(body):
            self._retire("DQT", self._quantisers.get(slot))
            self._quantisers[slot] = table

    def define_codes(self, body: bytes) -> None:
        """A DHT body.  Raises ``DamagedError`` if it is not made of whole tables."""
        for kind, slot, table in _codes(body):
            self._retire("DHT", self._codes.get((kind, slot)))
            self._codes[kind, slot] = table
            if table.has_doubles():
                self.unexplained.add("DHT")

    def close(self) -> None:
        """No block follows: what was not needed by now never is."""
        for table in self._quantisers.values():
            self._retire("DQT", table)
        for code in self._codes.values():
            self._retire("DHT", code)

    def _retire(self, name: str, table: Quantiser | Huffman | None) -> None:
        if table is not None and not table.is_explained():
            self.unexplained.add(name)


def _quantisers(body: bytes) -> Iterator[tuple[int, Quantiser]]:
    at = 0
    while at < len(body):
        deep, slot = body[at] >> 4, body[at] & 15
        size = STEPS * (1 + deep)
        values = body[at + 1 : at + 1 + size]
        if deep > 1 or slot > 3 or len(values) != size:
            raise DamagedError
        steps = tuple(np.frombuffer(values, ">u2" if deep else "u1").tolist())
        if 0 in steps:
            raise DamagedError
        yield slot, Quantiser(steps)
        at += 1 + size


def _codes(body: bytes) -> Iterator[tuple[int, int, Huffman]]:
    at = 0
    while at < len(body):
        kind, slot, counts = body[at] >> 4, body[at] & 15, body[at + 1 : at + 17]
        end = at + 17 + sum(counts)
        if kind > 1 or slot > 3 or end > len(body) or sum(counts) > 256:
            raise DamagedError
        table = body[at + 1 : end]
        expand(table)
        yield kind, slot, Huffman(kind, table)
        at = end


@lru_cache(maxsize=256)
def expand(table: bytes) -> Words:
    """For each 16 bits that may come next: symbol << 8 | length of its code, 0 where no code begins so.

    Raises ``DamagedError`` where there are more codes of a length than fit.
    """
    found = np.zeros(1 << 16, np.uint16)
    start, symbol = 0, 16
    for length, count in enumerate(table[:16], 1):
        for _ in range(count):
            width = 1 << (16 - length)
            if start + width > 1 << 16:
                raise DamagedError
            found[start : start + width] = table[symbol] << 8 | length
            start, symbol = start + width, symbol + 1
    found.flags.writeable = False
    return found


@cache
def _scaled() -> frozenset[tuple[int, ...]]:
    """The standard's steps as the Independent JPEG Group's library scales them by quality, 1 to 100."""
    tables: set[tuple[int, ...]] = set()
    for quality in range(1, 101):
        scale = 5000 // quality if quality < 50 else 200 - 2 * quality
        for base in (_LUMINANCE, _CHROMINANCE):
            steps = [max((step * scale + 50) // 100, 1) for step in base]
            tables.update(tuple(min(step, most) for step in steps) for most in (255, 32767))
    return frozenset(tables)
