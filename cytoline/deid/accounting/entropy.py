"""Walks Huffman-coded JPEG scans symbol by symbol, without decoding a pixel, to see where the last block ends.

A decoder stops after the last block and ignores what follows, so only counting the blocks shows surplus bytes.
What one 16-bit look ahead says is worked out for every bit position at once (numpy); the walk then hops from
symbol to symbol, some 5 MB of scan a second.
Source: ITU-T T.81 F.1.2, F.2.2.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from cytoline.deid.accounting.jpeg_tables import Huffman, Quantiser, Words, expand
from cytoline.deid.accounting.source import DamagedError, SurplusError

CHUNK = 1 << 16
"""Bytes that are looked at in one go."""
SLACK = 1 << 12
"""Bytes behind a chunk: more than a unit of ten blocks can take (10 x 64 symbols of 31 bits)."""
MAX_BLOCKS_IN_UNIT = 10

_EOB, _ZRL, _BAD = 1 << 10, 1 << 11, 1 << 12
_MARK_DC, _MARK_EOB, _MARK_ZRL = 100, 101, 102


@dataclass(frozen=True)
class Part:
    """What one component's blocks are coded with, and how many there are in a unit (MCU)."""

    dc: Huffman
    ac: Huffman
    quantiser: Quantiser
    blocks: int


Lane: TypeAlias = "tuple[array[int], array[int], bytearray]"
"""Steps for DC and AC symbols at each bit position, and marks of the positions where symbols were read."""


def windows(chunk: bytes) -> Words:
    """The next 16 bits at each bit position of ``chunk``, all but its last two bytes."""
    octets = np.frombuffer(chunk, np.uint8).astype(np.uint32)
    wide = octets[:-2] << 16 | octets[1:-1] << 8 | octets[2:]
    return (wide[:, None] >> np.arange(8, 0, -1, dtype=np.uint32)).astype(np.uint16).ravel()


def padded(data: bytes, start: int) -> bytes:
    """A chunk with its slack; ones follow the last byte."""
    chunk = data[start : start + CHUNK + SLACK]
    return chunk + b"\xff" * (min(CHUNK, max(len(data) - start, 0)) + SLACK + 2 - len(chunk))


def check_end(data: bytes, bit: int, end: int) -> None:
    """A stretch that ends before byte ``end`` was read up to ``bit``; ones must fill the rest of its last byte.

    Raises ``DamagedError`` if too much was read, ``SurplusError`` if too little.
    """
    left = end * 8 - bit
    if left < 0:
        raise DamagedError
    ones = (1 << left) - 1 if left < 8 else 0
    if left >= 8 or data[end - 1] & ones != ones:
        raise SurplusError


class _Reader:
    """The lanes of one chunk after the other."""

    def __init__(self, data: bytes, parts: list[Part], precision: int) -> None:
        self._data, self._parts, self._precision = data, parts, precision
        self._seen: Words | None = None
        self._lanes: list[Lane] = []
        self.order: list[Lane] = []

    def load(self, start: int) -> None:
        """Look at the bytes from ``start`` on."""
        self.note()
        seen = self._seen = windows(padded(self._data, start))
        steps = {
            (code.body, code.kind): array("H", _steps(code.body, code.kind, self._precision)[seen].tobytes())
            for part in self._parts
            for code in (part.dc, part.ac)
        }
        self._lanes = [
            (steps[part.dc.body, part.dc.kind], steps[part.ac.body, part.ac.kind], bytearray(len(seen)))
            for part in self._parts
        ]
        self.order = [lane for lane, part in zip(self._lanes, self._parts, strict=True) for _ in range(part.blocks)]

    def note(self) -> None:
        """Remember which symbols and which coefficients were there."""
        for lane, part in zip(self._lanes, self._parts if self._lanes else (), strict=True):
            assert self._seen is not None
            marked = np.frombuffer(lane[2], np.uint8)
            at = np.flatnonzero(marked)
            kinds = marked[at]
            is_dc = kinds == _MARK_DC
            part.dc.symbols.update(np.unique(part.dc.codes[self._seen[at[is_dc]]] >> 8).tolist())
            part.ac.symbols.update(np.unique(part.ac.codes[self._seen[at[~is_dc]]] >> 8).tolist())
            part.quantiser.coded.update(np.unique(kinds[kinds < 64]).tolist(), (0,))


def walk_sequential(data: bytes, stretches: list[tuple[int, int]], parts: list[Part], precision: int) -> None:
    """Walk a scan, stuffed zeros and restart markers taken out.

    ``stretches`` gives for what lies between two restarts the byte where it ends and the units that it must hold.
    Raises ``DamagedError`` if it holds fewer or no valid codes, ``SurplusError`` if more is there than they need.
    """
    reader = _Reader(data, parts, precision)
    reader.load(0)
    start = bit = 0
    for end, units in stretches:
        while units:
            if bit >= CHUNK * 8:
                start, bit = start + (bit >> 3), bit & 7
                reader.load(start)
            stop = min((end - start) * 8, CHUNK * 8)
            if bit >= stop:
                raise DamagedError
            bit, units = _hop(reader.order, bit, units, stop)
        check_end(data, start * 8 + bit, end)
        bit = (end - start) * 8
    reader.note()


def _hop(order: list[Lane], at: int, units: int, stop: int) -> tuple[int, int]:
    """From symbol to symbol until ``units`` are done or ``stop`` is reached; position and units left."""
    while units and at < stop:
        for dc, ac, marks in order:
            step = dc[at]
            if not step:
                raise DamagedError
            marks[at] = _MARK_DC
            at += step
            index = 0
            while index < 63:
                step = ac[at]
                if step < _EOB:
                    index += step >> 5
                    marks[at] = index
                    at += step & 31
                elif step < _ZRL:
                    marks[at] = _MARK_EOB
                    at += step & 31
                    break
                else:
                    index += 16
                    if step >= _BAD or index >= 63:
                        raise DamagedError
                    marks[at] = _MARK_ZRL
                    at += step & 31
                    if _EOB <= ac[at] < _ZRL:
                        raise SurplusError  # zeros spelled out before "the rest is zero": a choice that can spell
            if index > 63:
                raise DamagedError
        units -= 1
    return at, units


@lru_cache(maxsize=64)
def _steps(table: bytes, kind: int, precision: int) -> Words:
    """For each 16 bits: how far to hop.

    DC: code and value bits.  AC: that, and 32 x the coefficients moved on.  Values too large for ``precision`` are
    refused: decoders clamp them, so that they may differ without a trace.
    """
    codes = expand(table)
    length, symbol = codes & 0xFF, codes >> 8
    size, run = symbol & 15, symbol >> 4
    if kind == 0:
        return np.where((codes > 0) & (symbol <= precision + 3), length + symbol, 0).astype(np.uint16)
    found = np.where((codes > 0) & (size > 0) & (size <= precision + 2), (run + 1) << 5 | (length + size), _BAD)
    found = np.where((codes > 0) & (symbol == 0), _EOB | length, found)
    return np.where((codes > 0) & (symbol == 0xF0), _ZRL | length, found).astype(np.uint16)
