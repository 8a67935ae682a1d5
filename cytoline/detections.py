"""Reading and writing what the detector found: COCO results, one list for every field."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from cytoline import atomic
from cytoline.errors import CytolineError
from cytoline.manifest import BBox

RESULTS = "coco_results.json"
CATEGORIES = "categories.json"


class Detection(BaseModel):
    """One row of a COCO results file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_id: str
    category_id: int
    """From 1; names in categories.json.  A class-agnostic detector has the one category ``cell``."""
    bbox: BBox
    """x, y, width, height in pixels of the field, inside it."""
    score: float
    """0 to 1."""


_ROWS = TypeAdapter(list[Detection])


def write_detections(folder: Path, rows: Iterable[Detection], fields: Iterable[str], classes: Iterable[str]) -> None:
    """Write results sorted by field and falling score, the categories, and the ids of all fields looked at."""
    ordered = sorted(rows, key=lambda row: (row.image_id, -row.score, row.bbox))
    lines = ",\n".join(json.dumps(row.model_dump(mode="json"), sort_keys=True) for row in ordered)
    atomic.write_text(folder / RESULTS, f"[\n{lines}\n]\n" if ordered else "[]\n")
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    listing = {"categories": categories, "fields": sorted(fields)}
    atomic.write_text(folder / CATEGORIES, json.dumps(listing, indent=1, sort_keys=True) + "\n")


def read_detections(folder: Path) -> dict[str, list[Detection]]:
    """Detections by ``image_id``, falling score; every field looked at has an entry, an empty one too."""
    try:
        fields = json.loads((folder / CATEGORIES).read_text(encoding="utf-8"))["fields"]
        rows = _ROWS.validate_json((folder / RESULTS).read_bytes())
    except (OSError, ValueError, KeyError, ValidationError):
        raise CytolineError(f"{folder} holds no readable detections", "rebuild it: `dvc repro -f detect`") from None
    found: dict[str, list[Detection]] = {field: [] for field in fields}
    for row in rows:
        found.setdefault(row.image_id, []).append(row)
    return found


def read_categories(folder: Path) -> list[str]:
    """Names of the detector's classes, in the order of ``category_id`` from 1."""
    listing = json.loads((folder / CATEGORIES).read_text(encoding="utf-8"))
    return [item["name"] for item in sorted(listing["categories"], key=lambda item: item["id"])]
