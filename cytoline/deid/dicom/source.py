"""A DICOM file opened: its header read by pydicom, its pixel data found but not yet touched.

Source: PS3.10 (file format), PS3.5 A.4 (encapsulated pixel data), PS3.3 C.7.6.3 (Image Pixel).  Nothing is
allocated by what a header claims: the header is read from a copy no longer than the file and the limit.
"""

from __future__ import annotations

import io
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import FileDataset

from cytoline.deid.dicom.refusal import CannotRecreate, Limits, guarded

Buffer = bytes | mmap.mmap

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
JPEG = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})
JPEG_2000 = frozenset({"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"})
HTJ2K = frozenset({f"1.2.840.10008.1.2.4.20{number}" for number in (1, 2, 3)})
RLE = "1.2.840.10008.1.2.5"
CODED = JPEG | JPEG_2000 | HTJ2K | {RLE}
LOSSY = JPEG | {"1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203"}

_PIXELS = b"\xe0\x7f\x10\x00"
_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_UNDEFINED = 0xFFFFFFFF
_GREY = frozenset({"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"})
_COLOUR = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"})

Piece = tuple[int, int]
"""Start and length in the file."""


@dataclass(frozen=True)
class Layout:
    """How the pixels are stored."""

    transfer_syntax: str
    frames: int
    rows: int
    columns: int
    samples: int
    photometric: str
    allocated: int
    stored: int
    signed: bool
    planar: bool

    @property
    def coded(self) -> bool:
        return self.transfer_syntax in CODED

    @property
    def frame_bytes(self) -> int:
        """Of one uncompressed frame as the file has it."""
        samples = 2 if self.photometric == "YBR_FULL_422" and not self.coded else self.samples
        return self.rows * self.columns * samples * self.allocated // 8


@dataclass(frozen=True)
class Source:
    """The header, and where each frame's bytes lie."""

    header: FileDataset
    layout: Layout
    buffer: Buffer
    frames: tuple[tuple[Piece, ...], ...]

    def coded_frame(self, index: int) -> bytes:
        """The frame's own bytes: a codestream, or uncompressed samples."""
        return b"".join(self.buffer[start : start + length] for start, length in self.frames[index])


@contextmanager
def opened(source: Path | bytes, limits: Limits) -> Iterator[Source]:
    """Read the header and find the frames.  Raises ``CannotRecreate``, or ``OSError`` if the disk fails."""
    with _mapped(source) as buffer:
        with guarded():
            opened_source = _source(buffer, limits)
        yield opened_source


@contextmanager
def _mapped(source: Path | bytes) -> Iterator[Buffer]:
    if isinstance(source, bytes):
        yield source
        return
    if source.stat().st_size == 0:
        raise CannotRecreate("not_dicom")
    with source.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        yield mapped


def _source(buffer: Buffer, limits: Limits) -> Source:
    syntax = _transfer_syntax(buffer)
    if syntax not in CODED | {IMPLICIT, EXPLICIT}:
        raise CannotRecreate("transfer_syntax")
    head = io.BytesIO(buffer[: limits.max_header])
    header = dcmread(head, stop_before_pixels=True)
    at = head.tell()
    if buffer[at : at + 4] != _PIXELS:
        raise CannotRecreate("too_large" if len(buffer) > limits.max_header else "no_image")
    layout = _layout(header, syntax, limits)
    at, length = _value(buffer, at, syntax)
    if layout.coded:
        if length != _UNDEFINED:
            raise CannotRecreate("damaged")
        frames = _grouped(buffer, _fragments(buffer, at), layout.frames)
    else:
        if length == _UNDEFINED or length < layout.frame_bytes * layout.frames or at + length > len(buffer):
            raise CannotRecreate("damaged")
        size = layout.frame_bytes
        frames = tuple(((at + index * size, size),) for index in range(layout.frames))
    return Source(header, layout, buffer, frames)


def _transfer_syntax(buffer: Buffer) -> str:
    """From the file meta group, which is always explicit VR little endian.

    Before pydicom sees the file: it would inflate a deflated one whole, however large that becomes.
    """
    if len(buffer) < 132 or buffer[128:132] != b"DICM":
        raise CannotRecreate("not_dicom")
    at = 132
    while buffer[at : at + 2] == b"\x02\x00":
        element, vr = buffer[at + 2 : at + 4], buffer[at + 4 : at + 6]
        start = at + (12 if vr in (b"OB", b"UN") else 8)
        length = int.from_bytes(buffer[start - 4 : start] if start == at + 12 else buffer[at + 6 : at + 8], "little")
        if start + length > len(buffer):
            break
        if element == b"\x10\x00":
            return buffer[start : start + length].rstrip(b"\0 ").decode("ascii")
        at = start + length
    raise CannotRecreate("damaged")


def _layout(header: FileDataset, syntax: str, limits: Limits) -> Layout:
    layout = Layout(
        transfer_syntax=syntax,
        frames=_whole(header, "NumberOfFrames", 1),
        rows=_whole(header, "Rows"),
        columns=_whole(header, "Columns"),
        samples=_whole(header, "SamplesPerPixel", 1),
        photometric=str(header.get("PhotometricInterpretation", "")),
        allocated=_whole(header, "BitsAllocated"),
        stored=_whole(header, "BitsStored"),
        signed=_whole(header, "PixelRepresentation", 0) == 1,
        planar=_whole(header, "PlanarConfiguration", 0) == 1,
    )
    if min(layout.frames, layout.rows, layout.columns) < 1:
        raise CannotRecreate("damaged")
    if layout.rows * layout.columns > limits.max_pixels or layout.frames > limits.max_frames:
        raise CannotRecreate("too_large")
    high = _whole(header, "HighBit", layout.stored - 1)
    if not _is_usual(layout) or high != layout.stored - 1:
        raise CannotRecreate("pixel_format")
    return layout


def _is_usual(layout: Layout) -> bool:
    if layout.allocated not in (8, 16) or not 1 <= layout.stored <= layout.allocated:
        return False
    if layout.photometric in _GREY:
        return layout.samples == 1
    # Reversible and irreversible component transforms exist only inside JPEG 2000.
    inside = layout.photometric not in ("YBR_RCT", "YBR_ICT") or layout.transfer_syntax in JPEG_2000 | HTJ2K
    even = layout.photometric != "YBR_FULL_422" or layout.coded or (layout.columns % 2 == 0 and not layout.planar)
    whole = layout.stored == layout.allocated and not layout.signed
    deep = layout.allocated == 8 or layout.photometric == "RGB"
    return layout.photometric in _COLOUR and layout.samples == 3 and inside and even and whole and deep


def _whole(header: FileDataset, keyword: str, missing: int | None = None) -> int:
    value: Any = header.get(keyword)
    if value is None and missing is not None:
        return missing
    return int(value)


def _value(buffer: Buffer, at: int, syntax: str) -> tuple[int, int]:
    """Where the pixel data's value begins, and its length."""
    start = at + (8 if syntax == IMPLICIT else 12)
    if syntax != IMPLICIT and buffer[at + 4 : at + 6] not in (b"OB", b"OW"):
        raise CannotRecreate("damaged")
    return start, int.from_bytes(buffer[start - 4 : start], "little")


def _fragments(buffer: Buffer, at: int) -> list[Piece]:
    """All items up to the delimiter; the first is the offset table."""
    found: list[Piece] = []
    while (tag := buffer[at : at + 4]) != _END:
        length = int.from_bytes(buffer[at + 4 : at + 8], "little")
        if tag != _ITEM or at + 8 + length > len(buffer):
            raise CannotRecreate("damaged")
        found.append((at + 8, length))
        at += 8 + length
    if not found:
        raise CannotRecreate("damaged")
    return found


def _grouped(buffer: Buffer, items: list[Piece], frames: int) -> tuple[tuple[Piece, ...], ...]:
    """Which fragments make up which frame."""
    (table, size), fragments = items[0], items[1:]
    if len(fragments) == frames:
        return tuple((fragment,) for fragment in fragments)
    if frames == 1 and fragments:
        return (tuple(fragments),)
    if size != 4 * frames or len(fragments) < frames:
        raise CannotRecreate("damaged")
    offsets = [int.from_bytes(buffer[table + 4 * index : table + 4 * index + 4], "little") for index in range(frames)]
    first = fragments[0][0] - 8
    places = {start - 8 - first: index for index, (start, _) in enumerate(fragments)}
    starts = [places.get(offset, -1) for offset in offsets]
    if starts[0] != 0 or any(one >= two for one, two in pairwise(starts)):
        raise CannotRecreate("damaged")
    ends = [*starts[1:], len(fragments)]
    return tuple(tuple(fragments[start:end]) for start, end in zip(starts, ends, strict=True))
