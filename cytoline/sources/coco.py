"""``fields-coco``: one or more COCO files with ``images``, ``annotations`` and ``categories``."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from cytoline.errors import CytolineError
from cytoline.manifest import BBox
from cytoline.sources.context import Context
from cytoline.sources.found import Box, Found, Reading
from cytoline.sources.tables import number, read_json, scalars


def read_coco(context: Context) -> Reading:
    """Images with their boxes; boxes without numbers and crowd regions are left out here."""
    reading = Reading()
    taken: set[str] = set()
    for file in context.annotation_files((".json",)):
        reading.used.add(file)
        data = _checked(context, file)
        names = {_key(item.get("id")): str(item.get("name")) for item in data["categories"]}
        marked = defaultdict(list)
        for item in data["annotations"]:
            marked[_key(item.get("image_id"))].append(item)
        for entry in data["images"]:
            reading.entries += 1
            items = marked.pop(_key(entry.get("id")), [])
            reading.boxes += len(items)
            _read_entry(context, file, entry, items, names, reading, taken)
        for items in marked.values():
            reading.boxes += len(items)
            reading.refuse_boxes(file, "annotation_without_image", "no such image_id", len(items))
    return reading


def _read_entry(
    context: Context,
    file: str,
    entry: dict[str, Any],
    items: list[dict[str, Any]],
    names: dict[str, str],
    reading: Reading,
    taken: set[str],
) -> None:
    called = entry.get("file_name")
    path, reason = context.locate(called, file)
    if path is None or path in taken:
        reading.refuse_entry(str(called), "listed_twice" if path else reason, f"in {file}", len(items))
        return
    taken.add(path)
    boxes = []
    for item in items:
        bbox = _bbox(item.get("bbox"))
        if item.get("iscrowd") in (1, True):
            reading.refuse_boxes(path, "crowd_region")
        elif bbox is None:
            reading.refuse_boxes(path, "not_a_box", f"annotation {item.get('id')}")
        else:
            category = _key(item.get("category_id"))
            annotator = item.get("annotator")
            label = names.get(category, f"category_id {category}")
            boxes.append(Box(bbox, label, str(annotator) if annotator else None))
    reading.found.append(Found(path, tuple(boxes), scalars(entry), _size(entry)))


def _checked(context: Context, file: str) -> dict[str, list[dict[str, Any]]]:
    shown = context.shown(file)
    data = read_json(context.listing.files[file], context.params.max_annotation_megabytes, shown)
    parts: dict[str, list[dict[str, Any]]] = {}
    for part in ("images", "annotations", "categories"):
        items = data.get(part) if isinstance(data, dict) else None
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise CytolineError(
                f"{shown} has no list of objects `{part}`, so it is not a COCO file",
                "export it as COCO, or name another file (`cytoline add ... --annotations FILE`)",
            )
        parts[part] = items
    for part in ("images", "categories"):
        twice = [key for key, count in Counter(_key(item.get("id")) for item in parts[part]).items() if count > 1]
        if twice:
            raise CytolineError(
                f"{shown}: {len(twice)} ids occur twice in `{part}`, so boxes cannot be told apart", "export it again"
            )
    return parts


def _key(value: object) -> str:
    """COCO files mix 1 and "1" for the same id."""
    return str(value)


def _bbox(value: object) -> BBox | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    x, y, w, h = (number(item) for item in value)
    return (x, y, w, h)


def _size(entry: dict[str, Any]) -> tuple[int, int] | None:
    width, height = entry.get("width"), entry.get("height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None
