"""Hiding places in WebP (RFC 9649) and in AVIF (ISO 14496-12 boxes)."""

from __future__ import annotations

import io
import struct

from PIL import Image

from benchmarks.deid import icc_bytes, xmp_text
from benchmarks.deid.canary import Canary
from benchmarks.deid.ground import swatch
from benchmarks.deid.place import Make, Place, in_file
from benchmarks.deid.tiff_bytes import ascii_, exif_block

_ICC, _EXIF, _XMP = 0x20, 0x08, 0x04


def places() -> list[Place]:
    """Both formats."""
    return [
        *(in_file(f"webp/{name}", "webp", "image.webp", make) for name, make in _WEBP.items()),
        *(in_file(f"avif/{name}", "avif", "image.avif", make) for name, make in _AVIF.items()),
    ]


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def webp(canary: Canary, flags: int = 0, before: bytes = b"", after: bytes = b"") -> bytes:
    """An extended file around a lossless image, with chunks on either side of it."""
    rgb = swatch(canary.token)
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "WEBP", lossless=True, method=0)
    image = buffer.getvalue()[12:]
    height, width, _ = rgb.shape
    extended = bytes((flags, 0, 0, 0)) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBP" + _chunk(b"VP8X", extended) + before + image + after
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _exif(canary: Canary) -> bytes:
    return exif_block({315: ascii_(canary.text)}, {}, {}, {})


_WEBP: dict[str, Make] = {
    "EXIF": lambda c: webp(c, _EXIF, after=_chunk(b"EXIF", _exif(c))),
    "XMP": lambda c: webp(c, _XMP, after=_chunk(b"XMP ", xmp_text.packet(c.text))),
    "ICCP": lambda c: webp(c, _ICC, before=_chunk(b"ICCP", icc_bytes.profile(copyright_=c.text))),
    "unknown-chunk": lambda c: webp(c, after=_chunk(b"prVt", c.text.encode())),
    "after-RIFF": lambda c: webp(c) + c.text.encode(),
}


def avif(canary: Canary, **metadata: bytes) -> bytes:
    """Coded by one thread, so that the bytes are the same every time."""
    buffer = io.BytesIO()
    options = {"exif": b"", "xmp": b"", **metadata}
    Image.fromarray(swatch(canary.token)).save(buffer, "AVIF", quality=60, speed=10, max_threads=1, **options)
    return buffer.getvalue()


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


_AVIF: dict[str, Make] = {
    "Exif": lambda c: avif(c, exif=_exif(c)),
    "XMP": lambda c: avif(c, xmp=xmp_text.packet(c.text)),
    "free-box": lambda c: avif(c) + _box(b"free", c.text.encode()),
    "uuid-box": lambda c: avif(c) + _box(b"uuid", bytes(range(16)) + c.text.encode()),
}
