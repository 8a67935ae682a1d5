"""Image files with metadata where laboratories and cameras leave it, written byte by byte.

Writers that are nobody else's: what is planted is exactly what the plan says, in the same bytes everywhere.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

ASCII, SHORT, LONG, RATIONAL, UNDEFINED = 2, 3, 4, 5, 7
SIZE = {ASCII: 1, SHORT: 2, LONG: 4, RATIONAL: 8, UNDEFINED: 1}
MAKE, MODEL, DESCRIPTION, ARTIST, EXIF_IFD, GPS_IFD = 271, 272, 270, 315, 0x8769, 0x8825
COMMENT, SERIAL = 0x9286, 0xA431
JPEG_QUALITY = 92

Entries = dict[int, tuple[int, bytes]]

XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject>{}</dc:subject></rdf:Description></rdf:RDF>'
    '</x:xmpmeta><?xpacket end="w"?>'
)


def encode(image: NDArray[np.uint8], kind: str, metadata: Mapping[str, str]) -> bytes:
    """Encode an RGB image as ``jpg``, ``png``, ``bmp`` or ``tif`` with the given {place: value} planted."""
    if kind == "tif":
        return _tiff(image, metadata)
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if kind == "jpg" else []
    done, buffer = cv2.imencode(f".{kind}", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise RuntimeError(f"OpenCV could not write {kind}")
    plain = buffer.tobytes()
    if kind == "jpg":
        return _into_jpeg(plain, metadata)
    if kind == "png":
        return _into_png(plain, metadata)
    return plain + metadata.get("bmp:trailer", "").encode("utf-8")


def _into_jpeg(plain: bytes, metadata: Mapping[str, str]) -> bytes:
    segments = b""
    if exif := _exif(metadata):
        segments += _segment(0xE1, b"Exif\0\0" + exif)
    if "xmp" in metadata:
        segments += _segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP.format(metadata["xmp"]).encode())
    if "jpeg:COM" in metadata:
        segments += _segment(0xFE, metadata["jpeg:COM"].encode())
    # After SOI and OpenCV's JFIF segment (18 bytes).
    return plain[:20] + segments + plain[20:]


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _into_png(plain: bytes, metadata: Mapping[str, str]) -> bytes:
    chunks = b""
    for place, value in metadata.items():
        if place.startswith("png:tEXt:"):
            chunks += _chunk(b"tEXt", place.rpartition(":")[2].encode() + b"\0" + value.encode("latin-1"))
        elif place.startswith("png:iTXt:"):
            chunks += _chunk(b"iTXt", place.rpartition(":")[2].encode() + b"\0\0\0\0\0" + value.encode())
        elif place == "xmp":
            chunks += _chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP.format(value).encode())
    if exif := _exif(metadata):
        chunks += _chunk(b"eXIf", exif)
    # After the signature and IHDR (8 + 25 bytes).
    return plain[:33] + chunks + plain[33:]


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _tiff(image: NDArray[np.uint8], metadata: Mapping[str, str]) -> bytes:
    """Baseline TIFF 6.0, one uncompressed strip right after the header."""
    height, width, _ = image.shape
    pixels = image.tobytes()
    main: Entries = {
        256: _longs(width),
        257: _longs(height),
        258: (SHORT, struct.pack("<3H", 8, 8, 8)),
        259: _shorts(1),
        262: _shorts(2),
        273: _longs(8),
        277: _shorts(3),
        278: _longs(height),
        279: _longs(len(pixels)),
    }
    return _with_ifds(main, metadata, pixels)


def _exif(metadata: Mapping[str, str]) -> bytes:
    """An Exif block, or nothing where no Exif place is planted."""
    if not any(place.startswith("exif:") for place in metadata):
        return b""
    return _with_ifds({MAKE: _text("cytoline phantom")}, metadata, b"")


def _with_ifds(main: Entries, metadata: Mapping[str, str], pixels: bytes) -> bytes:
    exif: Entries = {}
    for place, tag in (("exif:ImageDescription", DESCRIPTION), ("exif:Artist", ARTIST)):
        if place in metadata:
            main[tag] = _text(metadata[place])
    if "exif:UserComment" in metadata:
        exif[COMMENT] = (UNDEFINED, b"ASCII\0\0\0" + metadata["exif:UserComment"].encode())
    if "exif:BodySerialNumber" in metadata:
        exif[SERIAL] = _text(metadata["exif:BodySerialNumber"])
    # Main IFD last, since it points to the others.
    body, pointers = bytearray(pixels), {}
    for pointer, entries in ((EXIF_IFD, exif), (GPS_IFD, _gps(metadata.get("exif:GPS")))):
        if entries:
            body += b"\0" * (len(body) % 2)
            pointers[pointer] = _longs(8 + len(body))
            body += _ifd(entries, 8 + len(body))
    body += b"\0" * (len(body) % 2)
    start = 8 + len(body)
    return b"II*\0" + struct.pack("<I", start) + bytes(body) + _ifd({**main, **pointers}, start)


def _gps(value: str | None) -> Entries:
    if value is None:
        return {}
    latitude, longitude = value.split(",")
    return {1: _text("N"), 2: _degrees(latitude), 3: _text("E"), 4: _degrees(longitude)}


def _degrees(value: str) -> tuple[int, bytes]:
    return (RATIONAL, struct.pack("<6I", round(float(value) * 10000), 10000, 0, 1, 0, 1))


def _ifd(entries: Entries, start: int) -> bytes:
    """One directory whose values that do not fit into four bytes follow it."""
    table, beyond = struct.pack("<H", len(entries)), b""
    after = start + 2 + 12 * len(entries) + 4
    for tag, (kind, value) in sorted(entries.items()):
        count = len(value) // SIZE[kind]
        if len(value) <= 4:
            field = value.ljust(4, b"\0")
        else:
            field = struct.pack("<I", after + len(beyond))
            beyond += value + b"\0" * (len(value) % 2)
        table += struct.pack("<HHI", tag, kind, count) + field
    return table + struct.pack("<I", 0) + beyond


def _text(value: str) -> tuple[int, bytes]:
    return (ASCII, value.encode() + b"\0")


def _shorts(value: int) -> tuple[int, bytes]:
    return (SHORT, struct.pack("<H", value))


def _longs(value: int) -> tuple[int, bytes]:
    return (LONG, struct.pack("<I", value))
