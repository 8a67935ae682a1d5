"""Hiding places in a JPEG's segments, tables and scans, and behind its end (ITU-T T.81, JFIF, XMP part 3, IIM4)."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile

from benchmarks.deid import icc_bytes, xmp_text
from benchmarks.deid.canary import Canary
from benchmarks.deid.ground import swatch
from benchmarks.deid.jpeg_bytes import (
    after_first_scan,
    after_jfif,
    before_end,
    coded,
    instead_of_jfif,
    iptc,
    resource,
    segment,
)
from benchmarks.deid.place import Make, Place, in_file
from benchmarks.deid.tiff_bytes import UNDEFINED, Tiff

COM, APP = 0xFE, 0xE0
_ICC_HEAD = b"ICC_PROFILE\0\x01\x01"


def places() -> list[Place]:
    """All but those inside the Exif block, which are in ``plant_exif``."""
    makes: dict[str, Make] = {**_plain_segments(), **_APP0, **_COLOUR, **_XMP, **_PHOTOSHOP, **_STRUCTURE, **_BEHIND}
    return [
        in_file(f"jpeg/{name}", "jpeg", "image.jpg", make, "token" if name in ONLY_TOKEN else "text")
        for name, make in makes.items()
    ]


def base(canary: Canary, progressive: bool = False) -> bytes:
    """The clean JPEG of a place."""
    return coded(swatch(canary.token), progressive=progressive)


def thumbnail(canary: Canary) -> bytes:
    """A small JPEG with the canary in its own comment."""
    return after_jfif(coded(swatch("thumbnail")[::4, ::4].copy()), segment(COM, canary.text.encode()))


def _segment_with(marker: int, head: bytes = b"") -> Make:
    return lambda canary: after_jfif(base(canary), segment(marker, head + canary.text.encode()))


def _plain_segments() -> dict[str, Make]:
    heads = {
        "APP2-FPXR": (APP + 2, b"FPXR\0\0\x01\0\x01\0\0\0\0\0\0\xff"),
        "APP3-Meta": (APP + 3, b"Meta\0\0"),
        "APP4": (APP + 4, b"Scalado\0"),
        "APP5-Ricoh": (APP + 5, b"RMETA\0"),
        "APP6-Epson": (APP + 6, b"EPPIM\0"),
        "APP7": (APP + 7, b"Qualcomm\0"),
        "APP8-SPIFF": (APP + 8, b"SPIFF\0"),
        "APP9": (APP + 9, b"Media Jukebox\0"),
        "APP10-comment": (APP + 10, b"UNICODE\0"),
        "APP12-picture-info": (APP + 12, b"[picture info]\r\nSerial#="),
        "APP12-Ducky": (APP + 12, b"Ducky\0\x02\0\x4c\0\0"),
        "APP15": (APP + 15, b""),
        "COM": (COM, b""),
    }
    return {name: _segment_with(marker, head) for name, (marker, head) in heads.items()}


def _jfif_thumbnail(canary: Canary) -> bytes:
    pixels = canary.text.encode().ljust(16 * 4 * 3, b"\x80")
    return instead_of_jfif(base(canary), segment(APP, b"JFIF\0\x01\x01\0\0\x01\0\x01\x10\x04" + pixels))


def _jfxx_palette(canary: Canary) -> bytes:
    body = b"JFXX\0\x11\x04\x04" + canary.text.encode().ljust(768, b"\x80") + bytes(16)
    return after_jfif(base(canary), segment(APP, body))


_APP0: dict[str, Make] = {
    "JFIF-thumbnail": _jfif_thumbnail,
    "JFXX-thumbnail-jpeg": lambda c: after_jfif(base(c), segment(APP, b"JFXX\0\x10" + thumbnail(c))),
    "JFXX-thumbnail-palette": _jfxx_palette,
    "APP0-CIFF": _segment_with(APP, b"II\x1a\0\0\0HEAPJPGM"),
}


def _icc(profile: bytes, canary: Canary) -> bytes:
    return after_jfif(base(canary), segment(APP + 2, _ICC_HEAD + profile))


def _mpf(canary: Canary) -> bytes:
    """Two images in one file (CIPA DC-007); the canary is in the second one's comment."""
    second = thumbnail(canary)
    plain = base(canary)

    def block(first_size: int, second_at: int) -> bytes:
        entries = struct.pack("<IIIHH", 0x030000, first_size, 0, 0, 0)
        entries += struct.pack("<IIIHH", 0, len(second), second_at, 0, 0)
        tags = {0xB000: (UNDEFINED, b"0100"), 0xB001: (4, struct.pack("<I", 2)), 0xB002: (UNDEFINED, entries)}
        tiff = Tiff()
        return b"MPF\0" + tiff.chain([tiff.directory(tags)])

    size = len(after_jfif(plain, segment(APP + 2, block(0, 0))))
    # Offsets count from the block's own TIFF header: SOI, JFIF (18), marker and length (4), "MPF\0" (4).
    return after_jfif(plain, segment(APP + 2, block(size, size - (2 + 18 + 4 + 4)))) + second


_COLOUR: dict[str, Make] = {
    "APP2-icc-desc": lambda c: _icc(icc_bytes.profile(description=c.text), c),
    "APP2-icc-cprt": lambda c: _icc(icc_bytes.profile(copyright_=c.text), c),
    "APP2-icc-private-tag": lambda c: _icc(icc_bytes.profile(private=c.text.encode()), c),
    "APP2-icc-past-its-length": lambda c: _icc(icc_bytes.profile() + c.text.encode(), c),
    "APP2-MPF-second-image": _mpf,
    "APP14-surplus": lambda c: after_jfif(base(c), segment(APP + 14, b"Adobe\0\x64\0\0\0\0\x01" + c.text.encode())),
}


def _extended_xmp(canary: Canary) -> bytes:
    data = xmp_text.packet(canary.text)
    guid = hashlib.md5(data, usedforsecurity=False).hexdigest().upper()
    extended = xmp_text.EXTENDED_HEAD + guid.encode() + struct.pack(">II", len(data), 0) + data
    main = xmp_text.JPEG_HEAD + xmp_text.packet_naming(guid)
    return after_jfif(base(canary), segment(APP + 1, main), segment(APP + 1, extended))


_XMP: dict[str, Make] = {
    "APP1-xmp": lambda c: after_jfif(base(c), segment(APP + 1, xmp_text.JPEG_HEAD + xmp_text.packet(c.text))),
    "APP1-xmp-extended": _extended_xmp,
    "APP1-xmp-after-packet": lambda c: after_jfif(
        base(c), segment(APP + 1, xmp_text.JPEG_HEAD + xmp_text.packet("x") + b" " * 200 + c.text.encode())
    ),
    "APP1-unknown": _segment_with(APP + 1, b"PARROT\0"),
}


def _photoshop(canary: Canary, *resources: bytes) -> bytes:
    return after_jfif(base(canary), segment(APP + 13, b"Photoshop 3.0\0" + b"".join(resources)))


def _c2pa(canary: Canary) -> bytes:
    """A JUMBF superbox with a JSON assertion (ISO 19566-5)."""

    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body) + 8) + kind + body

    label = box(b"jumd", b"json\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71\x03c2pa.author\0")
    content = box(b"jumb", label + box(b"json", b'{"author":"' + canary.text.encode() + b'"}'))
    return after_jfif(base(canary), segment(APP + 11, b"JP\0\x01\0\0\0\x01" + content))


_PHOTOSHOP: dict[str, Make] = {
    "APP11-c2pa": _c2pa,
    "APP13-iptc-byline": lambda c: _photoshop(c, resource(0x0404, iptc(2, 80, c.text.encode()))),
    "APP13-iptc-caption": lambda c: _photoshop(c, resource(0x0404, iptc(2, 120, c.text.encode()))),
    "APP13-resource-name": lambda c: _photoshop(c, resource(0x03ED, bytes(16), c.text.encode())),
    "APP13-resource-thumbnail": lambda c: _photoshop(c, resource(0x040C, bytes(28) + thumbnail(c))),
    "APP13-resource-url": lambda c: _photoshop(c, resource(0x040B, c.text.encode())),
    "APP13-other": _segment_with(APP + 13, b"Adobe_CM\0"),
}


def _spare_huffman_table(canary: Canary) -> bytes:
    """Table 3 of the AC class, which no scan refers to: 31 codes of 8 bits."""
    symbols = canary.token.encode()
    counts = bytes(7) + bytes((len(symbols),)) + bytes(8)
    return after_jfif(base(canary), segment(0xC4, b"\x13" + counts + symbols))


_STRUCTURE: dict[str, Make] = {
    "DQT-unused-table": lambda c: after_jfif(base(c), segment(0xDB, b"\x03" + c.token.encode().ljust(64, b"A"))),
    "DQT-replaced-table": lambda c: after_jfif(base(c), segment(0xDB, b"\0" + c.token.encode().ljust(64, b"A"))),
    "DHT-unused-table": _spare_huffman_table,
    "COM-between-scans": lambda c: after_first_scan(base(c, progressive=True), segment(COM, c.text.encode())),
    "APP1-between-scans": lambda c: after_first_scan(
        base(c, progressive=True), segment(APP + 1, xmp_text.JPEG_HEAD + xmp_text.packet(c.text))
    ),
    "surplus-between-scans": lambda c: after_first_scan(base(c, progressive=True), c.text.encode()),
    "surplus-in-scan": lambda c: before_end(base(c), c.text.encode()),
    "COM-before-EOI": lambda c: before_end(base(c), segment(COM, c.text.encode())),
}


def _zip(canary: Canary) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("notes.txt", (2020, 1, 1, 0, 0, 0)), canary.text * 5, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


_BEHIND: dict[str, Make] = {
    "after-EOI-text": lambda c: base(c) + c.text.encode(),
    "after-EOI-utf16": lambda c: base(c) + c.text.encode("utf-16-be"),
    "after-EOI-second-jpeg": lambda c: base(c) + thumbnail(c),
    "after-EOI-zip": lambda c: base(c) + _zip(c),
}

ONLY_TOKEN = ("DQT-unused-table", "DQT-replaced-table", "DHT-unused-table")
"""Tables with room for the token alone."""


def exif_segment(canary: Canary, block: bytes) -> bytes:
    """The clean JPEG of a place with an Exif block."""
    return after_jfif(base(canary), segment(APP + 1, b"Exif\0\0" + block))
