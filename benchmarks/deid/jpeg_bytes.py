"""JPEG segments byte by byte (ITU-T T.81 Annex B), around pixels that Pillow codes."""

from __future__ import annotations

import io
import struct

from PIL import Image

from cytoline.images import RGB

SOI = b"\xff\xd8"
JFIF = b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"


def coded(rgb: RGB, quality: int = 92, progressive: bool = False) -> bytes:
    """Without any metadata but Pillow's own JFIF segment."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality, progressive=progressive, subsampling=2)
    return buffer.getvalue()


def segment(marker: int, body: bytes) -> bytes:
    """A marker with its length."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def after_jfif(jpeg: bytes, *segments: bytes) -> bytes:
    """The segments follow SOI and JFIF."""
    end = 4 + int.from_bytes(jpeg[4:6], "big")
    return jpeg[:end] + b"".join(segments) + jpeg[end:]


def instead_of_jfif(jpeg: bytes, *segments: bytes) -> bytes:
    """The segments follow SOI; Pillow's JFIF segment is dropped."""
    end = 4 + int.from_bytes(jpeg[4:6], "big")
    return SOI + b"".join(segments) + jpeg[end:]


def before_end(jpeg: bytes, data: bytes) -> bytes:
    """Data after the last coded block and before EOI, where no decoder looks."""
    return jpeg[:-2] + data + jpeg[-2:]


def after_first_scan(jpeg: bytes, data: bytes) -> bytes:
    """Data between the first scan of a progressive file and the marker that follows it."""
    at = jpeg.index(b"\xff\xda") + 2
    while not (jpeg[at] == 0xFF and jpeg[at + 1] not in (0, *range(0xD0, 0xD8))):
        at += 1
    return jpeg[:at] + data + jpeg[at:]


def resource(number: int, data: bytes, name: bytes = b"") -> bytes:
    """A Photoshop image resource; its name and its data are padded to even lengths."""
    pascal = bytes((len(name),)) + name
    return b"8BIM" + struct.pack(">H", number) + _even(pascal) + struct.pack(">I", len(data)) + _even(data)


def iptc(record: int, dataset: int, data: bytes) -> bytes:
    """One IPTC-IIM data set."""
    return bytes((0x1C, record, dataset)) + struct.pack(">H", len(data)) + data


def _even(data: bytes) -> bytes:
    return data + bytes(len(data) % 2)
