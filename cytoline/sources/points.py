"""``fields-csv-points``: a point per cell, in a CSV file or a JSON list; a square box is put around each."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from cytoline.errors import CytolineError
from cytoline.sources.context import Context
from cytoline.sources.found import Box, Found, Reading
from cytoline.sources.tables import number, read_json, read_rows, scalars

Points = list[dict[str, str]]


def read_points(context: Context) -> Reading:
    """CSV: a row per cell.  JSON: a list of images, each with one list of cells (as CRIC publishes them)."""
    reading = Reading()
    (file,) = _only(context, context.annotation_files((".csv", ".json")))
    reading.used.add(file)
    entries = _from_json(context, file) if PurePosixPath(file).suffix.lower() == ".json" else _from_csv(context, file)
    taken: set[str] = set()
    for called, row, points in entries:
        reading.entries += 1
        reading.boxes += len(points)
        path, reason = context.locate(called, file)
        if path is None or path in taken:
            reading.refuse_entry(called, "listed_twice" if path else reason, f"in {file}", len(points))
            continue
        taken.add(path)
        reading.found.append(Found(path, tuple(_boxes(context, file, points)), row))
    return reading


def _only(context: Context, files: list[str]) -> list[str]:
    if len(files) != 1:
        raise CytolineError(f"source {context.name}: expected one file of points", "name one under `annotations`")
    return files


def _from_csv(context: Context, file: str) -> list[tuple[str, dict[str, str], Points]]:
    rows = read_rows(context.listing.files[file], context.params.max_annotation_megabytes, context.shown(file))
    column = context.needed_column("file", list(rows[0]), file)
    by_image: dict[str, Points] = {}
    for row in rows:
        by_image.setdefault(row.get(column, ""), []).append(row)
    return [(called, points[0], points) for called, points in by_image.items()]


def _from_json(context: Context, file: str) -> list[tuple[str, dict[str, str], Points]]:
    shown = context.shown(file)
    data = read_json(context.listing.files[file], context.params.max_annotation_megabytes, shown)
    if not isinstance(data, list) or not data or not all(isinstance(item, dict) for item in data):
        raise CytolineError(
            f"{shown} is not a list of images",
            'it needs the form [{"image_name": ..., "cells": [{"x": ..., "y": ..., "label": ...}]}]',
        )
    column = context.needed_column("file", list(data[0]), file)
    return [(str(item.get(column, "")), scalars(item), _cells(item)) for item in data]


def _cells(item: dict[str, Any]) -> Points:
    """The cells of an image: its one list of objects, whatever that is called."""
    lists = [value for value in item.values() if isinstance(value, list)]
    return [scalars(cell) for cell in lists[0]] if len(lists) == 1 else []


def _boxes(context: Context, file: str, points: Points) -> list[Box]:
    """A point without numbers gives a box of NaN, which is refused where all boxes are checked."""
    if not points:
        return []
    columns = list(points[0])
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
