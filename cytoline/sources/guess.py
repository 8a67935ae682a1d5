"""What a folder seems to be, where ``cytoline add`` was not told; every guess is shown before it counts."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path, PurePosixPath
from statistics import median
from typing import Any

import openslide

from cytoline.errors import CytolineError
from cytoline.images import UnreadableImage, probe
from cytoline.sources.context import USUAL_COLUMNS
from cytoline.sources.dicom import is_dicom
from cytoline.sources.folders import CELLS
from cytoline.sources.listing import Listing
from cytoline.sources.schema import COLUMN, EACH_FILE
from cytoline.sources.slides import GEOJSON, GRID, SLIDE_SUFFIXES, TIFF_SUFFIXES
from cytoline.sources.tables import columns_of, read_json, read_limited, read_rows
from cytoline.taxonomy import Taxonomy

UNKNOWN = "unknown"
NOT_STATED = "not stated"

PATIENT_COLUMNS = ("patient", "patient_id", "case", "case_id", "slide", "slide_id", "field", "field_id")
"""Finest known group that is sure not to be a single cell, best first."""

_ORGANS = {"bethesda": "cervix", "blood": "blood"}

_LICENCES = (
    ("MIT License", "MIT"),
    ("Apache License", "Apache-2.0"),
    ("Attribution-ShareAlike 4.0", "CC-BY-SA-4.0"),
    ("Attribution-NonCommercial 4.0", "CC-BY-NC-4.0"),
    ("Attribution 4.0", "CC-BY-4.0"),
    ("CC0 1.0", "CC0-1.0"),
)

_COCO = frozenset({"images", "annotations", "categories"})

_PATCH_SHARE = 0.62
"""With the usual patches.context of 1.3 a patch then shows 0.8 of a cell picture's side."""

_PROBED = 50
_PROBED_BYTES = 1 << 16
_PROBED_CHARACTERS = 200
_MEGABYTES = 200


def guess_kind(listing: Listing, taxonomy: Taxonomy, annotations: str | None = None) -> str:
    """The kind that the files look like; ``annotations`` is the file of annotations where one was named.

    Raises ``CytolineError`` where there is no image at all, or where fields without annotations would be guessed
    although files lie there that may hold annotations.
    """
    if sum(map(is_dicom, listing.files.values())) > len(listing.images):
        return "dicom"
    if any(PurePosixPath(name).suffix.lower() in SLIDE_SUFFIXES for name in listing.files):
        return "wsi-regions"
    if not listing.images:
        raise CytolineError(
            "there are no images in this folder",
            "check the path (PNG, JPEG, TIFF, BMP, WebP, HEIC, DICOM and whole slides are read)",
        )
    suffixes = {PurePosixPath(name).suffix.lower() for name in listing.files}
    if ".xml" in suffixes:
        return "fields-voc"
    folders = [PurePosixPath(name).parts[:-1] for name in listing.images]
    if sum(any(taxonomy.find(part) for part in parts) for parts in folders) * 2 > len(folders):
        return "cells-folders"
    data = _only_json(listing, annotations)
    if _is_coco(data):
        return "fields-coco"
    if isinstance(data, list) or ".csv" in suffixes:
        return "fields-csv-points"
    _refuse_json(listing, annotations)
    _refuse_yolo(listing)
    return "wsi-regions" if all(_is_tiled(listing.files[name]) for name in listing.images) else "fields-plain"


def guess_rest(kind: str, listing: Listing, taxonomy: Taxonomy) -> dict[str, Any]:
    """Usual values for the other fields of a ``source.yaml`` of this kind."""
    values: dict[str, Any] = {
        "kind": kind,
        "organ": _ORGANS.get(taxonomy.name, UNKNOWN),
        "stain": UNKNOWN,
        "microns_per_pixel": UNKNOWN,
        "license": _licence(listing),
        "legal_basis": NOT_STATED,
        "patient_id": EACH_FILE,
    }
    if kind == "dicom":
        return values | {"patient_id": f"{COLUMN}PatientID", "slide_id": f"{COLUMN}SeriesInstanceUID"}
    if kind == "wsi-regions":
        marked = any(name.lower().endswith(".geojson") for name in listing.files)
        return values | {"slide_id": EACH_FILE, "regions": GEOJSON if marked else GRID}
    if kind in ("cells-folders", "fields-csv-points"):
        columns = {name.casefold(): name for name in _columns(kind, listing)}
        found = next((columns[name] for name in PATIENT_COLUMNS if name in columns), None)
        values["patient_id"] = COLUMN + found if found else EACH_FILE
        if kind == "cells-folders":
            values["class_folder"] = _class_folder(listing, taxonomy)
            if all(any(name in columns for name in USUAL_COLUMNS[axis]) for axis in "xy"):
                values["cell_box_px"] = _cell_box(listing)
    return values


def _is_tiled(path: Path) -> bool:
    """A tiled TIFF, which no camera writes.  OpenSlide would also take a JPEG or PNG for part of some slide."""
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return False
    try:
        return openslide.OpenSlide.detect_format(path) is not None
    except (openslide.OpenSlideError, OSError):
        return False


def _refuse_yolo(listing: Listing) -> None:
    """Labels that are not read must not pass for fields without annotations."""
    stems = {PurePosixPath(name).stem for name in listing.images}
    texts = [name for name in listing.files if name.lower().endswith(".txt") and PurePosixPath(name).stem in stems]
    # An image without a cell has an empty file: a whole folder may begin with such.
    lines = filter(None, (_first_line(listing.files[name]) for name in texts))
    if any(map(_is_yolo, islice(lines, _PROBED))):
        raise CytolineError(
            "the text files beside the images look like YOLO labels, which are not read",
            "export the annotations as COCO or Pascal VOC; or say `--kind fields-plain` to do without them",
        )


def _is_yolo(line: str) -> bool:
    """Class number, centre and size; or a polygon, or a confidence at the end: then there are more numbers."""
    words = line.split()
    try:
        return len(words) >= 5 and int(words[0]) >= 0 and bool([float(word) for word in words])
    except ValueError:
        return False


def _first_line(path: Path) -> str:
    """The first line that is not blank, of a long one the words that begin it; "" where there is none."""
    with path.open("rb") as handle:
        text = handle.read(_PROBED_BYTES).decode("utf-8-sig", "replace").lstrip()
    line = text.splitlines()[0] if text else ""
    return line if len(line) <= _PROBED_CHARACTERS else line[:_PROBED_CHARACTERS].rsplit(maxsplit=1)[0]


def _refuse_json(listing: Listing, annotations: str | None) -> None:
    """Annotations that cannot be read, or of which one file must be chosen, must not pass for none."""
    names = _json_files(listing, annotations)
    for name in names:
        try:
            data = read_json(listing.files[name], _MEGABYTES, repr(name))
        except CytolineError as error:
            if len(names) == 1:
                raise CytolineError(
                    error.cause, f"{error.remedy}; or say with `--kind` what it is (fields-plain does without it)"
                ) from None
            cause = error.cause
        else:
            points = isinstance(data, list) and any(isinstance(item, dict) for item in data)
            if not points and not _is_coco(data):
                continue
            cause = f"{name!r} looks like annotations"
        raise CytolineError(
            f"{cause}, and it is one of {len(names)} JSON files",
            "name the right one with `--annotations FILE`; or say `--kind fields-plain` to do without them",
        )


def _is_coco(data: object) -> bool:
    return isinstance(data, dict) and set(data) >= _COCO


def _json_files(listing: Listing, annotations: str | None) -> list[str]:
    """The JSON files that may hold annotations: of a folder where one file was named no other."""
    named = listing.find(PurePosixPath(annotations).as_posix()) if annotations else None
    return [name for name in ([named] if named else listing.files) if name.lower().endswith(".json")]


def _only_json(listing: Listing, annotations: str | None = None) -> Any:
    """What the only JSON file holds, None where it is not the only one or cannot be read."""
    names = _json_files(listing, annotations)
    if len(names) != 1:
        return None
    try:
        return read_json(listing.files[names[0]], _MEGABYTES, names[0])
    except CytolineError:
        return None


def _columns(kind: str, listing: Listing) -> list[str]:
    if kind == "fields-csv-points" and isinstance(data := _only_json(listing), list):
        return columns_of(item for item in data if isinstance(item, Mapping))
    tables = [name for name in listing.files if name == CELLS or (kind != "cells-folders" and name.endswith(".csv"))]
    if len(tables) != 1:
        return []
    return columns_of(read_rows(listing.files[tables[0]], _MEGABYTES, tables[0]))


def _class_folder(listing: Listing, taxonomy: Taxonomy) -> str:
    parts = [PurePosixPath(name).parts[:-1] for name in listing.images]
    first, last = (sum(bool(item and taxonomy.find(item[at])) for item in parts) for at in (0, -1))
    return "last" if last > first else "first"


def _cell_box(listing: Listing) -> int | None:
    """Side of the box round a nucleus, from the sizes of images spread over the list."""
    sides = []
    for name in listing.images[:: max(1, len(listing.images) // _PROBED)]:
        try:
            sides.append(min(probe(listing.files[name])[:2]))
        except (UnreadableImage, OSError):
            continue
    return round(median(sides) * _PATCH_SHARE) if sides else None


def _licence(listing: Listing) -> str:
    for name in listing.notices:
        if PurePosixPath(name).name.lower().startswith(("licen", "copying")):
            text = _text(listing.files[name])
            found = next((short for title, short in _LICENCES if title.lower() in text.lower()), None)
            if found:
                return found
    return UNKNOWN


def _text(path: Path) -> str:
    try:
        return read_limited(path, 1, "license").decode("utf-8", "replace")
    except CytolineError:
        return ""
