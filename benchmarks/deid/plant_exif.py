"""Hiding places in the Exif block of a JPEG (CIPA DC-008): both directories, sub-directories, thumbnail, gaps."""

from __future__ import annotations

import struct
from collections.abc import Callable

from benchmarks.deid.canary import Canary, Kind
from benchmarks.deid.ground import swatch
from benchmarks.deid.jpeg_bytes import after_jfif, coded, segment
from benchmarks.deid.place import Make, Place, in_file
from benchmarks.deid.plant_jpeg import exif_segment, thumbnail
from benchmarks.deid.tiff_bytes import BYTE, UNDEFINED, Entries, Tiff, Value, ascii_, exif_block, long, rational

IFD0 = {
    "description": 270,
    "make": 271,
    "model": 272,
    "software": 305,
    "artist": 315,
    "host-computer": 316,
    "copyright": 33432,
    "document-name": 269,
    "private-65000": 65000,
}
EXIF = {
    "image-unique-id": 42016,
    "owner-name": 42032,
    "body-serial": 42033,
    "lens-model": 42036,
    "lens-serial": 42037,
    "image-title": 42038,
    "photographer": 42039,
    "image-editor": 42040,
    "related-sound-file": 40964,
    "spectral-sensitivity": 34852,
    "security-classification": 37394,
    "image-history": 37395,
}
WINDOWS = {"XPTitle": 40091, "XPComment": 40092, "XPAuthor": 40093, "XPKeywords": 40094, "XPSubject": 40095}
DATES = {"DateTimeOriginal": 36867, "DateTimeDigitized": 36868}


def places() -> list[Place]:
    """Places of text first, then of dates and numbers."""
    makes: list[tuple[str, Make, Kind]] = []
    makes += [(f"exif-{name}", _main(tag), "text") for name, tag in IFD0.items()]
    makes += [(f"exif-{name}", _sub(tag), "text") for name, tag in EXIF.items()]
    makes += [(f"exif-{name}", _windows(tag), "text") for name, tag in WINDOWS.items()]
    makes += [(f"exif-{name}", _date(tag), "moment") for name, tag in DATES.items()]
    makes += [("exif-DateTime", _block(lambda c: ({306: ascii_(c.moment)}, {}, {}, {})), "moment")]
    makes += [(f"exif-{name}", make, "text") for name, make in _OTHER.items()]
    makes += [("exif-GPS-latitude", _block(lambda c: ({}, {}, _position(c), {})), "pair")]
    return [in_file(f"jpeg/APP1-{name}", "jpeg", "image.jpg", make, carries) for name, make, carries in makes]


Four = tuple[Entries, Entries, Entries, Entries]
"""IFD0, Exif, GPS and IFD1."""


def _block(entries: Callable[[Canary], Four]) -> Make:
    return lambda canary: exif_segment(canary, exif_block(*entries(canary)))


def _main(tag: int) -> Make:
    return _block(lambda c: ({tag: ascii_(c.text)}, {}, {}, {}))


def _sub(tag: int) -> Make:
    return _block(lambda c: ({}, {tag: ascii_(c.text)}, {}, {}))


def _windows(tag: int) -> Make:
    return _block(lambda c: ({tag: (BYTE, c.text.encode("utf-16-le") + b"\0\0")}, {}, {}, {}))


def _date(tag: int) -> Make:
    return _block(lambda c: ({}, {tag: ascii_(c.moment)}, {}, {}))


def _comment(charset: bytes, text: bytes) -> Value:
    return (UNDEFINED, charset + text)


def _position(canary: Canary) -> Entries:
    """Degrees, minutes and a fraction of a minute that nobody else has."""
    return {1: ascii_("N"), 2: rational(52, 1, 30, 1, *canary.pair), 3: ascii_("E"), 4: rational(13, 1, 5, 1, 0, 1)}


def _interoperability(canary: Canary) -> bytes:
    tiff = Tiff()
    inner = tiff.directory({1: ascii_("R98"), 4096: ascii_(canary.text)})
    exif = tiff.directory({40965: long(inner)})
    return exif_segment(canary, tiff.chain([tiff.directory({271: ascii_("bench"), 34665: long(exif)})]))


def _unlinked(canary: Canary) -> bytes:
    """A directory that nothing points to: what an editor leaves when it deletes a field."""
    tiff = Tiff()
    tiff.directory({315: ascii_(canary.text)})
    return exif_segment(canary, tiff.chain([tiff.directory({271: ascii_("bench")})]))


def _gap(canary: Canary) -> bytes:
    tiff = Tiff()
    tiff.put(canary.text.encode())
    return exif_segment(canary, tiff.chain([tiff.directory({271: ascii_("bench")})]))


def _thumbnail_exif(canary: Canary) -> bytes:
    inner = exif_block({315: ascii_(canary.text)}, {}, {}, {})
    small = after_jfif(coded(swatch("thumbnail")[::4, ::4].copy()), segment(0xE1, b"Exif\0\0" + inner))
    return exif_segment(canary, exif_block({}, {}, {}, {}, small))


_MAKER = b"Bench\0\0\0" + struct.pack("<H", 1)

_OTHER: dict[str, Make] = {
    "user-comment": _block(lambda c: ({}, {37510: _comment(b"ASCII\0\0\0", c.text.encode())}, {}, {})),
    "user-comment-unicode": _block(lambda c: ({}, {37510: _comment(b"UNICODE\0", c.text.encode("utf-16-le"))}, {}, {})),
    "maker-note": _block(lambda c: ({}, {37500: (UNDEFINED, _MAKER + c.text.encode())}, {}, {})),
    "padding-EA1C": _block(lambda c: ({0xEA1C: (UNDEFINED, c.text.encode())}, {}, {}, {})),
    "PrintIM": _block(lambda c: ({50341: (UNDEFINED, b"PrintIM\x000300\0\0" + c.text.encode())}, {}, {}, {})),
    "GPS-area": _block(lambda c: ({}, {}, {28: _comment(b"ASCII\0\0\0", c.text.encode())}, {})),
    "GPS-method": _block(lambda c: ({}, {}, {27: _comment(b"ASCII\0\0\0", c.text.encode())}, {})),
    "GPS-map-datum": _block(lambda c: ({}, {}, {18: ascii_(c.text)}, {})),
    "IFD1-description": _block(lambda c: ({}, {}, {}, {270: ascii_(c.text)})),
    "IFD1-thumbnail-COM": lambda c: exif_segment(c, exif_block({}, {}, {}, {}, thumbnail(c))),
    "IFD1-thumbnail-exif": _thumbnail_exif,
    "interoperability": _interoperability,
    "unlinked-directory": _unlinked,
    "gap": _gap,
    "text-after-NUL": _block(lambda c: ({315: ascii_("clean\0" + c.text)}, {}, {}, {})),
    "past-the-end": lambda c: exif_segment(c, exif_block({}, {}, {}, {}) + c.text.encode()),
}
