"""A fresh tiled TIFF, written tile by tile: header, then for each page its tiles and its IFD, and not a byte between.

(tifffile cannot write tiles that are already coded as JPEG without the imagecodecs package, which we do without.)
Little-endian; BigTIFF where asked.  The caller names every tag; none is added but the tiles' places.
Source: TIFF 6.0, sections 2 and 15; BigTIFF proposal (libtiff).
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final, Literal

from cytoline.deid.slide.refusal import CannotRecreate

Kind = Literal[3, 4, 5, 16]
SHORT: Final = 3
LONG: Final = 4
RATIONAL: Final = 5
LONG8: Final = 16
_CODES = {SHORT: "H", LONG: "I", RATIONAL: "I", LONG8: "Q"}
TILE_OFFSETS, TILE_BYTE_COUNTS = 324, 325
CLASSIC_LIMIT = 2**32 - 1


@dataclass(frozen=True)
class Field:
    """A tag's value; a RATIONAL has two numbers for each."""

    kind: Kind
    values: tuple[int, ...] | array[int]

    @property
    def packed(self) -> bytes:
        return struct.pack(f"<{len(self.values)}{_CODES[self.kind]}", *self.values)

    @property
    def count(self) -> int:
        return len(self.values) // (2 if self.kind == RATIONAL else 1)


class PyramidWriter:
    """Writes pages one after the other into ``handle``, an empty file opened for writing in binary."""

    def __init__(self, handle: BinaryIO, big: bool) -> None:
        self._handle = handle
        self._big = big
        self._handle.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0) if big else struct.pack("<2sHI", b"II", 42, 0))
        self._at = 16 if big else 8
        self._link = self._at - (8 if big else 4)
        """Where the place of the next IFD goes."""

    def add_page(self, fields: Mapping[int, Field], tiles: Iterable[bytes]) -> None:
        """Write the tiles as they come, then the IFD.  Raises ``CannotRecreate`` beyond 4 GiB where not ``big``."""
        offsets, counts = array("Q"), array("Q")
        for tile in tiles:
            offsets.append(self._at)
            counts.append(len(tile))
            self._write(tile)
        place: Kind = LONG8 if self._big else LONG
        self._write_ifd({**fields, TILE_OFFSETS: Field(place, offsets), TILE_BYTE_COUNTS: Field(LONG, counts)})

    def _write_ifd(self, fields: Mapping[int, Field]) -> None:
        self._align()
        inline = 8 if self._big else 4
        start = self._at
        entries, later = bytearray(), bytearray()
        after = start + (8 + 20 * len(fields) + 8 if self._big else 2 + 12 * len(fields) + 4)
        for tag, field in sorted(fields.items()):
            value = field.packed
            if len(value) > inline:
                where = after + len(later)
                later += value + bytes(len(value) % 2)
                value = struct.pack("<Q" if self._big else "<I", where)
            entries += struct.pack("<HHQ" if self._big else "<HHI", tag, field.kind, field.count)
            entries += value.ljust(inline, b"\0")
        self._write(struct.pack("<Q" if self._big else "<H", len(fields)) + entries + bytes(inline) + later)
        self._handle.seek(self._link)
        self._handle.write(struct.pack("<Q" if self._big else "<I", start))
        self._handle.seek(self._at)
        self._link = after - inline

    def _align(self) -> None:
        """IFDs begin on a word boundary."""
        self._write(bytes(self._at % 2))

    def _write(self, content: bytes) -> None:
        if not self._big and self._at + len(content) > CLASSIC_LIMIT:
            raise CannotRecreate("too_large")
        self._handle.write(content)
        self._at += len(content)
