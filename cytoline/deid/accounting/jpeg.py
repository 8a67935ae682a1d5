"""Accounts for every byte of a JPEG: only tables, frame and scans, and in the scans only the picture's blocks.

Proven by counting: lengths are exact, each table entry serves a coded block or is the standard's own, each stretch
of a scan ends with its last block, filled up with ones.  Allowed besides: a JFIF header without a thumbnail and
Adobe's colour flag without its other words.

What the blocks at the right and lower edge say beyond the picture is looked at by ``beyond``.
Not proven: values that decoders clamp; in progressive scans how runs of empty blocks are split, and the averages of
blocks beyond the edge.
Sources: ITU-T T.81 Annex B; ITU-T T.871 (JFIF); T.872 6.5.3 (Adobe).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from cytoline.deid.accounting import beyond
from cytoline.deid.accounting.entropy import MAX_BLOCKS_IN_UNIT, Part, walk_sequential
from cytoline.deid.accounting.jpeg_frame import BASELINE, EXTENDED, PROGRESSIVE, Band, Component, Frame, read_frame
from cytoline.deid.accounting.jpeg_tables import AC, DC, Tables
from cytoline.deid.accounting.progressive import Progressive
from cytoline.deid.accounting.source import DamagedError, Source, SurplusError, cut
from cytoline.deid.finding import Finding, Why

_SOI, _EOI, _SOS, _DQT, _DHT, _DRI = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_DHT, 0xC8, 0xCC}
_NAMES = {
    **{0xE0 + number: f"APP{number}" for number in range(16)},
    **{0xF0 + number: f"JPG{number}" for number in range(14)},
    0xC8: "JPG",
    0xCC: "DAC",
    0xDC: "DNL",
    0xDE: "DHP",
    0xDF: "EXP",
    0xFE: "COM",
}
_MAX_DENSITY = 10_000
_SCAN = re.compile(rb"(?:[^\xff]+|\xff[\x00\xd0-\xd7])*+", re.DOTALL)
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")


@dataclass
class Budget:
    """How many bytes of scans may still be walked (25 MB a second, 1 of progressive ones)."""

    left: int

    def takes(self, size: int) -> bool:
        """Whether there is room; what does not fit is not subtracted."""
        if size > self.left:
            return False
        self.left -= size
        return True


def findings(
    content: Source,
    place: str = "jpeg",
    budget: Budget | None = None,
    tables: Tables | None = None,
    size: tuple[int, int] | None = None,
    samples: int | None = None,
    inside: tuple[int, int] | None = None,
    raw_tables: bytes = b"",
) -> list[Finding]:
    """What a JPEG holds besides pixels.

    For one inside a TIFF: the page's tables, the size it must have, and how much of it the picture shows.
    """
    walker = _Walker(content, place, budget or Budget(len(content)), Tables(tables))
    walker.walk()
    frame = walker.frame
    if frame and not walker.found and walker.hides(inside or (frame.width, frame.height), raw_tables):
        walker.add("edge", "unused")
    if frame and ((size and size != (frame.width, frame.height)) or (samples and samples != len(frame.components))):
        walker.add("SOF", "value")
    return sorted(walker.found)


def table_findings(content: bytes, place: str) -> tuple[Tables, list[Finding]]:
    """The tables of a TIFF's JPEGTables field; whoever used them calls ``close`` and asks for the unexplained."""
    walker = _Walker(content, place, Budget(0), Tables(), bare=True)
    walker.walk()
    return walker.tables, sorted(walker.found)


@dataclass
class _Walker:
    content: Source
    place: str
    budget: Budget
    tables: Tables
    bare: bool = False
    """Tables only: neither frame nor scan."""
    found: set[Finding] = field(default_factory=set)
    frame: Frame | None = None
    frame_at: int = 0
    """Where the body of the frame header begins."""
    interleaved: bool = False
    """All components in one scan."""
    interval: int = 0
    idle_interval: bool = False
    """A DRI that no scan has used yet."""
    scanned: set[int] = field(default_factory=set)
    seen: set[int] = field(default_factory=set)
    progressive: Progressive | None = None

    def add(self, part: str, why: Why) -> None:
        self.found.add(Finding(f"{self.place}:{part}", why))

    def hides(self, inside: tuple[int, int], raw_tables: bytes) -> bool:
        """Whether something lies beyond what the picture shows."""
        assert self.frame is not None
        size = beyond.coded_size(self.frame, self.interleaved)
        if size == inside:
            return False
        return beyond.hides(self.content[:], self.frame_at, size, inside, raw_tables[2:-2])

    def walk(self) -> None:
        try:
            if self._segments() != len(self.content):
                self.add("end", "trailing")
            if not self.bare:
                self._close()
        except DamagedError:
            self.add("structure", "damaged")
        except _UnsupportedError:
            pass  # noted where it was met; the rest cannot be looked at

    def _segments(self) -> int:
        """To the end marker; the position behind it."""
        if cut(self.content, 0, 2) != b"\xff\xd8":
            raise DamagedError
        at = 2
        while True:
            at = self._next_marker(at)
            marker = self.content[at + 1]
            if marker == _EOI:
                return at + 2
            if marker < 0xC0 or 0xD0 <= marker <= _SOI:
                raise DamagedError
            size = int.from_bytes(cut(self.content, at + 2, 2), "big")
            body = cut(self.content, at + 4, size - 2)
            at += 2 + size
            if marker == _SOS:
                at = self._scan(body, at)
            else:
                self.frame_at = at - len(body) if marker in _FRAMES else self.frame_at
                self._segment(marker, body)
                self.seen.add(marker)

    def _next_marker(self, at: int) -> int:
        if cut(self.content, at, 2)[0] != 0xFF:
            self.add("gap", "unused")
            at = self.content.find(b"\xff", at)
        start = at
        while cut(self.content, at, 2) == b"\xff\xff":
            at += 1
        if at != start:
            self.add("fill", "unused")
        return at

    def _segment(self, marker: int, body: bytes) -> None:
        if marker == _DQT:
            self.tables.define_quantisers(body)
        elif marker == _DHT:
            self.tables.define_codes(body)
        elif marker == _DRI and not self.bare:
            self._restart_interval(body)
        elif marker in _FRAMES and not self.bare:
            self._start_frame(marker, body)
        elif marker == 0xE0 and not self.bare and self.seen.isdisjoint(_FRAMES | {0xE0}) and body[:5] == b"JFIF\0":
            if not _is_bare_jfif(body):
                self.add("APP0", "value")
        elif marker == 0xEE and not self.bare and 0xEE not in self.seen and body[:5] == b"Adobe":
            if len(body) != 12 or body[5:11] != b"\0\x64\0\0\0\0" or body[11] > 2:
                self.add("APP14", "value")
        else:
            self.add(_NAMES.get(marker, "marker"), "metadata")

    def _restart_interval(self, body: bytes) -> None:
        if len(body) != 2 or self.idle_interval:
            self.add("DRI", "unused")
        self.interval, self.idle_interval = int.from_bytes(body[:2], "big"), True

    def _start_frame(self, marker: int, body: bytes) -> None:
        if marker not in (BASELINE, EXTENDED, PROGRESSIVE):
            self.add("SOF", "unsupported")
            raise _UnsupportedError
        if self.frame:
            raise DamagedError
        self.frame = read_frame(marker, body)
        if not self.frame.is_usually_numbered():
            self.add("SOF", "value")

    def _scan(self, body: bytes, at: int) -> int:
        """Check one scan; the position behind it."""
        frame = self.frame
        if self.bare or frame is None or not body or len(body) != 4 + 2 * body[0] or not 1 <= body[0] <= 4:
            raise DamagedError
        chosen = [item for ident in body[1:-3:2] for item in frame.components if item.ident == ident]
        if len(chosen) != body[0] or len({item.ident for item in chosen}) != body[0]:
            raise DamagedError
        if len(chosen) > 1 and sum(item.across * item.down for item in chosen) > MAX_BLOCKS_IN_UNIT:
            raise DamagedError
        matched = _SCAN.match(self.content, at)
        end = matched.end() if matched else at
        self.interleaved = self.interleaved or len(chosen) == len(frame.components)
        across, down = frame.units(chosen)
        if (end - at) * 8 < across * down and frame.marker != PROGRESSIVE:
            raise DamagedError  # each block takes two bits at least: cut short
        data, stretches = self._stretches(self.content[at:end], across * down)
        band = Band(body[-3], body[-2], body[-1] >> 4, body[-1] & 15)
        if not self.budget.takes(end - at):
            self.add("scan", "unsupported")
            raise _UnsupportedError
        try:
            if frame.marker == PROGRESSIVE:
                self._walk_progressive(data, stretches, chosen, body[2:-3:2], band)
            else:
                self._walk_sequential(data, stretches, chosen, body[2:-3:2], band)
        except SurplusError:
            self.add("scan", "unused")
        return end

    def _stretches(self, scan: bytes, units: int) -> tuple[bytes, list[tuple[int, int]]]:
        """The coded bytes without stuffing and restart markers; where each stretch ends, and its units."""
        self.idle_interval = False
        if self.interval > units:
            self.add("DRI", "value")
        pieces = _RESTART.split(scan)
        numbers = [found.group()[1] & 7 for found in _RESTART.finditer(scan)]
        if len(pieces) != (-(-units // self.interval) if self.interval else 1):
            raise DamagedError
        if any(number != index % 8 for index, number in enumerate(numbers)):
            raise DamagedError
        plain = [piece.replace(b"\xff\0", b"\xff") for piece in pieces]
        stretches, end = [], 0
        for index, piece in enumerate(plain):
            end += len(piece)
            left = units - index * self.interval
            stretches.append((end, min(self.interval, left) if self.interval else left))
        return b"".join(plain), stretches

    def _walk_sequential(
        self, data: bytes, stretches: list[tuple[int, int]], chosen: list[Component], slots: bytes, band: Band
    ) -> None:
        assert self.frame is not None
        idents = {item.ident for item in chosen}
        if idents & self.scanned:
            raise DamagedError
        self.scanned |= idents
        if band != Band(0, 63, 0, 0):
            self.add("SOS", "value")
        parts = [
            Part(
                self.tables.code(DC, slot >> 4),
                self.tables.code(AC, slot & 15),
                self.tables.quantiser(item.quantiser),
                item.across * item.down if len(chosen) > 1 else 1,
            )
            for item, slot in zip(chosen, slots, strict=True)
        ]
        walk_sequential(data, stretches, parts, self.frame.precision)

    def _walk_progressive(
        self, data: bytes, stretches: list[tuple[int, int]], chosen: list[Component], slots: bytes, band: Band
    ) -> None:
        assert self.frame is not None
        if self.progressive is None:
            self.progressive = Progressive(self.frame)
        self.progressive.walk(data, stretches, chosen, slots, band, self.tables)
        self.scanned |= {item.ident for item in chosen}

    def _close(self) -> None:
        if self.frame is None or self.scanned != {item.ident for item in self.frame.components}:
            self.add("structure", "damaged")
        if self.idle_interval:
            self.add("DRI", "unused")
        if self.progressive:
            self.progressive.note(self.tables)
        self.tables.close()
        for name in self.tables.unexplained:
            self.add(name, "unused")


class _UnsupportedError(Exception):
    """Something that ends the walk and has been noted as a finding."""


def _is_bare_jfif(body: bytes) -> bool:
    """Version 1.0 to 1.2, a square density that is a number and no text, no thumbnail."""
    across, down = int.from_bytes(body[8:10], "big"), int.from_bytes(body[10:12], "big")
    plain = len(body) == 14 and body[5] == 1 and body[6] <= 2 and body[7] <= 2 and body[12:] == b"\0\0"
    return plain and across == down and 1 <= across <= _MAX_DENSITY
