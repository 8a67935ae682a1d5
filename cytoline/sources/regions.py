"""One slide: which regions are wanted, and their pictures with the cells that were marked in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openslide

from cytoline.errors import CytolineError
from cytoline.slides.geojson import BadAnnotations, read_geojson
from cytoline.slides.regions import MAX_REGION_PIXELS, Region, UnreadableRegion, regions, slide_mpp, tissue_grid
from cytoline.slides.regions import Box as Place
from cytoline.slides.regions import Reason as SlideReason
from cytoline.sources.found import Box, Reason, Refusal
from cytoline.sources.tables import read_limited
from cytoline.sources.unpack import Picture, Unpacked, evenly, write_picture

MAX_CELLS_OF_GRID = 1_000_000
"""A file that claims more is refused before its grid is walked; 1,000 x 1,000 fields are no slide."""

_MEANS: dict[SlideReason, Reason] = {
    "unreadable": "truncated",
    "outside": "outside_slide",
    "too_large": "too_large",
    "no_mpp": "no_calibration",
}


@dataclass(frozen=True)
class Wanted:
    """Which regions of a slide: those ``listed``, else those of ``annotations``, else a grid of ``px``."""

    px: int
    mpp: float | None
    most: int
    max_pixels: int
    annotations: Path | None = None
    max_megabytes: int = 1
    region_class: str = ""
    listed: tuple[Place, ...] = ()


def unpack_slide(path: Path, folder: Path, wanted: Wanted) -> Unpacked:
    """Write the wanted regions (of more than ``most``, that many spread evenly) into ``folder``."""
    out = Unpacked()
    try:
        size, mpp = slide_size(path), slide_mpp(path)
        cells: list[Place] = []
        if wanted.listed:
            areas = list(wanted.listed)
        elif wanted.annotations is not None:
            areas, cells = _annotated(wanted.annotations, size, wanted, out)
        else:
            areas = _grid(path, size, mpp, wanted)
        chosen = _chosen(areas, wanted.most, out)
        _write(path, folder, wanted, list(zip(chosen, _placed(cells, chosen, out), strict=True)), _scale(mpp), out)
    except UnreadableRegion as error:
        return Unpacked(reason=_MEANS[error.reason])
    except BadAnnotations:
        return Unpacked(reason="bad_annotation")
    return out.ended()


def _grid(path: Path, size: tuple[int, int], mpp: tuple[float, float] | None, wanted: Wanted) -> list[Place]:
    finer = 1.0 if wanted.mpp is None or mpp is None else min(1.0, wanted.mpp / max(mpp))
    if size[0] * size[1] > MAX_CELLS_OF_GRID * max(1.0, wanted.px * finer) ** 2:
        raise UnreadableRegion("too_large")
    return list(tissue_grid(path, wanted.px, wanted.mpp))


def _annotated(
    annotations: Path, size: tuple[int, int], wanted: Wanted, out: Unpacked
) -> tuple[list[Place], list[Place]]:
    """Regions are shapes of ``region_class`` or of no class; every other shape is a cell."""
    try:
        content = read_limited(annotations, wanted.max_megabytes, "GeoJSON")
    except CytolineError:
        raise BadAnnotations("too large") from None
    places = read_geojson(content, size)
    _left_out(out, "no_area", _features(content) - len(places))
    named = wanted.region_class.strip().casefold()
    areas: list[Place] = []
    cells: list[Place] = []
    for item in places:
        (areas if item.label is None or item.label.strip().casefold() == named else cells).append(item)
    return areas, cells


def _features(content: bytes) -> int:
    """How many shapes there are, points and lines too; the content has been read without an objection."""
    parsed = json.loads(content)
    items = parsed["features"] if isinstance(parsed, dict) and parsed["type"] == "FeatureCollection" else parsed
    return len(items) if isinstance(items, list) else 1


def _chosen(areas: list[Place], most: int, out: Unpacked) -> list[Place]:
    """The first of regions with equal corners, and not more than ``most``."""
    first = list({(place.x, place.y, place.w, place.h): place for place in reversed(areas)}.values())[::-1]
    chosen = evenly(first, most)
    out.entries += len(areas)
    if twice := len(areas) - len(first):
        out.refused.append(Refusal("entry", "", "listed_twice", count=twice))
    if left := len(first) - len(chosen):
        out.refused.append(Refusal("entry", "", "over_limit", count=left))
    return chosen


def _placed(cells: list[Place], areas: list[Place], out: Unpacked) -> list[tuple[Place, ...]]:
    """The cells of each region: those whose middle lies in it.  Where regions overlap, a cell is in both pictures."""
    xs = np.array([cell.x + cell.w / 2 for cell in cells])
    ys = np.array([cell.y + cell.h / 2 for cell in cells])
    anywhere = np.zeros(len(cells), dtype=np.bool_)
    placed = []
    for area in areas:
        inside = (area.x <= xs) & (xs < area.x + area.w) & (area.y <= ys) & (ys < area.y + area.h)
        anywhere |= inside
        placed.append(tuple(cells[index] for index in np.flatnonzero(inside)))
    out.boxes += sum(map(len, placed))
    _left_out(out, "outside_regions", int((~anywhere).sum()))
    return placed


def _left_out(out: Unpacked, reason: Reason, count: int) -> None:
    if count:
        out.boxes += count
        out.refused.append(Refusal("box", "", reason, count=count))


def _write(
    path: Path,
    folder: Path,
    wanted: Wanted,
    chosen: list[tuple[Place, tuple[Place, ...]]],
    mpp: float | None,
    out: Unpacked,
) -> None:
    read = _each(path, [place for place, _ in chosen], wanted)
    for (place, cells), region in zip(chosen, read, strict=True):
        name = f"x{place.x}-y{place.y}-{place.w}x{place.h}.png"
        if not isinstance(region, Region):
            out.refuse(name, region, len(cells))
            continue
        write_picture(folder, name, region.rgb)
        boxes = tuple(_box(cell, region) for cell in cells)
        scale = None if mpp is None else mpp * region.level0_per_px
        # A region without cells may be one that nobody came to: no claim that it holds none.
        out.pictures.append(Picture(name, mpp=scale, boxes=boxes, labelled=bool(boxes)))


def _each(path: Path, places: list[Place], wanted: Wanted) -> Iterator[Region | Reason]:
    """A region that cannot be read is left out alone; OpenSlide reads nothing more once it has failed, so anew."""
    while places:
        done = 0
        try:
            for region in regions(path, places, wanted.mpp, min(wanted.max_pixels, MAX_REGION_PIXELS)):
                yield region
                done += 1
            return
        except UnreadableRegion as error:
            yield _MEANS[error.reason]
            places = places[done + 1 :]


def _box(cell: Place, region: Region) -> Box:
    """In pixels of the region's picture."""
    x, y, w, h = cell.x - region.x, cell.y - region.y, cell.w, cell.h
    per = region.level0_per_px
    return Box((x / per, y / per, w / per, h / per), cell.label or "")


def _scale(mpp: tuple[float, float] | None) -> float | None:
    """Microns per pixel of level 0; None unless equal in both directions to one part in a hundred."""
    return None if mpp is None or abs(mpp[0] - mpp[1]) > 0.01 * mpp[0] else (mpp[0] + mpp[1]) / 2


def slide_size(path: Path) -> tuple[int, int]:
    """Width and height of level 0.  Raises ``UnreadableRegion``."""
    try:
        with openslide.OpenSlide(path) as slide:
            width, height = slide.dimensions
    except (openslide.OpenSlideError, OSError):
        raise UnreadableRegion("unreadable") from None
    return int(width), int(height)
