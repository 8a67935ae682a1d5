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
    for at in _raw_starts(len(content)):
        plain = _inflate(content, at, _RAW, INFLATED_MOST)
        if len(plain) >= _RAW_LEAST:
            yield plain


def _raw_starts(size: int) -> Iterator[int]:
    if size <= 2 * _RAW_ENDS:
        yield from range(size)
    else:
        yield from range(_RAW_ENDS)
        yield from range(size - _RAW_ENDS, size)


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
