"""Account for every byte of a de-identified DICOM file, without pydicom and without the code that made it.

Source: PS3.10 7.1 (preamble, file meta), PS3.5 7.1.2 and 7.5 (explicit VR elements, sequences), A.4 (encapsulation).
Only explicit VR little endian is walked: what we write.  Every tag at every depth must be on the list, under the
list's VR, with a value that the list's test lets pass.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cytoline.deid.accounting.dicom_list import DATASET, META, Entry
from cytoline.deid.accounting.dicom_pixels import CODED, NATIVE, pixel_findings
from cytoline.deid.accounting.dicom_values import passes
from cytoline.deid.finding import Finding

Buffer = bytes | mmap.mmap

_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = 0x7FE00010
_META_LENGTH, _SYNTAX = 0x00020000, 0x00020010
_TABLES = (0x00281201, 0x00281202, 0x00281203)
_MOST = 1000
"""Findings; a file that has so many is not looked at further."""


class _Broken(Exception):  # noqa: N818 (says what it is)
    """The structure does not hold together from here on."""


@dataclass(frozen=True)
class _Element:
    tag: int
    vr: bytes
    start: int
    end: int
    """Of the value."""
    next: int


@dataclass
class _Walk:
    content: Buffer
    found: set[Finding] = field(default_factory=set)
    values: dict[int, bytes] = field(default_factory=dict)
    """Of the top level, for those that say how the pixels lie."""

    def add(self, finding: Finding) -> None:
        self.found.add(finding)
        if len(self.found) > _MOST:
            raise _Broken


def findings(content: Buffer) -> list[Finding]:
    """What must not be there, in order of place; empty for a file that is accounted for.  Never raises."""
    if len(content) < 132 or content[128:132] != b"DICM":
        return [Finding("dicom:file", "unsupported")]
    walk = _Walk(content)
    if any(content[:128]):
        walk.add(Finding("dicom:preamble", "unused"))
    try:
        at = _meta(walk)
        syntax = walk.values.get(_SYNTAX, b"").rstrip(b"\0").decode("ascii", "replace")
        if syntax not in NATIVE | CODED:
            walk.add(Finding("dicom:(0002,0010)", "unsupported"))
        else:
            _dataset(walk, at, syntax)
    except _Broken:
        walk.found.add(Finding("dicom:structure", "damaged"))
    return sorted(walk.found)


def _meta(walk: _Walk) -> int:
    at, content = 132, walk.content
    first = _element(content, at, len(content))
    if first.tag != _META_LENGTH or first.end - first.start != 4:
        raise _Broken
    end = first.end + int.from_bytes(content[first.start : first.end], "little")
    if end > len(content):
        raise _Broken
    _elements(walk, at, end, META, "dicom:", keep=True)
    return end


def _dataset(walk: _Walk, at: int, syntax: str) -> None:
    content = walk.content
    at = _elements(walk, at, len(content), DATASET, "dicom:", keep=True, stop=_PIXELS)
    if at >= len(content):
        walk.add(Finding("dicom:(7FE0,0010)", "damaged"))
        return
    pixels = _element(content, at, len(content), undefined=True)
    for finding in pixel_findings(content, pixels.vr, pixels.start, pixels.end, walk.values, syntax):
        walk.add(finding)
    at = pixels.next if pixels.end >= 0 else _after_fragments(content, pixels.start)
    _after_pixels(walk, at)


def _after_pixels(walk: _Walk, at: int) -> None:
    """Nothing may follow; elements are named by their tags, other bytes are a trailer."""
    last = _PIXELS
    while at < len(walk.content):
        try:
            element = _element(walk.content, at, len(walk.content))
        except _Broken:
            element = None
        if element is None or element.tag <= last:
            walk.add(Finding("dicom:trailing", "trailing"))
            return
        walk.add(Finding("dicom:" + _name(element.tag), "metadata"))
        at, last = element.next, element.tag


def _after_fragments(content: Buffer, at: int) -> int:
    while True:
        tag, length = _head(content, at, len(content))
        at += 8
        if tag == _SEQUENCE_END:
            return at
        if tag != _ITEM or at + length > len(content):
            raise _Broken
        at += length


def _elements(
    walk: _Walk, at: int, end: int, listed: Mapping[int, Entry], prefix: str, keep: bool = False, stop: int = -1
) -> int:
    """Each element up to ``end`` or the tag ``stop``; gives the place of that."""
    last = -1
    while at < end:
        element = _element(walk.content, at, end, undefined=True)
        if element.tag == stop:
            return at
        place = prefix + _name(element.tag)
        if element.tag <= last:
            walk.add(Finding(place, "damaged"))
        last = element.tag
        stretch = element if element.end >= 0 else _closed(walk.content, element, end)
        _judge(walk, stretch, listed.get(element.tag), place)
        if (keep and stretch.end - stretch.start <= 64) or element.tag in _TABLES:
            walk.values.setdefault(element.tag, walk.content[stretch.start : stretch.end])
        at = stretch.next
    return at


def _judge(walk: _Walk, element: _Element, entry: Entry | None, place: str) -> None:
    if entry is None:
        walk.add(Finding(place, "metadata"))
    elif element.vr != entry.vr.encode():
        walk.add(Finding(place, "value"))
    elif (element.end - element.start) % 2:
        walk.add(Finding(place, "damaged"))
    elif entry.vr == "SQ":
        _items(walk, element, entry, place)
    elif not passes(entry.test, walk.content[element.start : element.end]):
        walk.add(Finding(place, "value"))


def _items(walk: _Walk, element: _Element, entry: Entry, place: str) -> None:
    for start, end in _item_stretches(walk.content, element):
        _elements(walk, start, end, entry.items, place + "/")
        if entry.codes and _code(walk.content, start, end) not in entry.codes:
            walk.add(Finding(place, "value"))


def _item_stretches(content: Buffer, element: _Element) -> Iterator[tuple[int, int]]:
    """Start and end of each item's elements; together they fill the sequence."""
    at = element.start
    while at < element.end:
        tag, length = _head(content, at, element.end)
        at += 8
        if tag != _ITEM:
            raise _Broken
        end = _skip(content, at, element.end) if length == _UNDEFINED else at + length
        if end > element.end:
            raise _Broken
        yield at, end - 8 if length == _UNDEFINED else end
        at = end


def _code(content: Buffer, at: int, end: int) -> tuple[str, ...]:
    """Value, scheme and meaning, in the order of their tags."""
    out = []
    while at < end:
        element = _element(content, at, end)
        value = content[element.start : element.end]
        out.append((value[:-1] if value.endswith(b" ") else value).decode("ascii", "replace"))
        at = element.next
    return tuple(out)


def _element(content: Buffer, at: int, end: int, undefined: bool = False) -> _Element:
    """The element's head; ``end`` is -1 for one of undefined length, which only sequences and pixels may have."""
    vr = bytes(content[at + 4 : at + 6])
    tag, _ = _head(content, at, end)
    if vr in _LONG:
        start = at + 12
        if start > end or content[at + 6 : at + 8] != b"\0\0":
            raise _Broken
        length = int.from_bytes(content[at + 8 : start], "little")
    elif vr in _SHORT:
        start = at + 8
        length = int.from_bytes(content[at + 6 : start], "little")
    else:
        raise _Broken
    if length == _UNDEFINED and vr in _LONG:
        if not undefined or vr not in (b"SQ", b"OB", b"OW"):
            raise _Broken
        return _Element(tag, vr, start, -1, -1)
    if start + length > end:
        raise _Broken
    return _Element(tag, vr, start, start + length, start + length)


def _closed(content: Buffer, element: _Element, end: int) -> _Element:
    """A sequence of undefined length with the end that its delimiter gives it."""
    if element.vr != b"SQ":
        raise _Broken
    after = _skip(content, element.start, end)
    return _Element(element.tag, element.vr, element.start, after - 8, after)


def _skip(content: Buffer, at: int, end: int) -> int:
    """Behind the delimiter that closes what was opened before ``at``.  A count, no recursion: depth costs nothing."""
    depth = 1
    while depth:
        tag, length = _head(content, at, end)
        if tag in (_ITEM_END, _SEQUENCE_END):
            if length:
                raise _Broken
            depth, at = depth - 1, at + 8
        elif tag == _ITEM:
            depth, at = (depth + 1, at + 8) if length == _UNDEFINED else (depth, at + 8 + length)
        else:
            element = _element(content, at, end, undefined=True)
            depth, at = (depth + 1, element.start) if element.end < 0 else (depth, element.next)
    return at


def _head(content: Buffer, at: int, end: int) -> tuple[int, int]:
    """Tag, and the four bytes after it as a length."""
    if at + 8 > end:
        raise _Broken
    group, element = (int.from_bytes(content[at + by : at + by + 2], "little") for by in (0, 2))
    return group << 16 | element, int.from_bytes(content[at + 4 : at + 8], "little")


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
