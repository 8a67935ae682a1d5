"""``wsi-regions``: regions of whole slides as fields; on a grid over the tissue, or where a person marked them.

``regions: grid``; ``geojson`` (QuPath's export ``STEM.geojson`` beside each slide, in which other classified shapes are
cells of the region that their middle lies in); or the name of a CSV file with the columns slide, x, y, w, h (pixels of
level 0).  Read through OpenSlide.  A MIRAX slide is a file and the folder of its stem, which share one fate.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import partial
from pathlib import PurePosixPath

from cytoline.errors import CytolineError
from cytoline.slides.regions import Box as Place
from cytoline.sources.context import Context
from cytoline.sources.found import Reading, Reason
from cytoline.sources.regions import Wanted, unpack_slide
from cytoline.sources.tables import columns_of, read_limited, read_rows
from cytoline.sources.unpack import Task, unpack

TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
SLIDE_SUFFIXES = frozenset({".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide"})
GRID, GEOJSON = "grid", "geojson"

_COLUMNS = ("slide", "x", "y", "w", "h")
_PARTS = re.compile(r"^\s*(?:FILE_\d+|INDEXFILE)\s*=\s*(.*?)\s*$", re.IGNORECASE | re.MULTILINE)
"""The files that a MIRAX slide's ``Slidedat.ini`` has OpenSlide open."""


def read_slides(context: Context) -> Reading:
    """Regions as images; with boxes where the slide's GeoJSON marks cells in them."""
    reading = Reading()
    slides = _slides(context)
    table = None if context.info.regions in (GRID, GEOJSON) else _named_table(context, reading)
    listed = _listed(context, table, slides, reading) if table else {}
    beside = {name: _companions(context, name) - {table} for name in slides}
    marks = {name: _annotations(context, name) for name in slides if context.info.regions == GEOJSON}
    for name, file in marks.items():
        beside[name] |= {file} if file else set()
    claims = Counter(file for files in beside.values() for file in files)
    tasks, refused = [], {}
    for name in slides:
        reason = _objection(context, name, beside[name])
        if any(claims[file] > 1 for file in beside[name]):
            reason = "ambiguous"
        elif (table and name not in listed) or (context.info.regions == GEOJSON and not marks[name]):
            reason = "no_annotation"
        if reason is None:
            wanted = _wanted(context, marks.get(name), listed.get(name))
            work = partial(unpack_slide, wanted=wanted)
            tasks.append(Task(name, context.listing.files[name], work, tuple(sorted(beside[name]))))
        else:
            refused.update(dict.fromkeys([name, *beside[name]], reason))
            _refuse_listed(reading, name, reason, listed)
    for name, why in refused.items():
        reading.refuse_file(name, why)
    _refuse_others(context, reading, {*slides, *claims, *reading.used})
    unpack(context, tasks, reading)
    return reading


def _wanted(context: Context, annotations: str | None, listed: list[Place] | None) -> Wanted:
    info = context.info
    return Wanted(
        px=info.region_px,
        mpp=info.region_mpp,
        most=info.max_regions,
        max_pixels=context.params.max_megapixels * 1_000_000,
        annotations=context.listing.files[annotations] if annotations else None,
        max_megabytes=context.params.max_annotation_megabytes,
        region_class=info.region_class,
        listed=tuple(listed or ()),
    )


def _slides(context: Context) -> list[str]:
    """Files whose name says slide, without those in the folder of a MIRAX slide."""
    listing = context.listing
    folders = {_mirax_folder(name) for name in listing.files if _suffix(name) == ".mrxs"}
    return [
        name
        for name in listing.below(context.info.images, list(listing.files))
        if _suffix(name) in SLIDE_SUFFIXES | TIFF_SUFFIXES and not folders.intersection(PurePosixPath(name).parents)
    ]


def _companions(context: Context, slide: str) -> set[str]:
    if _suffix(slide) != ".mrxs":
        return set()
    folder = _mirax_folder(slide)
    return {name for name in context.listing.files if PurePosixPath(name).is_relative_to(folder)}


def _annotations(context: Context, slide: str) -> str | None:
    """``a.geojson`` for ``a.svs``; for two slides of that stem it is nobody's, see ``claims``."""
    return context.listing.find(PurePosixPath(slide).with_suffix(".geojson").as_posix())


def _objection(context: Context, slide: str, companions: set[str]) -> Reason | None:
    """A MIRAX slide may name any file of this machine as its part; only listed files of its own folder will do."""
    if _suffix(slide) != ".mrxs":
        return None
    folder = _mirax_folder(slide)
    blocked = any(PurePosixPath(item.file).is_relative_to(folder) for item in context.listing.refused)
    index = (folder / "Slidedat.ini").as_posix()
    if blocked or index not in companions:
        return "incomplete_slide"
    try:
        text = read_limited(context.listing.files[index], 1, context.shown(index)).decode("utf-8-sig", "replace")
    except CytolineError:
        return "incomplete_slide"
    named = {(folder / part).as_posix() for part in _PARTS.findall(text.replace("\r", "\n"))}
    plain = all(PurePosixPath(part).parent == folder for part in named)
    return None if named and plain and named <= companions else "incomplete_slide"


def _named_table(context: Context, reading: Reading) -> str:
    name = context.listing.find(PurePosixPath(context.info.regions).as_posix())
    if name is None:
        raise CytolineError(
            f"source {context.name}: the table of regions {context.info.regions} is missing or may not be read",
            "correct `regions` in its source.yaml (`grid`, `geojson`, or a CSV file below that folder)",
        )
    reading.used.add(name)
    return name


def _listed(context: Context, file: str, slides: list[str], reading: Reading) -> dict[str, list[Place]]:
    """The table's regions by slide; a row that names none of the slides, or no region, is refused here."""
    shown = context.shown(file)
    rows = read_rows(context.listing.files[file], context.params.max_annotation_megabytes, shown)
    there = {name.casefold(): name for name in columns_of(rows)}
    if missing := [name for name in _COLUMNS if name not in there]:
        raise CytolineError(
            f"{shown} has no column {', '.join(missing)}", "it needs the columns slide, x, y, w, h (pixels of level 0)"
        )
    among = frozenset(slides)
    found: dict[str, list[Place]] = {}
    for row in rows:
        slide, *numbers = (row.get(there[name], "") for name in _COLUMNS)
        path, reason = context.locate(slide, file, among)
        place = _place(numbers)
        if path is None or place is None:
            reading.entries += 1
            reading.refuse_entry(slide, reason if path is None else "bad_region", f"in {file}")
        else:
            found.setdefault(path, []).append(place)
    return found


def _place(numbers: list[str]) -> Place | None:
    if not all(re.fullmatch(r"-?[0-9]{1,10}", text) for text in numbers):
        return None
    x, y, w, h = map(int, numbers)
    return Place(x, y, w, h)


def _refuse_listed(reading: Reading, slide: str, reason: Reason, listed: dict[str, list[Place]]) -> None:
    if rows := len(listed.get(slide, ())):
        reading.entries += rows
        reading.refuse_entry(slide, reason, "region of a refused slide", count=rows)


def _refuse_others(context: Context, reading: Reading, known: set[str | None]) -> None:
    for name in context.listing.files:
        if name not in known and name not in context.listing.notices:
            alone = context.info.regions == GEOJSON and _suffix(name) == ".geojson"
            reading.refuse_file(name, "annotation_without_image" if alone else "other_file")


def _mirax_folder(slide: str) -> PurePosixPath:
    return PurePosixPath(slide).with_suffix("")


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
