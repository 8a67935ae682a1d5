"""Hiding places in a HEIC, the format of phones (ISO 23008-12, ISO 14496-12): items, boxes, what follows the last box.

The picture is a grid of three tiles that share one coded picture of 64 x 64, as phones cut theirs into tiles; it was
coded once, since no encoder for it is at hand.  Not among the benchmark's places: for fuzzing.
"""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass

from benchmarks.deid import xmp_text
from benchmarks.deid.canary import Canary
from benchmarks.deid.place import Make
from benchmarks.deid.tiff_bytes import ascii_, exif_block

_SETTINGS = base64.b64decode(
    "AQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uA"
    "hoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIk="
)
_CODED = base64.b64decode(
    "AAAAeCgBrwngOhdvS5D3mV1/d+dl8CU/z//3oxT7vTv/y+j10Q09uJmihDs/Bpl/im9q5KmCJ2YspOa4eb/8lR8T10nwf/kIhqrr0YHZiivBraz2RivA"
    "mUq0wuCUXgMT60rT/8hDd/8hL55TV9wMnbPSBoziagYsl2petQ=="
)
_TILES, _SIDE = 3, 64
_GRID, _METADATA = 10, 20
"""Numbers of items: tiles are 1 to 3."""


def makes() -> dict[str, Make]:
    """Name -> writer."""
    return {
        "Exif": lambda c: heic(_Item(b"Exif", bytes(4) + exif_block({315: ascii_(c.text)}, {}, {}, {}))),
        "XMP": lambda c: heic(_Item(b"mime", xmp_text.packet(c.text), b"application/rdf+xml\0")),
        "item-name": lambda c: heic(_Item(b"mime", b"x", b"text/plain\0", c.text.encode())),
        "free-box": lambda c: heic() + box(b"free", c.text.encode()),
        "uuid-box": lambda c: heic() + box(b"uuid", bytes(range(16)) + c.text.encode()),
        "behind": lambda c: heic() + c.text.encode(),
        "one-tile-turned": lambda c: heic(_Item(b"Exif", bytes(4) + _artist(c)), turned=True),
    }


@dataclass(frozen=True)
class _Item:
    """Metadata of the picture."""

    kind: bytes
    content: bytes
    type: bytes = b""
    name: bytes = b""


def box(kind: bytes, *parts: bytes) -> bytes:
    """Size, four letters, content."""
    body = b"".join(parts)
    return struct.pack(">I", len(body) + 8) + kind + body


def heic(item: _Item | None = None, turned: bool = False) -> bytes:
    """A grid of three tiles, upright or turned by 90 degrees."""
    head = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    grid = struct.pack(">4B2H", 0, 0, 0, _TILES - 1, _TILES * _SIDE, _SIDE)
    contents = [_CODED, grid, item.content if item else b""]
    at = len(head) + len(_meta([0, 0, 0], contents, item, turned)) + 8
    starts = [at, at + len(_CODED), at + len(_CODED) + len(grid)]
    return head + _meta(starts, contents, item, turned) + box(b"mdat", *contents)


def _meta(starts: list[int], contents: list[bytes], item: _Item | None, turned: bool) -> bytes:
    tiles = range(1, _TILES + 1)
    places = [(tile, 0) for tile in tiles] + [(_GRID, 1)] + ([(_METADATA, 2)] if item else [])
    locations = b"".join(
        struct.pack(">HHHII", number, 0, 1, starts[which], len(contents[which])) for number, which in places
    )
    kinds = [_entry(tile, b"hvc1") for tile in tiles] + [_entry(_GRID, b"grid")]
    references = box(b"dimg", struct.pack(">HH3H", _GRID, _TILES, *tiles))
    if item:
        kinds.append(_entry(_METADATA, item.kind, item.name + b"\0" + item.type))
        references += box(b"cdsc", struct.pack(">3H", _METADATA, 1, _GRID))
    properties = [
        box(b"hvcC", _SETTINGS),
        box(b"ispe", struct.pack(">3I", 0, _SIDE, _SIDE)),
        box(b"ispe", struct.pack(">3I", 0, _TILES * _SIDE, _SIDE)),
        box(b"irot", b"\x01"),
    ]
    own = [(tile, (0x81, 2)) for tile in tiles] + [(_GRID, (3, 0x84) if turned else (3,))]
    linked = b"".join(struct.pack(">HB", number, len(used)) + bytes(used) for number, used in own)
    return box(
        b"meta",
        bytes(4),
        box(b"hdlr", bytes(8), b"pict", bytes(13)),
        box(b"pitm", struct.pack(">IH", 0, _GRID)),
        box(b"iloc", struct.pack(">IHH", 0, 0x4400, len(places)), locations),
        box(b"iinf", struct.pack(">IH", 0, len(kinds)), *kinds),
        box(b"iref", bytes(4), references),
        box(b"iprp", box(b"ipco", *properties), box(b"ipma", struct.pack(">II", 0, len(own)), linked)),
    )


def _entry(number: int, kind: bytes, words: bytes = b"\0") -> bytes:
    """Tiles are hidden, or they would be pictures of their own."""
    return box(b"infe", struct.pack(">IHH", 0x02000000 | (kind == b"hvc1"), number, 0), kind, words)


def _artist(canary: Canary) -> bytes:
    return exif_block({315: ascii_(canary.text)}, {}, {}, {})
