"""Packed streams anywhere among bytes: zlib, gzip, and raw deflate where a ZIP header or the file's ends point at it.

Every place that looks like a beginning is tried: random bytes look like one now and then, and give up at once.
Raw deflate has no mark of its own, so it is tried at each byte of small contents and of both ends of large ones.
Source: RFC 1950, 1951, 1952; APPNOTE.TXT 4.3.7 (ZIP).
"""

from __future__ import annotations

import mmap
import re
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Content = bytes | mmap.mmap

LEAST = 6
"""Bytes of a stream that is worth searching."""
INFLATED_MOST = 1 << 26
"""Bytes of one stream that are searched; texts are smaller."""
ALL_MOST = 1 << 30
"""Bytes of all streams of one file."""
_RAW_ENDS = 1 << 12
_RAW_LEAST = 16
"""Bytes that a raw stream must give: random bytes inflate to a few now and then."""
_PIECE = 1 << 14
_BLOCK_HEAD = 10
"""Bytes from which it is clear whether a block of deflate may begin with them."""
_STREAM = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08|PK\x03\x04.{4}\x08\x00", re.DOTALL)
_ZIP_HEAD = 30
_ZLIB_OR_GZIP, _RAW = 47, -15


def unpacked(content: Content) -> Iterator[bytes]:
    """What each stream holds, or what could be unpacked of a damaged one."""
    left = ALL_MOST
    for found in _STREAM.finditer(content):
        at, window = found.start(), _ZLIB_OR_GZIP
        if found.group().startswith(b"PK"):
            head = content[at : at + _ZIP_HEAD]
            at += _ZIP_HEAD + int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
            window = _RAW
        plain = _inflate(content, at, window, min(INFLATED_MOST, left))
        if len(plain) >= LEAST:
            left -= len(plain)
            yield plain
        if left <= 0:
            return
    for at in _raw_starts(content):
        plain = _inflate(content, at, _RAW, INFLATED_MOST)
        if len(plain) >= _RAW_LEAST:
            yield plain


def _raw_starts(content: Content) -> Iterator[int]:
    size = len(content)
    ends = [(0, size)] if size <= 2 * _RAW_ENDS else [(0, _RAW_ENDS), (size - _RAW_ENDS, size)]
    for start, stop in ends:
        part = np.frombuffer(content[start : stop + _BLOCK_HEAD], np.uint8)
        yield from (start + np.flatnonzero(_may_begin(part, stop - start))).tolist()


def _may_begin(part: NDArray[np.uint8], count: int) -> NDArray[np.bool_]:
    """For each of the first ``count`` bytes whether a block of deflate may begin there: three quarters cannot (3.2.3).

    Not: kind 3, a stored block whose length lacks its complement, a code for code lengths that is not whole (zlib
    refuses all of them).  What the end cuts off counts as zeros; there is nothing to unpack there.
    """
    at = [np.zeros(count, np.uint64) for _ in range(_BLOCK_HEAD)]
    for number, byte in enumerate(at):
        given = part[number : number + count]
        byte[: len(given)] = given
    kind = at[0] >> np.uint64(1) & np.uint64(3)
    stored = (kind == 0) & (at[1] ^ at[3] == 255) & (at[2] ^ at[4] == 255)
    numbers = (at[0] >> np.uint64(3) <= 29) & (at[1] & np.uint64(31) <= 29)
    used = (at[1] >> np.uint64(5) | (at[2] & np.uint64(1)) << np.uint64(3)) + np.uint64(4)
    lengths = sum((byte << np.uint64(8 * place) for place, byte in enumerate(at[2:])), np.zeros(count, np.uint64))
    lengths >>= np.uint64(1)
    taken = np.zeros(count, np.uint64)
    for number in range(19):
        length = lengths >> np.uint64(3 * number) & np.uint64(7)
        taken += np.where((length > 0) & (used > number), np.uint64(128) >> length, np.uint64(0))
    return np.asarray((kind == 1) | stored | ((kind == 2) & numbers & (taken == 128)))


def _inflate(content: Content, at: int, window: int, most: int) -> bytes:
    """From ``at`` on, piece by piece: most places that look like a stream are none, and fail in the first."""
    inflater = zlib.decompressobj(window)
    out = bytearray()
    size = 64
    while at < len(content) and len(out) < most and not inflater.eof:
        piece = content[at : at + size]
        try:
            while piece and len(out) < most:
                out += inflater.decompress(piece, most - len(out))
                piece = inflater.unconsumed_tail
        except zlib.error:
            break
        at, size = at + size, _PIECE
    return bytes(out)
