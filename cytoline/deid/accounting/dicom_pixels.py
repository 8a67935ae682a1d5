"""Account for the pixel data: its exact length, the bits that no pixel uses, and each codestream's segments.

Source: PS3.5 8.1 and A.4, PS3.3 C.7.6.3; T.81 Annex B; ISO/IEC 15444-1 Annex A.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cytoline.deid.accounting import jpeg
from cytoline.deid.accounting.dicom_codestreams import j2k_findings, jpeg_findings
from cytoline.deid.accounting.jpeg import Budget
from cytoline.deid.finding import Finding

Buffer = bytes | mmap.mmap

NATIVE = frozenset({"1.2.840.10008.1.2.1"})
_JPEG = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})
_J2K = frozenset({"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"})
CODED = _JPEG | _J2K

PLACE = "dicom:(7FE0,0010)"
_CHUNK = 1 << 22
_WALK_BYTES = 1 << 32
"""Bytes of JPEG scans that are walked, over all frames."""
_SAMPLES = {"MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1, "RGB": 3, "YBR_FULL": 3}
_SAMPLES_CODED = {**_SAMPLES, "YBR_FULL_422": 3, "YBR_RCT": 3, "YBR_ICT": 3}
_PALETTE = ((0x00281101, 0x00281201), (0x00281102, 0x00281202), (0x00281103, 0x00281203))


@dataclass(frozen=True)
class _Shape:
    frames: int
    rows: int
    columns: int
    samples: int
    photometric: str
    allocated: int
    stored: int
    signed: bool


def pixel_findings(
    content: Buffer, vr: bytes, start: int, end: int, values: Mapping[int, bytes], syntax: str
) -> Iterator[Finding]:
    """``end`` is -1 for encapsulated pixel data; ``values`` are those of the top level by tag."""
    shape = _shape(values, syntax)
    if shape is None or (end < 0) != (syntax in CODED):
        yield Finding(PLACE, "damaged")
    elif end < 0:
        yield from _coded(content, start, shape, syntax)
    else:
        yield from _native(content, vr, start, end, shape, values)
    if shape is not None and shape.photometric != "PALETTE COLOR":
        for pair in _PALETTE:
            for tag in pair:
                if tag in values:
                    yield Finding(f"dicom:({tag >> 16:04X},{tag & 0xFFFF:04X})", "unused")


def _shape(values: Mapping[int, bytes], syntax: str) -> _Shape | None:
    def short(tag: int) -> int:
        return int.from_bytes(values[tag], "little")

    try:
        shape = _Shape(
            frames=int(values.get(0x00280008, b"1")),
            rows=short(0x00280010),
            columns=short(0x00280011),
            samples=short(0x00280002),
            photometric=values[0x00280004].rstrip(b" ").decode("ascii"),
            allocated=short(0x00280100),
            stored=short(0x00280101),
            signed=short(0x00280103) == 1,
        )
        high = short(0x00280102)
        planar = short(0x00280006) if 0x00280006 in values else 0
    except (KeyError, ValueError):
        return None
    named = (_SAMPLES_CODED if syntax in CODED else _SAMPLES).get(shape.photometric)
    fine = named == shape.samples and shape.allocated in (8, 16) and 1 <= shape.stored <= shape.allocated
    return shape if fine and high == shape.stored - 1 and not planar and shape.frames > 0 else None


def _native(
    content: Buffer, vr: bytes, start: int, end: int, shape: _Shape, values: Mapping[int, bytes]
) -> Iterator[Finding]:
    size = shape.frames * shape.rows * shape.columns * shape.samples * shape.allocated // 8
    if end - start != size + size % 2 or (size % 2 and content[end - 1]) or vr not in (b"OB", b"OW"):
        yield Finding(PLACE, "unused")
        return
    if shape.stored < shape.allocated and any(_spills(chunk, shape) for chunk in _chunks(content, start, size, shape)):
        yield Finding("dicom:frame/bits", "unused")
    if shape.photometric == "PALETTE COLOR":
        yield from _palette(content, start, size, shape, values)


def _chunks(content: Buffer, start: int, size: int, shape: _Shape) -> Iterator[NDArray[np.int64]]:
    kind = np.dtype(f"<{'i' if shape.signed else 'u'}{shape.allocated // 8}")
    for at in range(start, start + size, _CHUNK):
        yield np.frombuffer(content[at : min(at + _CHUNK, start + size)], kind).astype(np.int64)


def _spills(values: NDArray[np.int64], shape: _Shape) -> bool:
    """Whether a value is larger or smaller than the stored bits can say."""
    low, high = (
        (-(1 << (shape.stored - 1)), (1 << (shape.stored - 1)) - 1) if shape.signed else (0, (1 << shape.stored) - 1)
    )
    return bool(values.size and (int(values.min()) < low or int(values.max()) > high))


def _palette(content: Buffer, start: int, size: int, shape: _Shape, values: Mapping[int, bytes]) -> Iterator[Finding]:
    """Each table has the length that its descriptor says, and nothing where no pixel points."""
    used: NDArray[np.bool_] | None = None
    shown: list[NDArray[np.uint16]] = []
    for head_tag, table_tag in _PALETTE:
        place = f"dicom:({table_tag >> 16:04X},{table_tag & 0xFFFF:04X})"
        head = [one for (one,) in struct.iter_unpack("<H", values.get(head_tag, b"")[:6].ljust(6, b"\0"))]
        table = values.get(table_tag, b"")
        entries = head[0] or 65_536
        if len(table) != 2 * entries or head[2] not in (8, 16):
            yield Finding(place, "unused")
            continue
        if used is None or len(used) != entries:
            used = np.zeros(entries, np.bool_)
            for chunk in _chunks(content, start, size, shape):
                used[np.clip(chunk - head[1], 0, entries - 1)] = True
        words = np.frombuffer(table, "<u2")
        if words[~used].any() or (head[2] == 8 and (words > 255).any()):
            yield Finding(place, "unused")
        low, high = words & 0xFF, words >> 8
        if head[2] == 16 and low.any() and not np.array_equal(low, high):
            yield Finding(place, "value")  # below what is shown
        shown.append(np.asarray((high if head[2] == 16 else words)[used], np.uint16))
    if len(shown) == len(_PALETTE) and len({len(part) for part in shown}) == 1:
        colours = np.stack(shown, axis=1)
        if len(np.unique(colours, axis=0)) != len(colours):
            yield Finding(place, "value")  # a picture drawn in two entries of one colour


def _coded(content: Buffer, at: int, shape: _Shape, syntax: str) -> Iterator[Finding]:
    """An offset table, one fragment for each frame, a delimiter."""
    items: list[tuple[int, int]] = []
    while content[at : at + 4] == b"\xfe\xff\x00\xe0":
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        items.append((at + 8, length))
        at += 8 + length
    if content[at : at + 8] != b"\xfe\xff\xdd\xe0\0\0\0\0" or len(items) != shape.frames + 1:
        yield Finding(PLACE, "damaged")
        return
    (table, size), frames = items[0], items[1:]
    expected = b"".join((start - frames[0][0]).to_bytes(8, "little")[:4] for start, _ in frames)
    if size and content[table : table + size] != expected:
        yield Finding("dicom:frame/offsets", "unused")
    walker = jpeg_findings if syntax in _JPEG else j2k_findings
    budget = Budget(_WALK_BYTES)
    for start, length in frames:
        if length % 2:
            yield Finding(PLACE, "damaged")
        frame = content[start : start + length]
        yield from walker(frame, (shape.rows, shape.columns, shape.samples))
        if syntax in _JPEG:
            plain = frame[:-1] if frame.endswith(b"\xff\xd9\0") else frame
            across_down = shape.columns, shape.rows
            yield from jpeg.findings(plain, "dicom:frame/jpeg", budget, None, across_down, shape.samples)
