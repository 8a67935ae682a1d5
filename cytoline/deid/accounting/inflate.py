"""Inflates a zlib stream piece by piece, never further than its pixels go, and sees whether anything is behind them.

Not proven: what a deflate stream can hold without a trace in its output (bits before stored blocks, codes for symbols
that never occur).  No encoder puts words there.
Source: RFC 1950, RFC 1951.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from cytoline.deid.accounting.source import DamagedError, SurplusError

_PIECE = 1 << 20
_PRESET_DICTIONARY = 0x20


def inflated(packed: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The stream's ``size`` bytes in pieces of at most a mebibyte.

    Raises ``DamagedError`` if there are fewer or the checksum is wrong; ``SurplusError`` if there are more, if packed
    bytes follow the stream's end, or if it asks for a preset dictionary.
    """
    inflater = zlib.decompressobj()
    left, head = size, b""
    for piece in packed:
        if inflater.eof and piece:
            raise SurplusError
        if len(head) < 2:
            head += piece[:2]
            if len(head) > 1 and head[1] & _PRESET_DICTIONARY:
                raise SurplusError
        while piece:
            try:
                plain = inflater.decompress(piece, min(left + 1, _PIECE))
            except zlib.error:
                raise DamagedError from None
            left -= len(plain)
            if left < 0 or inflater.unused_data:
                raise SurplusError
            yield plain
            piece = inflater.unconsumed_tail
            if not plain and not piece:
                break
    if left or not inflater.eof:
        raise DamagedError


def inflated_whole(packed: bytes, size: int) -> bytes:
    """The same in one piece; what is kept in memory is never more than what the packed bytes really hold."""
    return b"".join(inflated((packed,), size))
