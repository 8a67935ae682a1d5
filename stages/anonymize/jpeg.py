"""A JPEG rewritten segment by segment: the coded pixels stay as they are, all that can carry words goes.

Also the check of the result, which shares no code with the rewrite beyond the marker numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

SOI, EOI, SOS, DQT, DHT, DRI, APP14 = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD, 0xEE
FRAMES = frozenset({0xC0, 0xC1, 0xC2})
"""Baseline, extended and progressive: what decoders agree about."""
TABLES = frozenset({DQT, DHT, DRI})
ADOBE_BYTES = 12
"""APP14 holds two version and flag words and the colour transform; longer ones could carry more."""


_IN_SCAN = re.compile(rb"(?:[^\xff]+|\xff[\x00\xd0-\xd7])*+", re.DOTALL)
"""Entropy-coded bytes: no marker but stuffed bytes and restarts."""


class OddJpegError(Exception):
    """Not a plain JPEG: decode it and write the pixels as PNG instead."""


def rewrite(source: bytes) -> bytes:
    """Only SOI, frame, tables, scans, Adobe's colour flag and EOI.  Raises ``OddJpegError`` for anything unusual."""
    out = bytearray(b"\xff\xd8")
    components = 0
    for marker, body, scan in _segments(source):
        if marker in FRAMES:
            if components or len(body) < 6 or body[5] not in (1, 3) or len(body) != 6 + 3 * body[5]:
                raise OddJpegError("frame")
            components = body[5]
        elif marker == APP14:
            if len(body) < ADOBE_BYTES or not body.startswith(b"Adobe"):
                continue
            # Version and both flag words say nothing about colour: zero, so that they say nothing at all.
            body = b"Adobe\0\x64" + bytes(4) + body[11:12]
        elif marker not in TABLES and marker != SOS:
            if _is_frame(marker):
                raise OddJpegError("coding")
            continue
        out += bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body + scan
    if not components:
        raise OddJpegError("no frame")
    return bytes(out + b"\xff\xd9")


def verify(content: bytes) -> str | None:
    """Account for every byte of a rewritten file; None if all is well, else what is wrong."""
    if content[:2] != b"\xff\xd8":
        return "no start"
    at, scans = 2, 0
    while at + 4 <= len(content):
        if content[at] != 0xFF:
            return "bytes between segments"
        marker, size = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        if marker not in FRAMES | TABLES | {SOS, APP14} or size < 2:
            return "a segment that is not on the list"
        if marker == APP14 and (size != ADOBE_BYTES + 2 or content[at + 4 : at + 15] != b"Adobe\0\x64\0\0\0\0"):
            return "an Adobe segment with more in it"
        at += 2 + size
        if marker == SOS:
            scans += 1
            ended = _IN_SCAN.match(content, at)
            at = ended.end() if ended else at
    if content[at:] != b"\xff\xd9" or not scans:
        return "no plain end"
    return None


def _segments(source: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(marker, body, entropy-coded bytes after it) up to the first EOI; whatever follows is left behind."""
    if source[:2] != b"\xff\xd8":
        raise OddJpegError("no start")
    at = 2
    while True:
        while source[at : at + 2] == b"\xff\xff":
            at += 1  # fill bytes
        head = source[at : at + 4]
        if head[:2] == b"\xff\xd9":
            return
        size = int.from_bytes(head[2:4], "big")
        if len(head) < 4 or head[0] != 0xFF or head[1] < 0xC0 or 0xD0 <= head[1] <= 0xD8 or size < 2:
            raise OddJpegError("structure")
        body = source[at + 4 : at + 2 + size]
        if len(body) != size - 2:
            raise OddJpegError("cut short")
        at += 2 + size
        scan = b""
        if head[1] == SOS:
            end = _scan_end(source, at)
            scan, at = source[at:end], end
        yield head[1], body, scan


def _scan_end(source: bytes, at: int) -> int:
    """Where the next marker that is neither a stuffed byte nor a restart begins."""
    while True:
        at = source.find(b"\xff", at)
        if at < 0 or at + 1 >= len(source):
            raise OddJpegError("cut short")
        following = source[at + 1]
        if following == 0xFF:
            raise OddJpegError("fill bytes inside a scan")
        if following != 0 and not 0xD0 <= following <= 0xD7:
            return at
        at += 2


def _is_frame(marker: int) -> bool:
    return 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)
