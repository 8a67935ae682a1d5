"""Accounts for every byte of a PNG: header, pixels, palette, a few numbers about colour and size, end.

Only what every viewer shows counts as a pixel: all must be opaque, the lower half of 16-bit samples must repeat the
upper one (or be nothing), no two palette entries may be the same colour.  Not proven: see ``inflate``.
Source: PNG, third edition (W3C), 5 and 11.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from cytoline.deid.accounting.inflate import inflated
from cytoline.deid.accounting.numbers import is_short
from cytoline.deid.accounting.source import DamagedError, Source, SurplusError, cut
from cytoline.deid.finding import Finding, Why

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PALETTE = 3
_WITH_ALPHA = (4, 6)
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row, steps across and down of the seven passes."""
_ONCE = (b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"sRGB", b"cHRM", b"pHYs", b"sBIT", b"IEND")
_TEXTS = frozenset({"tEXt", "zTXt", "iTXt", "eXIf", "iCCP", "tIME", "sPLT", "hIST", "bKGD", "cICP"})
_FRAMES = frozenset({"acTL", "fcTL", "fdAT"})
"""Names worth telling apart in a report; any other chunk is ``png:other``."""
_GAMMAS = frozenset({100_000, 45_455, 45_454, 55_556, 55_555})
_SRGB = (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)
"""White and primaries; other profiles than sRGB are mapped to it."""
MAX_PIXELS_PER_METRE = 10**8
"""A hundredth of a micron; less than any four characters of text make as a number."""
_MAX_INTERPRETED = 1 << 24
"""Bytes of pixels of a palette or below 8 bits, which are unfiltered to see what they use; more are unsupported."""
_MAX_DECODED = 1 << 30
"""The same with transparency or 16 bits."""


def findings(content: Source) -> list[Finding]:
    """What a PNG holds besides pixels."""
    walker = _Walker(content)
    try:
        walker.walk()
    except DamagedError:
        walker.add("structure", "damaged")
    return sorted(walker.found)


@dataclass
class _Walker:
    content: Source
    found: set[Finding] = field(default_factory=set)
    chunks: list[tuple[bytes, int, int]] = field(default_factory=list)
    """Name, start and size of each body."""
    width: int = 0
    height: int = 0
    depth: int = 8
    colour: int = 2
    interlaced: bool = False
    entries: int = 0
    """In the palette."""

    def add(self, part: str, why: Why) -> None:
        self.found.add(Finding(f"png:{part}", why))

    def walk(self) -> None:
        end = self._split()
        if end != len(self.content):
            self.add("end", "trailing")
        if not self.chunks or self.chunks[0][0] != b"IHDR" or self.chunks[0][2] != 13:
            raise DamagedError
        self._header(cut(self.content, self.chunks[0][1], 13))
        self._order()
        for name, start, size in self.chunks[1:]:
            if name not in (b"IDAT", b"IEND"):
                self._chunk(name, cut(self.content, start, size))
            elif not size and name == b"IDAT":
                self.add("IDAT", "unused")
            elif size and name == b"IEND":
                self.add("IEND", "unused")
        self._pixels()

    def _split(self) -> int:
        at = 8
        while True:
            size = int.from_bytes(cut(self.content, at, 4), "big")
            name = cut(self.content, at + 4, 4)
            checksum = zlib.crc32(name)
            cut(self.content, at + 8 + size, 4)
            for start in range(at + 8, at + 8 + size, 1 << 20):
                checksum = zlib.crc32(cut(self.content, start, min(1 << 20, at + 8 + size - start)), checksum)
            if int.from_bytes(cut(self.content, at + 8 + size, 4), "big") != checksum:
                self.add("checksum", "value")
            self.chunks.append((name, at + 8, size))
            at += 12 + size
            if name == b"IEND":
                return at

    def _header(self, body: bytes) -> None:
        self.width, self.height = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
        self.depth, self.colour, self.interlaced = body[8], body[9], body[12] == 1
        usual = body[10] == body[11] == 0 and body[12] <= 1 and self.depth in _DEPTHS.get(self.colour, ())
        if not (usual and 0 < self.width < 1 << 31 and 0 < self.height < 1 << 31):
            raise DamagedError

    def _order(self) -> None:
        names = [name for name, _, _ in self.chunks]
        for name in _ONCE:
            if names.count(name) > 1:
                self.add(name.decode(), "unused")
        pixels = [index for index, name in enumerate(names) if name == b"IDAT"]
        if not pixels:
            raise DamagedError
        if pixels[-1] - pixels[0] != len(pixels) - 1 or names[-2] != b"IDAT":
            self.add("structure", "value")

    def _chunk(self, name: bytes, body: bytes) -> None:
        known = name.decode("latin-1")
        if name == b"PLTE":
            self.entries = len(body) // 3
            if self.colour != _PALETTE:
                self.add(known, "unused")
            elif len(body) % 3 or not 1 <= self.entries <= 1 << self.depth:
                self.add(known, "value")
            elif len({body[at : at + 3] for at in range(0, len(body), 3)}) != self.entries:
                self.add(known, "value")  # a picture drawn in two entries of one colour
        elif name == b"tRNS":
            # A single transparent colour (other types) is up to six free bytes.
            if self.colour != _PALETTE or not 1 <= len(body) <= self.entries or set(body) != {255}:
                self.add(known, "value")
        elif name in (b"gAMA", b"sRGB", b"cHRM", b"pHYs", b"sBIT"):
            if not self._is_plain(name, body):
                self.add(known, "value")
        else:
            self.add(known if known in _TEXTS | _FRAMES else "other", "metadata")

    def _is_plain(self, name: bytes, body: bytes) -> bool:
        words = [int.from_bytes(body[at : at + 4], "big") for at in range(0, len(body) - 3, 4)]
        if name == b"gAMA":
            return len(body) == 4 and words[0] in _GAMMAS
        if name == b"sRGB":
            return len(body) == 1 and body[0] <= 3
        if name == b"cHRM":
            return len(body) == 32 and tuple(words) == _SRGB
        if name == b"pHYs":
            square = len(body) == 9 and words[0] == words[1] and body[8] <= 1
            return square and 1 <= words[0] <= MAX_PIXELS_PER_METRE and is_short(words[0])
        channels = 3 if self.colour == _PALETTE else _CHANNELS[self.colour]
        return len(body) == channels and set(body) == {8 if self.colour == _PALETTE else self.depth}

    def _passes(self) -> list[tuple[int, int]]:
        """Width and height of each pass that has pixels."""
        if not self.interlaced:
            return [(self.width, self.height)]
        sizes = [(-(-(self.width - x) // dx), -(-(self.height - y) // dy)) for x, y, dx, dy in _ADAM7]
        return [(across, down) for across, down in sizes if across > 0 and down > 0]

    def _row(self, across: int) -> int:
        return -(-across * self.depth * _CHANNELS[self.colour] // 8)

    def _pixels(self) -> None:
        packed = (
            cut(self.content, start + at, min(1 << 20, size - at))
            for name, start, size in self.chunks
            if name == b"IDAT"
            for at in range(0, size, 1 << 20)
        )
        expected = sum(down * (1 + self._row(across)) for across, down in self._passes())
        pieces = inflated(packed, expected)
        interpret = self.colour == _PALETTE or self.depth < 8
        if interpret and expected > _MAX_INTERPRETED:
            self.add("IDAT", "unsupported")
            return
        try:
            if interpret:
                self._interpret(b"".join(pieces))
            else:
                self._filters(pieces)
        except SurplusError:
            self.add("IDAT", "unused")
        else:
            if self.colour in _WITH_ALPHA or self.depth == 16:
                self._unseen(expected)

    def _unseen(self, size: int) -> None:
        """What lies under transparency, or below the eight bits that are shown."""
        if size > _MAX_DECODED:
            self.add("IDAT", "unsupported")
            return
        pixels = cv2.imdecode(np.frombuffer(self.content[:], np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None or pixels.shape[:2] != (self.height, self.width):
            raise DamagedError
        if self.colour in _WITH_ALPHA:
            if pixels.ndim != 3 or pixels.shape[2] != 4:
                raise DamagedError
            if int(pixels[:, :, 3].min()) != (65_535 if pixels.dtype == np.uint16 else 255):
                self.add("IDAT/transparent", "unused")
        if pixels.dtype == np.uint16:
            low = pixels & 0xFF
            if low.any() and not np.array_equal(low, pixels >> 8):
                self.add("IDAT/low", "unused")

    def _filters(self, pieces: Iterator[bytes]) -> None:
        """The byte before each row names one of five filters."""
        rows = iter([(1 + self._row(across), down) for across, down in self._passes()])
        stride, left = next(rows)
        due = 0
        for piece in pieces:
            while due < len(piece):
                here = min(left, -(-(len(piece) - due) // stride))
                if max(piece[due : due + here * stride : stride]) > 4:
                    self.add("IDAT", "value")
                due += here * stride
                left -= here
                if not left:
                    stride, left = next(rows, (1, 1 << 62))
            due -= len(piece)

    def _interpret(self, pixels: bytes) -> None:
        """Which palette entries are used; bits behind a row's last pixel must be 0."""
        used: set[int] = set()
        at = 0
        for across, down in self._passes():
            row = self._row(across)
            plain = _unfiltered(pixels[at : at + down * (row + 1)], row)
            at += down * (row + 1)
            idle = row * 8 - across * self.depth
            if idle and (plain[:, -1] & ((1 << idle) - 1)).any():
                self.add("IDAT", "unused")
            if self.colour == _PALETTE:
                used.update(_indices(plain, across, self.depth))
        if self.colour == _PALETTE:
            if max(used) >= self.entries:
                self.add("IDAT", "value")
            if len(used) < self.entries:
                self.add("PLTE", "unused")


def _indices(rows: NDArray[np.uint8], across: int, depth: int) -> set[int]:
    """Palette indices that occur; several share a byte below 8 bits, the first one in its high bits."""
    used: set[int] = set()
    each = 8 // depth
    for place in range(min(each, across)):
        count = -(-(across - place) // each)
        used.update(np.unique(rows[:, :count] >> (8 - depth * (place + 1)) & ((1 << depth) - 1)).tolist())
    return used


def _unfiltered(pixels: bytes, row: int) -> NDArray[np.uint8]:
    """Rows of one byte per step (all samples here are at most 8 bits of one channel).  PNG 9.2."""
    rows = np.frombuffer(pixels, np.uint8).reshape(-1, row + 1)
    out = np.zeros((len(rows), row), np.uint8)
    above: NDArray[np.uint8] = np.zeros(row, np.uint8)
    for index, (kind, coded) in enumerate(zip(rows[:, 0].tolist(), rows[:, 1:], strict=True)):
        if kind == 0:
            above = coded
        elif kind == 1:
            above = np.cumsum(coded, dtype=np.uint8)
        elif kind == 2:
            above = coded + above
        elif kind in (3, 4):
            above = np.frombuffer(_by_neighbours(kind, coded.tobytes(), above.tobytes()), np.uint8)
        else:
            raise DamagedError
        out[index] = above
    return out


def _by_neighbours(kind: int, coded: bytes, above: bytes) -> bytes:
    out, left, corner = bytearray(), 0, 0
    for byte, up in zip(coded, above, strict=True):
        if kind == 3:
            guess = (left + up) // 2
        else:
            away = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
            guess = (left, up, corner)[away.index(min(away))]
        left, corner = (byte + guess) & 0xFF, up
        out.append(left)
    return bytes(out)
