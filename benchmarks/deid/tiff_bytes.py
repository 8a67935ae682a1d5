"""TIFF 6.0 and BigTIFF directories byte by byte, also for the Exif block of other formats (little-endian)."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from cytoline.images import RGB

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, IFD = 1, 2, 3, 4, 5, 7, 13
_SIZE = {BYTE: 1, ASCII: 1, SHORT: 2, LONG: 4, RATIONAL: 8, UNDEFINED: 1, IFD: 4, 9: 4, 11: 4, 12: 8, 16: 8}

Value = tuple[int, bytes]
"""(type, little-endian bytes)"""
Entries = dict[int, Value]


def ascii_(text: str) -> Value:
    """With its closing NUL."""
    return (ASCII, text.encode() + b"\0")


def short(*values: int) -> Value:
    """16-bit numbers."""
    return (SHORT, struct.pack(f"<{len(values)}H", *values))


def long(*values: int) -> Value:
    """32-bit numbers."""
    return (LONG, struct.pack(f"<{len(values)}I", *values))


def rational(*values: int) -> Value:
    """Numerators and denominators in turn."""
    return (RATIONAL, struct.pack(f"<{len(values)}I", *values))


class Tiff:
    """A file that grows: data and directories are put into it, then chained."""

    def __init__(self, big: bool = False) -> None:
        self.big = big
        self.out = bytearray(b"II+\0\x08\0\0\0" + bytes(8) if big else b"II*\0" + bytes(4))
        self._next: dict[int, int] = {}
        self._offset, self._count = ("<Q", "<Q") if big else ("<I", "<H")

    def put(self, data: bytes) -> int:
        """Append at an even offset, which is returned."""
        self.out += bytes(len(self.out) % 2)
        at = len(self.out)
        self.out += data
        return at

    def directory(self, entries: Entries) -> int:
        """Append a directory after its long values; returns its offset.  It is in no chain yet."""
        room = struct.calcsize(self._offset)
        table = bytearray(struct.pack(self._count, len(entries)))
        for tag, (kind, value) in sorted(entries.items()):
            table += struct.pack("<HH", tag, kind) + struct.pack(self._offset, len(value) // _SIZE[kind])
            table += value.ljust(room, b"\0") if len(value) <= room else struct.pack(self._offset, self.put(value))
        at = self.put(bytes(table) + bytes(room))
        self._next[at] = at + len(table)
        return at

    def chain(self, directories: Sequence[int]) -> bytes:
        """Point the header to the first directory and each to its follower; returns the file."""
        places = [8 if self.big else 4, *(self._next[at] for at in directories)]
        for place, target in zip(places, [*directories, 0], strict=True):
            struct.pack_into(self._offset, self.out, place, target)
        return bytes(self.out)

    def page(self, rgb: RGB, extra: Entries | None = None, surplus: bytes = b"") -> int:
        """A directory with one uncompressed strip; ``surplus`` lies in the strip after the last row."""
        height, width, _ = rgb.shape
        pixels = rgb.tobytes() + surplus
        base: Entries = {
            256: long(width),
            257: long(height),
            258: short(8, 8, 8),
            259: short(1),
            262: short(2),
            273: long(self.put(pixels)),
            277: short(3),
            278: long(height),
            279: long(len(pixels)),
        }
        return self.directory({**base, **(extra or {})})


def exif_block(main: Entries, exif: Entries, gps: Entries, second: Entries, thumbnail: bytes = b"") -> bytes:
    """An Exif block: the main directory with its two sub-directories, and IFD1 where ``second`` has entries."""
    tiff = Tiff()
    main = {271: ascii_("bench"), **main}
    if exif:
        main[34665] = long(tiff.directory(exif))
    if gps:
        main[34853] = long(tiff.directory(gps))
    chained = [tiff.directory(main)]
    if thumbnail:
        second = {259: short(6), 513: long(tiff.put(thumbnail)), 514: long(len(thumbnail)), **second}
    if second:
        chained.append(tiff.directory(second))
    return tiff.chain(chained)
