"""Account for one coded frame: which segments it has, that each is exactly as long as it must be, and how it ends.

Source: T.81 Annex B; ISO/IEC 15444-1 Annex A.  Places name the marker, never what the segment says.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from cytoline.deid.finding import Finding

Size = tuple[int, int, int]
"""Rows, columns, components."""

_JPEG_SCAN = re.compile(rb"(?:[^\xff]|\xff[\x00\xd0-\xd7])*+", re.DOTALL)
_ADOBE = re.compile(rb"Adobe\x00\x64\x00{4}[\x00-\x02]", re.DOTALL)
_J2K_NAMES = {0xFF64: "COM", 0xFF55: "TLM", 0xFF57: "PLM", 0xFF58: "PLT", 0xFF60: "PPM", 0xFF61: "PPT", 0xFF63: "CRG"}
_J2K_CODING = frozenset({0xFF52, 0xFF53, 0xFF5C, 0xFF5D, 0xFF5E, 0xFF5F})


class _Broken(Exception):  # noqa: N818 (says what it is)
    """The codestream does not hold together from here on."""


@dataclass
class _Tables:
    """Tables by class and slot: one that is defined and never asked for can hold words."""

    defined: set[tuple[str, int]] = field(default_factory=set)
    unread: set[tuple[str, int]] = field(default_factory=set)
    replaced: bool = False

    def define(self, kind: str, slot: int) -> None:
        self.replaced |= (kind, slot) in self.unread
        self.defined.add((kind, slot))
        self.unread.add((kind, slot))


def jpeg_findings(frame: bytes, size: Size) -> Iterator[Finding]:
    """Frame, tables, scans, the colour flag, EOI and at most one byte of padding."""
    tables = _Tables()
    components: dict[int, int] = {}
    try:
        at, scans = 2, 0
        if frame[:2] != b"\xff\xd8":
            raise _Broken
        while frame[at : at + 2] != b"\xff\xd9":
            marker, body, at = _jpeg_segment(frame, at)
            if name := _unlisted(marker, body):
                yield Finding(f"dicom:frame/jpeg:{name}", "metadata")
            elif marker in (0xC0, 0xC1, 0xC2):
                components = _frame_header(body, size, bool(components))
            elif marker == 0xDA:
                scans += 1
                _scan_header(body, components, tables)
                ended = _JPEG_SCAN.match(frame, at)
                at = ended.end() if ended else at
            elif not _is_exact(marker, body, tables):
                yield Finding(f"dicom:frame/jpeg:{_jpeg_name(marker)}", "unused")
        if not scans:
            raise _Broken
        if frame[at + 2 :] not in (b"", b"\0"):
            yield Finding("dicom:frame/jpeg:trailing", "trailing")
        if tables.replaced or tables.unread:
            yield Finding("dicom:frame/jpeg:tables", "unused")
    except (_Broken, IndexError):
        yield Finding("dicom:frame/jpeg:structure", "damaged")


def j2k_findings(frame: bytes, size: Size) -> Iterator[Finding]:
    """SIZ, coding and quantisation, tile parts, EOC and at most one byte of padding."""
    try:
        if frame[:4] != b"\xff\x4f\xff\x51":
            raise _Broken
        yield from _siz(frame, size)
        at = 4 + _word(frame, 4)
        at = yield from _j2k_segments(frame, at, 0xFF90)
        while _word(frame, at) == 0xFF90:
            length = int.from_bytes(frame[at + 6 : at + 10], "big")
            body = yield from _j2k_segments(frame, at + 12, 0xFF93)
            if _word(frame, at + 2) != 10 or body + 2 > at + length:
                raise _Broken
            at += length
        if _word(frame, at) != 0xFFD9:
            raise _Broken
        if frame[at + 2 :] not in (b"", b"\0"):
            yield Finding("dicom:frame/j2k:trailing", "trailing")
    except (_Broken, IndexError):
        yield Finding("dicom:frame/j2k:structure", "damaged")


def _jpeg_segment(frame: bytes, at: int) -> tuple[int, bytes, int]:
    length = _word(frame, at + 2)
    if frame[at] != 0xFF or length < 2 or at + 2 + length > len(frame):
        raise _Broken
    return frame[at + 1], frame[at + 4 : at + 2 + length], at + 2 + length


def _unlisted(marker: int, body: bytes) -> str | None:
    if marker in (0xC0, 0xC1, 0xC2, 0xC4, 0xDA, 0xDB, 0xDD) or (marker == 0xEE and _ADOBE.fullmatch(body)):
        return None
    return _jpeg_name(marker)


def _jpeg_name(marker: int) -> str:
    names = {0xFE: "COM", 0xC4: "DHT", 0xDB: "DQT", 0xDD: "DRI", 0xEE: "APP14"}
    return names.get(marker) or (f"APP{marker - 0xE0}" if 0xE0 <= marker <= 0xEF else "other")


def _frame_header(body: bytes, size: Size, again: bool) -> dict[int, int]:
    """Table of quantisation for each component."""
    rows, columns, count = _word(body, 1), _word(body, 3), body[5]
    if again or (rows, columns, count) != size or len(body) != 6 + 3 * count:
        raise _Broken
    return {body[at]: body[at + 2] for at in range(6, len(body), 3)}


def _scan_header(body: bytes, components: dict[int, int], tables: _Tables) -> None:
    count = body[0]
    if not components or len(body) != 4 + 2 * count:
        raise _Broken
    for at in range(1, 1 + 2 * count, 2):
        slots = body[at + 1]
        tables.unread -= {("DQT", components.get(body[at], -1)), ("DC", slots >> 4), ("AC", slots & 15)}


def _is_exact(marker: int, body: bytes, tables: _Tables) -> bool:
    """Whether tables fill their segment to the last byte."""
    at = 0
    if marker == 0xDB:
        while at < len(body):
            tables.define("DQT", body[at] & 15)
            at += 129 if body[at] >> 4 else 65
    elif marker == 0xC4:
        while at < len(body):
            tables.define("AC" if body[at] >> 4 else "DC", body[at] & 15)
            at += 17 + sum(body[at + 1 : at + 17])
    else:
        return marker == 0xEE or len(body) == 2
    return at == len(body)


def _siz(frame: bytes, size: Size) -> Iterator[Finding]:
    rows, columns = (int.from_bytes(frame[at : at + 4], "big") for at in (12, 8))
    count = _word(frame, 40)
    if (rows, columns, count) != size or _word(frame, 4) != 38 + 3 * count:
        yield Finding("dicom:frame/j2k:SIZ", "value")


def _j2k_segments(frame: bytes, at: int, stop: int) -> Generator[Finding, None, int]:
    """Gives the place of the marker ``stop``."""
    while (marker := _word(frame, at)) != stop:
        length = _word(frame, at + 2)
        if marker < 0xFF4F or length < 2 or at + 2 + length > len(frame):
            raise _Broken
        if marker not in _J2K_CODING:
            yield Finding(f"dicom:frame/j2k:{_J2K_NAMES.get(marker, 'other')}", "metadata")
        elif marker == 0xFF52 and length != 12 + (1 + frame[at + 9] if frame[at + 4] & 1 else 0):
            yield Finding("dicom:frame/j2k:COD", "unused")
        at += 2 + length
    return at


def _word(frame: bytes, at: int) -> int:
    if at + 2 > len(frame):
        raise _Broken
    return int.from_bytes(frame[at : at + 2], "big")
