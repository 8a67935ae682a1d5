"""The structure of a TIFF or BigTIFF, read with a distrust of every number in it.

Only what the picture needs is understood: tags and where their values are.  Sources: TIFF 6.0, sections 2, 7, 15 and
the BigTIFF proposal (libtiff).  Nothing is read beyond the file and nothing is allocated by what a header claims.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cytoline.deid.slide.refusal import CannotRecreate

MAX_ENTRIES = 512
"""Tags in one IFD; slides have 20 to 60."""
TILE_WIDTH, TILE_OFFSETS, SUB_IFDS, NDPI_VERSION = 322, 324, 330, 65420

_INTEGERS = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
"""BYTE, SHORT, LONG, IFD, LONG8, IFD8.  Signed and floating kinds have no place in what the picture needs."""
_RATIONAL = 5
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


class Source:
    """A file that is read by position, never beyond its end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def read(self, at: int, count: int) -> bytes:
        """Exactly ``count`` bytes.  Raises ``CannotRecreate`` ("damaged") where there are fewer."""
        if at < 0 or count < 0 or at + count > self.size:
            raise CannotRecreate("damaged")
        content = bytearray()
        while len(content) < count:  # one pread gives at most 2 GiB
            part = os.pread(self._descriptor, count - len(content), at + len(content))
            if not part:
                raise CannotRecreate("damaged")
            content += part
        return bytes(content)


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """The file as a ``Source``; only regular files (a pipe or a device could give without end)."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise CannotRecreate("not_a_tiff")
        yield Source(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class _Layout:
    """What differs between byte orders and between TIFF and BigTIFF."""

    order: str
    big: bool

    def number(self, source: Source, at: int, size: int) -> int:
        return int.from_bytes(source.read(at, size), "little" if self.order == "<" else "big")


@dataclass(frozen=True)
class _Entry:
    kind: int
    count: int
    at: int
    """Where the values are, in the entry itself or elsewhere."""


class Page:
    """One IFD: its tags, asked for by number."""

    def __init__(self, source: Source, layout: _Layout, entries: dict[int, _Entry]) -> None:
        self.source = source
        self._layout = layout
        self._entries = entries

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    def integers(self, tag: int, most: int) -> NDArray[np.uint64]:
        """The values of an integer tag, empty where it is absent.  Refused if there are more than ``most``."""
        entry = self._entries.get(tag)
        if entry is None:
            return np.zeros(0, np.uint64)
        if entry.kind not in _INTEGERS or entry.count > most:
            raise CannotRecreate("damaged")
        content = self.source.read(entry.at, entry.count * _BYTES[entry.kind])
        return np.frombuffer(content, self._layout.order + _INTEGERS[entry.kind]).astype(np.uint64)

    def integer(self, tag: int, default: int | None = None) -> int:
        """The one value of a tag.  Refused if it has several, or none and there is no default."""
        values = self.integers(tag, 1)
        if not len(values):
            if default is None:
                raise CannotRecreate("damaged")
            return default
        return int(values[0])

    def ratio(self, tag: int) -> float | None:
        """The value of a RATIONAL tag, None where it is absent, of another kind, or no number."""
        entry = self._entries.get(tag)
        if entry is None or entry.kind != _RATIONAL or entry.count != 1:
            return None
        above, below = (self._layout.number(self.source, entry.at + shift, 4) for shift in (0, 4))
        return above / below if below else None

    def raw(self, tag: int, most: int) -> bytes:
        """The first ``most`` bytes of a tag of single bytes; empty where it is absent or of another kind."""
        entry = self._entries.get(tag)
        if entry is None or _BYTES[entry.kind] != 1:
            return b""
        return self.source.read(entry.at, min(entry.count, most))

    @property
    def tiled(self) -> bool:
        return TILE_WIDTH in self and TILE_OFFSETS in self


def pages(source: Source, most: int) -> Iterator[Page]:
    """The chain of IFDs, each followed by its SubIFDs (OME-TIFF keeps the reductions there).

    Raises ``CannotRecreate`` on loops, wild offsets and more than ``most`` pages.
    """
    layout, first = _header(source)
    seen: set[int] = set()
    at = first
    while at:
        page, at = _page(source, layout, at, seen, most)
        yield page
        for child in page.integers(SUB_IFDS, most).tolist():
            yield _page(source, layout, child, seen, most)[0]


def _header(source: Source) -> tuple[_Layout, int]:
    if source.size < 8:
        raise CannotRecreate("not_a_tiff")
    magic = source.read(0, 4)
    order = {b"II": "<", b"MM": ">"}.get(magic[:2])
    if order is None:
        raise CannotRecreate("not_a_tiff")
    version = int.from_bytes(magic[2:], "little" if order == "<" else "big")
    layout = _Layout(order, version == 43)
    if version == 42:
        return layout, layout.number(source, 4, 4)
    if version == 43 and layout.number(source, 4, 2) == 8 and layout.number(source, 6, 2) == 0:
        return layout, layout.number(source, 8, 8)
    raise CannotRecreate("not_a_tiff")


def _page(source: Source, layout: _Layout, at: int, seen: set[int], most: int) -> tuple[Page, int]:
    """The IFD at ``at``, and where the next one is (0: nowhere)."""
    if at in seen or len(seen) >= most:
        raise CannotRecreate("damaged")
    seen.add(at)
    head, size, inline = (8, 20, 8) if layout.big else (2, 12, 4)
    count = layout.number(source, at, head)
    if not 1 <= count <= MAX_ENTRIES:
        raise CannotRecreate("damaged")
    entries: dict[int, _Entry] = {}
    for start in range(at + head, at + head + count * size, size):
        tag, kind = layout.number(source, start, 2), layout.number(source, start + 2, 2)
        if kind not in _BYTES or tag in entries:
            raise CannotRecreate("damaged")
        values = layout.number(source, start + 4, inline)
        where = start + 4 + inline
        if values * _BYTES[kind] > inline:
            where = layout.number(source, where, inline)
        entries[tag] = _Entry(kind, values, where)
    return Page(source, layout, entries), layout.number(source, at + head + count * size, inline)
