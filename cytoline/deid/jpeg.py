"""A JPEG rewritten segment by segment: the coded pixels stay as they are, all that can carry words goes.

Also the check of the result, which shares no code with the rewrite beyond the marker numbers, and a test that
asks the decoder whether a scan holds more than it reads: a decoder stops after the last block, and words may follow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import simplejpeg

from cytoline.images import RGB

SOI, EOI, SOS, DQT, DHT, DRI, APP14 = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD, 0xEE
FRAMES = frozenset({0xC0, 0xC1, 0xC2})
"""Baseline, extended and progressive: what decoders agree about."""
TABLES = frozenset({DQT, DHT, DRI})
ADOBE_BYTES = 12
"""APP14 holds two version and flag words and the colour transform; longer ones could carry more."""

MAX_SCANS = 32
"""Each costs a decoding; usual progressive files have 6 to 10."""
BLEED = 2
"""Pixels by which smooth chroma carries a change into the neighbours."""
_FLIPS = (0xFF, 0x80, 0xC0, 0xE0, 0xF0, 0x40, 0xA0, 0x20)
"""Changes to a last byte, tried in turn: one alone can drown in rounding."""
_RAN_DRY = "Corrupt JPEG data: premature end of data segment"
"""What libjpeg says when it wants more bits and meets a marker."""
_TEXT, _LETTERS = 24, 10
"""Printable bytes in a row, and different ones among them: a name and a date have more.

Bytes without order hold so many once in some 22 GB; plain ground is coded as few bytes over and over.
"""
_PRINTABLE = bytes(0x41 if 0x20 <= byte <= 0x7E else 0 for byte in range(256))
_LINE = re.compile(rb"[\x20-\x7e]{%d,}" % _TEXT)

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]", re.DOTALL)
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
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


def reads_as_text(coded: bytes) -> bool:
    """Whether coded pixels hold a line of ASCII: whole blocks can happen to, or be made to, spell one."""
    if b"A" * _TEXT not in coded.translate(_PRINTABLE):  # ten times as fast as the pattern
        return False
    return any(
        len(set(line[at : at + _TEXT])) >= _LETTERS
        for line in _LINE.findall(coded)
        for at in range(len(line) - _TEXT + 1)
    )


def may_hide_words(content: bytes, decode: Callable[[bytes], RGB]) -> bool:
    """False if libjpeg needs the last byte of every coded stretch of a verified file, and none reads as text.

    A decoder reads a stretch (a scan, or what lies between two restarts) in one go, so if it needs the last byte, it
    needs all before.  A scan without its last byte must make it run out of data.  Between restarts it may overlook
    that, so there a changed last byte must show in the picture that ``decode`` makes.  True where neither can be
    shown.  Raises what ``decode`` raises.
    """
    try:
        layout = _layout(content)
    except OddJpegError:
        return True
    if layout.has_restarts:
        rgb = decode(content)
        probes = layout.probes(rgb.shape[1], rgb.shape[0])
        return not all(_is_read(content, rgb, probe, decode) for probe in probes)
    ends = [end for (end,) in layout.scans]
    if len(ends) > 1 and _complaint(content) is not None:
        return True  # it could run dry elsewhere than where a byte is missing
    return not all(_complaint(_without_byte(content, end)) == _RAN_DRY for end in ends)


def _complaint(content: bytes) -> str | None:
    """The first warning or error of libjpeg.  It decodes at an eighth of the size: that takes all coded bits, too."""
    try:
        simplejpeg.decode_jpeg(content, "GRAY", min_height=1, min_width=1, strict=True)
    except ValueError as error:
        return str(error)
    return None


def _without_byte(content: bytes, end: int) -> bytes:
    """One byte less before ``end``; a stuffed one goes with its zero."""
    return content[: end - (2 if content[end - 2 : end] == b"\xff\x00" else 1)] + content[end:]


Rect = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels."""


@dataclass
class _Layout:
    """Where the coded stretches end, and how large the units (MCUs) are."""

    unit: tuple[int, int] = (0, 0)
    restart: int = 0
    scans: list[list[int]] = field(default_factory=list)
    """For each scan the ends of its stretches."""

    @property
    def has_restarts(self) -> bool:
        return any(len(ends) > 1 for ends in self.scans)

    def probes(self, width: int, height: int) -> list[dict[int, Rect]]:
        """Ends that can be tried in one decoding, each with the last unit before it, in which it must show.

        Units that touch each other are not tried together.
        """
        across, down = -(-width // self.unit[0]), -(-height // self.unit[1])
        if len(self.scans[0]) != -(-across * down // self.restart):
            raise OddJpegError("more or fewer restarts than blocks")
        groups: dict[tuple[int, int], dict[int, Rect]] = {}
        for index, end in enumerate(self.scans[0]):
            y, x = divmod(min((index + 1) * self.restart, across * down) - 1, across)
            left, top = x * self.unit[0], y * self.unit[1]
            place = (left, top, min(left + self.unit[0], width), min(top + self.unit[1], height))
            groups.setdefault((x % 2, y % 2), {})[end] = place
        return list(groups.values())


def _layout(content: bytes) -> _Layout:
    layout, at = _Layout(), 2
    frame = parts = 0
    drawn: set[int] = set()
    while content[at + 1] != EOI:
        marker, size = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        body = content[at + 4 : at + 2 + size]
        at += 2 + size
        if marker in FRAMES:
            frame, parts = marker, body[5]
            factors = [(item >> 4, item & 15) for item in body[7::3]] if parts > 1 else [(1, 1)]
            layout.unit = (8 * max(x for x, _ in factors), 8 * max(y for _, y in factors))
        elif marker == DRI:
            layout.restart = int.from_bytes(body, "big")
        elif marker == SOS:
            end = _scan_end(content, at)
            own = set(body[1:-3:2])
            if frame != 0xC2 and own & drawn:
                raise OddJpegError("a scan that another one covers")
            drawn |= own
            if reads_as_text(content[at:end]):
                raise OddJpegError("coded pixels that read as text")
            ends = [found.start() for found in _RESTART.finditer(content, at, end)]
            if any(content[stop + 1] != 0xD0 + index % 8 for index, stop in enumerate(ends)):
                raise OddJpegError("restarts out of order")
            starts = [at, *(stop + 2 for stop in ends)]
            if any(start >= stop for start, stop in zip(starts, [*ends, end], strict=True)):
                raise OddJpegError("an empty stretch")
            if ends and (frame == 0xC2 or body[0] != parts or not all((*layout.unit, layout.restart))):
                raise OddJpegError("restarts where it is not plain which blocks lie between them")
            layout.scans.append([*ends, end])
            at = end
    if len(layout.scans) > (1 if layout.has_restarts else MAX_SCANS):
        raise OddJpegError("scans")
    return layout


def _is_read(content: bytes, rgb: RGB, probe: dict[int, Rect], decode: Callable[[bytes], RGB]) -> bool:
    """Whether each of the ends shows in its own place, and all of them nowhere else."""
    missing = dict(probe)
    for flip in _FLIPS:
        changed = decode(_flipped(content, list(missing), flip)) != rgb
        differs = reduce(np.bitwise_or, np.moveaxis(changed, 2, 0))  # ``any`` takes eight times as long
        shown = [end for end, (x0, y0, x1, y1) in missing.items() if differs[y0:y1, x0:x1].any()]
        for x0, y0, x1, y1 in missing.values():
            differs[max(y0 - BLEED, 0) : y1 + BLEED, max(x0 - BLEED, 0) : x1 + BLEED] = False
        if not differs.any():
            for end in shown:
                del missing[end]
        if not missing:
            return True
    return False


def _flipped(content: bytes, ends: list[int], flip: int) -> bytes:
    """With other last bytes before ``ends``; no new marker comes about."""
    out, done = bytearray(), 0
    for end in sorted(ends):
        stuffed = content[end - 2 : end] == b"\xff\x00"
        start = end - 2 if stuffed else end - 1
        byte = content[start] ^ flip
        out += content[done:start] + (b"\xff\x00" if byte == 0xFF else bytes((byte,)))
        done = end
    return bytes(out + content[done:])


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
    found = _MARKER.search(source, at)
    if found is None:
        raise OddJpegError("cut short")
    if found.group() == b"\xff\xff":
        raise OddJpegError("fill bytes inside a scan")
    return found.start()


def _is_frame(marker: int) -> bool:
    return 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)
