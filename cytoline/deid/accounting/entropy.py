"""Walks Huffman-coded JPEG scans symbol by symbol, without decoding a pixel, to see where the last block ends.

A decoder stops after the last block and ignores what follows, so only counting the blocks shows surplus bytes.
The walk is compiled (numba) when the first JPEG comes: some 25 MB of scan a second, where Python does 1.5.
Source: ITU-T T.81 F.1.2, F.2.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoline.deid.accounting.jpeg_tables import STEPS, Huffman, Quantiser, Words, expand
from cytoline.deid.accounting.source import DamagedError, SurplusError

CHUNK = 1 << 16
"""Bytes that ``windows`` looks at in one go."""
SLACK = 1 << 12
"""Bytes behind a chunk: more than a unit of ten blocks can take (10 x 64 symbols of 31 bits)."""
MAX_BLOCKS_IN_UNIT = 10

_DONE, _DAMAGED, _SURPLUS = 0, 1, 2


@dataclass(frozen=True)
class Part:
    """What one component's blocks are coded with, and how many there are in a unit (MCU)."""

    dc: Huffman
    ac: Huffman
    quantiser: Quantiser
    blocks: int


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


def walk_sequential(data: bytes, stretches: list[tuple[int, int]], parts: list[Part], precision: int) -> None:
    """Walk a scan, stuffed zeros and restart markers taken out; note which symbols and coefficients were there.

    ``stretches`` gives for what lies between two restarts the byte where it ends and the units that it must hold.
    Raises ``DamagedError`` if it holds fewer or no valid codes, ``SurplusError`` if more is there than they need.
    """
    codes = list({id(code): code for part in parts for code in (part.dc, part.ac)}.values())
    places = {id(code): place for place, code in enumerate(codes)}
    blocks = np.array(
        [
            (places[id(part.dc)], places[id(part.ac)], number)
            for number, part in enumerate(parts)
            for _ in range(part.blocks)
        ]
    )
    symbols = np.zeros((len(codes), 256), np.bool_)
    coded = np.zeros((len(parts), STEPS), np.bool_)
    octets = np.frombuffer(data + b"\xff" * (SLACK + 2), np.uint8)
    tables = _stacked(tuple(code.body for code in codes))
    walk, bit = _compiled(), 0
    for end, units in stretches:
        ended, bit = walk(octets, bit, end * 8, units, blocks, tables, precision, symbols, coded)
        if ended == _SURPLUS:
            raise SurplusError
        if ended == _DAMAGED:
            raise DamagedError
        check_end(data, bit, end)
        bit = end * 8
    for code, seen in zip(codes, symbols, strict=True):
        code.symbols.update(np.flatnonzero(seen).tolist())
    for part, met in zip(parts, coded, strict=True):
        part.quantiser.coded.update(np.flatnonzero(met).tolist(), (0,))


@lru_cache(maxsize=8)
def _stacked(bodies: tuple[bytes, ...]) -> Words:
    """Codes x 65,536: see ``expand``."""
    return np.stack([expand(body) for body in bodies])


@cache
def _compiled() -> Callable[..., tuple[int, int]]:
    """``_walk``, kept beside the bytecode; where that cannot be read or written it is compiled in each process."""
    import numba  # half a second that only JPEG need

    nothing = (np.zeros((1, 256), np.bool_), np.zeros((1, STEPS), np.bool_))
    tables, octets = np.zeros((1, 1 << 16), np.uint16), np.frombuffer(bytes(4), np.uint8)
    walk: Any
    try:
        walk = numba.njit(cache=True)(_walk)
        walk(octets, 0, 0, 0, np.zeros((0, 3), np.int64), tables, 8, *nothing)
    except Exception:  # no place for it, a full disk, or half a file left by one: numba raises anything
        walk = numba.njit(_walk)
    return walk  # type: ignore[no-any-return]


def _walk(
    octets: NDArray[np.uint8],
    at: int,
    stop: int,
    units: int,
    blocks: NDArray[np.int64],
    tables: Words,
    precision: int,
    symbols: NDArray[np.bool_],
    coded: NDArray[np.bool_],
) -> tuple[int, int]:
    """From symbol to symbol, from bit ``at``, until ``units`` are done; how that ended, and the bit behind.

    ``blocks`` has for each block of a unit its DC code, its AC code and its part.  Values too large for ``precision``
    are damage: decoders clamp them, so that they may differ without a trace.
    """
    for _ in range(units):
        if at >= stop:
            return _DAMAGED, at
        for block in range(len(blocks)):
            dc, ac, part = blocks[block]
            wide = octets[at >> 3] << 16 | octets[(at >> 3) + 1] << 8 | octets[(at >> 3) + 2]
            code = tables[dc, wide >> 8 - (at & 7) & 0xFFFF]
            symbol = code >> 8
            if code == 0 or symbol > precision + 3:
                return _DAMAGED, at
            symbols[dc, symbol] = True
            at += (code & 0xFF) + symbol
            index = 0
            after_zeros = False
            while index < 63:
                wide = octets[at >> 3] << 16 | octets[(at >> 3) + 1] << 8 | octets[(at >> 3) + 2]
                code = tables[ac, wide >> 8 - (at & 7) & 0xFFFF]
                symbol = code >> 8
                if code == 0:
                    return _DAMAGED, at
                symbols[ac, symbol] = True
                at += code & 0xFF
                if symbol == 0:
                    if after_zeros:  # zeros spelled out before "the rest is zero": a choice that can spell
                        return _SURPLUS, at
                    break
                size = symbol & 15
                after_zeros = symbol == 0xF0
                if not after_zeros and not 0 < size <= precision + 2:
                    return _DAMAGED, at
                index += (symbol >> 4) + 1
                if index > 63 or (after_zeros and index == 63):
                    return _DAMAGED, at
                if not after_zeros:
                    coded[part, index] = True
                    at += size
    return _DONE, at
