"""``fields-voc``: one Pascal VOC file per image, paired by name."""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePosixPath
from typing import Any

import defusedxml.ElementTree as ElementTree
from defusedxml import DefusedXmlException

from cytoline.errors import CytolineError
from cytoline.sources.context import Context
from cytoline.sources.found import Box, Found, Reading, Reason
from cytoline.sources.tables import number, read_limited

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(context: Context) -> Reading:
    """Pair every XML file with the image of the same stem, else with the one that its <filename> names."""
    reading = Reading()
    by_stem = defaultdict(list)
    for name in context.listing.below(context.info.images, context.listing.images):
        by_stem[PurePosixPath(name).stem].append(name)
    xml = [name for name in context.listing.files if PurePosixPath(name).suffix.lower() == ".xml"]
    taken: set[str] = set()
    for file in context.listing.below(context.info.voc, xml):
        root, problem = _parse(context, file)
        if root is None:
            reading.refuse_file(file, "bad_annotation", problem)
            continue
        objects = root.findall("object")
        reading.boxes += len(objects)
        path, reason = _image_of(context, file, root.findtext("filename"), by_stem)
        if path is None or path in taken:
            reading.refuse_file(file, "listed_twice" if path else reason, "", len(objects))
            continue
        taken.add(path)
        reading.used.add(file)
        boxes = [_box(item) for item in objects]
        reading.refuse_boxes(path, "bad_annotation", "object without name or bndbox", boxes.count(None))
        reading.found.append(Found(path, tuple(box for box in boxes if box), {}, _size(root)))
    return reading


def _parse(context: Context, file: str) -> tuple[Any | None, str]:
    try:
        content = read_limited(
            context.listing.files[file], context.params.max_annotation_megabytes, context.shown(file)
        )
        root = ElementTree.fromstring(content, forbid_dtd=True)
    except DefusedXmlException:
        return None, "it defines entities or a document type, which is refused"
    except CytolineError:
        return None, "larger than collect.max_annotation_megabytes"
    except (ElementTree.ParseError, ValueError, LookupError):
        return None, "not valid XML"
    return (root, "") if root.tag == "annotation" else (None, "no Pascal VOC annotation")


def _image_of(
    context: Context, file: str, called: str | None, by_stem: dict[str, list[str]]
) -> tuple[str | None, Reason]:
    here = PurePosixPath(file)
    same = by_stem.get(here.stem, [])
    for near in (_beside(here, same), _parallel(here, same), same):
        if len(near) == 1:
            return near[0], "ambiguous"
    if same:
        return None, "ambiguous"
    path, reason = context.locate(called, file)
    if reason == "annotation_without_image" and called:
        # Pascal VOC names files relative to JPEGImages, whatever that folder is called here.
        name = PurePosixPath(called.strip())
        exact = [image for image in by_stem.get(name.stem, []) if PurePosixPath(image).name == name.name]
        return (exact[0], reason) if len(exact) == 1 else (None, "ambiguous" if exact else reason)
    return path, "annotation_without_image" if reason == "bad_entry" else reason


def _beside(here: PurePosixPath, names: list[str]) -> list[str]:
    return [name for name in names if PurePosixPath(name).parent == here.parent]


def _parallel(here: PurePosixPath, names: list[str]) -> list[str]:
    """Annotations/a/1.xml goes with JPEGImages/a/1.jpg."""
    return [name for name in names if PurePosixPath(name).parent.parts[1:] == here.parent.parts[1:]]


def _box(item: Any) -> Box | None:
    label, corners = item.findtext("name"), item.find("bndbox")
    if not label or corners is None:
        return None
    left, top, right, bottom = (number(corners.findtext(corner)) for corner in _CORNERS)
    return Box((left, top, right - left, bottom - top), label.strip())


def _size(root: Any) -> tuple[int, int] | None:
    width, height = number(root.findtext("size/width")), number(root.findtext("size/height"))
    return (int(width), int(height)) if width > 0 and height > 0 and width + height < 1e9 else None
