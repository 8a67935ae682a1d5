"""``fields-plain`` (images that nobody annotated) and ``cells-folders`` (single cells, a folder per class)."""

from __future__ import annotations

from pathlib import PurePosixPath

from cytoline.sources.context import Context
from cytoline.sources.found import Box, Found, Reading
from cytoline.sources.tables import columns_of, number, read_rows

CELLS = "cells.csv"
"""Read where it is there, even if ``annotations`` does not name it."""

WHOLE_IMAGE = (0.0, 0.0, float("inf"), float("inf"))
"""Stands for the whole image until its size is known."""


def read_plain(context: Context) -> Reading:
    """Every image, with no boxes: not looked at, rather than no cells."""
    names = context.listing.below(context.info.images, context.listing.images)
    return Reading(found=[Found(name) for name in names])


def read_cells(context: Context) -> Reading:
    """One box per image, labelled with its folder; a table adds patients and where the nucleus is."""
    reading = Reading()
    rows = _rows(context, reading)
    for name in context.listing.below(context.info.images, context.listing.images):
        reading.boxes += 1
        folders = PurePosixPath(name).relative_to(context.info.images or "").parent.parts
        if not folders:
            reading.refuse_file(name, "no_class_folder", boxes=1)
        elif rows is not None and name not in rows:
            reading.refuse_file(name, "no_annotation", "not in the table of cells", boxes=1)
        else:
            label = folders[0] if context.info.class_folder == "first" else folders[-1]
            row, centre, annotator = (rows or {}).get(name, ({}, None, None))
            reading.found.append(Found(name, (Box(WHOLE_IMAGE, label, annotator),), row, None, centre))
    return reading


Row = tuple[dict[str, str], tuple[float, float] | None, str | None]
"""What the table says: all columns, where the nucleus is, who annotated it."""


def _rows(context: Context, reading: Reading) -> dict[str, Row] | None:
    """The table's rows by image, None where there is no table."""
    files = context.annotation_files((".csv",)) if context.info.annotations else []
    if not files and CELLS in context.listing.files:
        files = [CELLS]
    if not files:
        return None
    rows: dict[str, Row] = {}
    for file in files:
        reading.used.add(file)
        table = read_rows(context.listing.files[file], context.params.max_annotation_megabytes, context.shown(file))
        columns = columns_of(table)
        called = context.needed_column("file", columns, file)
        x, y, annotator = (context.column(field, columns) for field in ("x", "y", "annotator"))
        for row in table:
            reading.entries += 1
            path, reason = context.locate(row.get(called), file)
            if path is None or path in rows:
                reading.refuse_entry(row.get(called, ""), "listed_twice" if path else reason, f"in {file}")
                continue
            centre = (number(row.get(x)), number(row.get(y))) if x and y else None
            rows[path] = (row, centre, row.get(annotator) or None if annotator else None)
    return rows
