"""Accounts for every byte of a TIFF: classic and BigTIFF, both byte orders, so also SVS and NDPI slides.

Each page may have fields from a closed list (``tiff_tags``) and tiles or strips with pixels only (``tiff_tiles``);
pages must be one picture and reductions of it by powers of two, because labels, overviews and thumbnails come as
further pages.  There may be no SubIFDs: most viewers do not show what is in them.
Each byte must be referred to, and none twice, except by tiles that share one range.
Sources: see ``tiff_ifd``, ``tiff_tags``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from cytoline.deid.accounting import jpeg, tiff_tiles
from cytoline.deid.accounting import tiff_tags as tags
from cytoline.deid.accounting.coverage import Coverage, distinct
from cytoline.deid.accounting.jpeg import Budget
from cytoline.deid.accounting.jpeg_tables import Tables
from cytoline.deid.accounting.source import DamagedError, Source, cut
from cytoline.deid.accounting.tiff_grid import Grid
from cytoline.deid.accounting.tiff_ifd import SIGNATURES, Entry, Reader
from cytoline.deid.accounting.tiff_tags import RULES
from cytoline.deid.accounting.tiff_tiles import Coding
from cytoline.deid.finding import Finding, Why

__all__ = ["SIGNATURES", "findings"]

_FEW = 64
"""Values that a field off the large arrays can have at most."""
_MAX_DEPTH = 4
"""Of SubIFDs in SubIFDs."""
_ARRAYS = frozenset({tags.STRIP_OFFSETS, tags.STRIP_SIZES, tags.TILE_OFFSETS, tags.TILE_SIZES})


def findings(content: Source, budget: Budget | None = None) -> list[Finding]:
    """What a TIFF holds besides the pixels of one picture and its reductions."""
    walker = _Walker(content, budget or Budget(len(content)))
    try:
        walker.walk()
    except DamagedError:
        walker.add("tiff:structure", "damaged")
    for why in walker.coverage.judge(content):
        walker.add("tiff:end" if why == "trailing" else "tiff:ranges", why)
    return sorted(walker.found)


@dataclass
class _Page:
    """One directory."""

    place: str
    arrays: dict[int, Entry] = field(default_factory=dict)
    values: dict[int, tags.Values] = field(default_factory=dict)

    def one(self, tag: int, default: int | None = None) -> int:
        """A field's only value.  Raises ``DamagedError`` where there is neither it nor a default."""
        if tag in self.values:
            return self.values[tag][0]
        if default is None:
            raise DamagedError
        return default


@dataclass
class _Walker:
    content: Source
    budget: Budget
    coverage: Coverage = field(default_factory=Coverage)
    found: set[Finding] = field(default_factory=set)
    base: _Page | None = None
    sizes: set[tuple[int, int]] = field(default_factory=set)
    """Of the pages so far."""
    data_bytes: int = 0

    def __post_init__(self) -> None:
        self.reader = Reader(self.content, self.coverage)

    def add(self, place: str, why: Why) -> None:
        self.found.add(Finding(place, why))

    def walk(self) -> None:
        self._chain(self.reader.first(), "tiff:page", 0)

    def _chain(self, at: int, place: str, depth: int) -> None:
        """Directories that point to the next one."""
        index = 0
        while at:
            entries, at = self.reader.directory(at)
            self._directory(entries, f"{place}{index}", depth)
            index += 1
        if not index:
            raise DamagedError

    def _directory(self, entries: list[Entry], place: str, depth: int) -> None:
        if any(left.tag >= right.tag for left, right in pairwise(entries)):
            self.add(f"{place}/order", "value")
        page = _Page(place)
        for entry in entries:
            rule = RULES.get(entry.tag)
            if any(entry.rest):
                self.add(f"{place}/tag{entry.tag}", "unused")
            if rule is None:
                self.add(f"{place}/tag{entry.tag}", "metadata")
            elif entry.kind not in rule.kinds:
                self.add(f"{place}/tag{entry.tag}", "value")
            elif entry.tag in _ARRAYS or entry.tag in (tags.SUB_IFDS, tags.JPEG_TABLES):
                page.arrays[entry.tag] = entry
            elif 1 <= entry.count <= _FEW:
                page.values[entry.tag] = tuple(self.reader.numbers(entry).tolist())
            else:
                self.add(f"{place}/tag{entry.tag}", "value")
        for tag, values in page.values.items():
            rule = RULES[tag]
            ratio = 2 if tag in (282, 283, 532) else 1
            if len(values) != ratio * rule.count(page.values) or not rule.allows(values, page.values):
                self.add(f"{place}/tag{tag}", "value")
        self._pixels(page)
        self._sub_directories(page, depth)

    def _sub_directories(self, page: _Page, depth: int) -> None:
        entry = page.arrays.get(tags.SUB_IFDS)
        if entry is None:
            return
        self.add(f"{page.place}/tag{tags.SUB_IFDS}", "metadata")
        if depth >= _MAX_DEPTH:
            raise DamagedError
        for index, at in enumerate(self.reader.numbers(entry).tolist()):
            entries, following = self.reader.directory(at)
            self._directory(entries, f"{page.place}/sub{index}", depth + 1)
            if following:
                self._chain(following, f"{page.place}/sub{index}/next", depth + 1)

    def _pixels(self, page: _Page) -> None:
        try:
            self._judge_role(page)
            tables = self._tables(page)
            self._data(page, tables)
        except DamagedError:
            self.add(f"{page.place}/pixels", "damaged")
            return
        if tables is not None:
            tables.close()
            for name in tables.unexplained:
                self.add(f"{page.place}/tables/jpeg:{name}", "unused")

    def _judge_role(self, page: _Page) -> None:
        """The first page is the picture, the others the same picture halved some times."""
        size = page.one(tags.WIDTH), page.one(tags.HEIGHT)
        if self.base is None:
            self.base = page
            role = page.one(tags.SUBFILE, 0) == 0
        else:
            whole = self.base.one(tags.WIDTH), self.base.one(tags.HEIGHT)
            role = size not in self.sizes and _is_reduction(size, whole)
            role = role and (tags.TILE_WIDTH in page.values) == (tags.TILE_WIDTH in self.base.values)
        self.sizes.add(size)
        if not role:
            self.add(page.place, "metadata")

    def _tables(self, page: _Page) -> Tables | None:
        entry = page.arrays.get(tags.JPEG_TABLES)
        if entry is None:
            return None
        content = cut(self.content, entry.start, entry.size)
        tables, found = jpeg.table_findings(content, f"{page.place}/tables/jpeg")
        self.found.update(found)
        return tables

    def _data(self, page: _Page, tables: Tables | None) -> None:
        tiled = tags.TILE_WIDTH in page.values
        kinds = (tags.STRIP_OFFSETS, tags.STRIP_SIZES), (tags.TILE_OFFSETS, tags.TILE_SIZES)
        wanted, other = kinds[tiled], kinds[not tiled]
        for tag in other:
            if tag in page.arrays:
                self.add(f"{page.place}/tag{tag}", "unused")
        if not all(tag in page.arrays for tag in wanted):
            raise DamagedError
        starts, counts = (self.reader.numbers(page.arrays[tag]) for tag in wanted)
        grid = _grid(page, tiled)
        if len(starts) != len(counts) or len(starts) != grid.total:
            raise DamagedError
        length = np.uint64(len(self.content))
        if (starts > length).any() or (counts > length - starts).any():
            raise DamagedError
        if ((counts == 0) != (starts == 0)).any():
            self.add(f"{page.place}/tag{wanted[0]}", "value")
        held = np.flatnonzero(counts)
        ranges = np.stack([starts, counts], axis=1).astype(np.int64)
        self.coverage.add_data(ranges[held, 0], ranges[held, 1])
        once = held[distinct(ranges[held])]
        self.data_bytes += int(ranges[once, 1].sum())
        if self.data_bytes > len(self.content):
            raise DamagedError  # they overlap, and walking each could take for ever
        place = f"{page.place}/{'tile' if tiled else 'strip'}"
        tiles = grid.tiles(ranges, once, held)
        coding = self._coding(page, grid.planes, tables)
        self.found |= tiff_tiles.findings(self.content, tiles, coding, place, self.budget)

    def _coding(self, page: _Page, planes: int, tables: Tables | None) -> Coding:
        return Coding(
            compression=page.one(tags.COMPRESSION, 1),
            photometric=page.one(tags.PHOTOMETRIC, 1),
            bits=page.values.get(tags.BITS, (1,))[0],
            samples=tags.samples(page.values) if planes == 1 else 1,
            predictor=page.one(tags.PREDICTOR, 1),
            order=self.reader.order,
            tables=tables,
            raw_tables=self._raw_tables(page),
        )

    def _raw_tables(self, page: _Page) -> bytes:
        entry = page.arrays.get(tags.JPEG_TABLES)
        return b"" if entry is None else cut(self.content, entry.start, entry.size)


def _grid(page: _Page, tiled: bool) -> Grid:
    """Raises ``DamagedError`` for a page without the fields or with senseless ones."""
    width, height = page.one(tags.WIDTH), page.one(tags.HEIGHT)
    if tiled:
        tile = page.one(tags.TILE_WIDTH), page.one(tags.TILE_HEIGHT)
    else:
        tile = width, min(page.one(tags.ROWS_PER_STRIP, height), height)
    planes = tags.samples(page.values) if page.one(tags.PLANAR, 1) == 2 else 1
    if min(width, height, *tile, planes) < 1 or not 1 <= tags.samples(page.values) <= tags.MAX_SAMPLES:
        raise DamagedError
    return Grid(width, height, tile, tiled, planes)


def _is_reduction(size: tuple[int, int], whole: tuple[int, int]) -> bool:
    """By the same power of two both ways, rounded up or down."""
    return any(
        all(abs(here - there / (1 << power)) <= 1 for here, there in zip(size, whole, strict=True))
        for power in range(1, 24)
    )
