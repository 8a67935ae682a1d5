"""``fields-csv-points``: a point per cell, in a CSV file or a JSON list; a square box is put around each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from cytoline.errors import CytolineError
from cytoline.sources.context import Context
from cytoline.sources.found import Box, Found, Reading
from cytoline.sources.identity import rows_disagree
from cytoline.sources.tables import columns_of, number, read_json, read_rows, scalars

Points = list[dict[str, str]]


@dataclass(frozen=True)
class _Entry:
    """One image as the file has it."""

    called: str
    row: dict[str, str]
    points: Points
    undecided: int | None = None
    """How many cells its lists hold, where no single one of them is the list of cells; else None."""
    disagrees: bool = False
    """Whether its rows name different patients or slides: whose image it is would be a guess."""


def read_points(context: Context) -> Reading:
    """CSV: a row per cell.  JSON: a list of images, each with one list of cells (as CRIC publishes them)."""
    reading = Reading()
    (file,) = _only(context, context.annotation_files((".csv", ".json")))
    reading.used.add(file)
    entries = _from_json(context, file) if PurePosixPath(file).suffix.lower() == ".json" else _from_csv(context, file)
    columns = columns_of([point for entry in entries for point in entry.points])
    taken: set[str] = set()
    for entry in entries:
        cells = len(entry.points) if entry.undecided is None else entry.undecided
        reading.entries += 1
        reading.boxes += cells
        path, reason = context.locate(entry.called, file)
        if path is None or path in taken:
            reading.refuse_entry(entry.called, "listed_twice" if path else reason, f"in {file}", cells)
        elif entry.undecided is not None:
            reading.refuse_entry(entry.called, "bad_entry", f"not exactly one list of cells, in {file}", cells)
        elif entry.disagrees:
            reading.refuse_entry(path, "rows_disagree", f"in {file}", cells)
        else:
            taken.add(path)
            reading.found.append(Found(path, tuple(_boxes(context, file, entry.points, columns)), entry.row))
    return reading


def _only(context: Context, files: list[str]) -> list[str]:
    if len(files) != 1:
        raise CytolineError(f"source {context.name}: expected one file of points", "name one under `annotations`")
    return files


def _from_csv(context: Context, file: str) -> list[_Entry]:
    rows = read_rows(context.listing.files[file], context.params.max_annotation_megabytes, context.shown(file))
    column = context.needed_column("file", columns_of(rows), file)
    by_image: dict[str, Points] = {}
    for row in rows:
        by_image.setdefault(row.get(column, ""), []).append(row)
    return [
        _Entry(called, points[0], points, disagrees=rows_disagree(context.info, points))
        for called, points in by_image.items()
    ]


def _from_json(context: Context, file: str) -> list[_Entry]:
    shown = context.shown(file)
    data = read_json(context.listing.files[file], context.params.max_annotation_megabytes, shown)
    if not isinstance(data, list) or not data or not all(isinstance(item, dict) for item in data):
        raise CytolineError(
            f"{shown} is not a list of images",
            'it needs the form [{"image_name": ..., "cells": [{"x": ..., "y": ..., "label": ...}]}]',
        )
    column = context.needed_column("file", columns_of(data), file)
    return [_entry(str(item.get(column, "")), item) for item in data]


def _entry(called: str, item: dict[str, Any]) -> _Entry:
    """An image with its one list of objects, whatever that is called; lists of other things (tags) are not meant.

    Only an empty list says that there is no cell: an image without any list was not looked at.
    """
    lists = [value for value in item.values() if isinstance(value, list)]
    objects = sum(isinstance(cell, dict) for cells in lists for cell in cells)
    fitting = [cells for cells in lists if cells and all(isinstance(cell, dict) for cell in cells)]
    if len(fitting) == 1:
        return _Entry(called, scalars(item), [scalars(cell) for cell in fitting[0]])
    nothing_seen = objects == 0 and [] in lists
    return _Entry(called, scalars(item), [], None if nothing_seen else objects)


def _boxes(context: Context, file: str, points: Points, columns: list[str]) -> list[Box]:
    """A point without numbers gives a box of NaN, which is refused where all boxes are checked."""
    if not points:
        return []
    x, y, label = (context.needed_column(field, columns, file) for field in ("x", "y", "label"))
    annotator = context.column("annotator", columns)
    side = context.info.box_px or 0.0
    return [
        Box(
            (number(point.get(x)) - side / 2, number(point.get(y)) - side / 2, side, side),
            point.get(label, ""),
            point.get(annotator) or None if annotator else None,
        )
        for point in points
    ]
