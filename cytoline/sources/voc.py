"""``fields-voc``: one Pascal VOC file per image, paired by name."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import defusedxml.ElementTree as ElementTree
from defusedxml import DefusedXmlException

from cytoline.errors import CytolineError
from cytoline.sources.context import Context
from cytoline.sources.found import Box, Found, Reading, Reason
from cytoline.sources.tables import number, read_limited

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class _Sheet:
    """What one XML file says; an object without name or bndbox is None among ``boxes``."""

    called: str | None
    boxes: tuple[Box | None, ...]
    size: tuple[int, int] | None


def read_voc(context: Context) -> Reading:
    """Pair every XML file with the image of the same stem, else with the one that its <filename> names."""
    reading = Reading()
    sheets = _sheets(context, reading)
    pairs = _Pairs(context, sheets).settled()
    for file, sheet in sheets.items():
        path, reason = pairs[file]
        reading.boxes += len(sheet.boxes)
        if path is None:
            reading.refuse_file(file, reason, "", len(sheet.boxes))
            continue
        reading.used.add(file)
        reading.refuse_boxes(path, "bad_annotation", "object without name or bndbox", sheet.boxes.count(None))
        reading.found.append(Found(path, tuple(box for box in sheet.boxes if box), {}, sheet.size))
    return reading


def _sheets(context: Context, reading: Reading) -> dict[str, _Sheet]:
    """The XML files that are annotations, in order; the others are refused here."""
    sheets = {}
    xml = [name for name in context.listing.files if PurePosixPath(name).suffix.lower() == ".xml"]
    for file in context.listing.below(context.info.voc, xml):
        root, problem = _parse(context, file)
        if root is not None:
            boxes = tuple(_box(item) for item in root.findall("object"))
            sheets[file] = _Sheet(root.findtext("filename"), boxes, _size(root))
        elif file not in context.listing.notices:  # citation.xml and the like are no annotations that failed
            reading.refuse_file(file, "bad_annotation", problem)
    return sheets


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


class _Pairs:
    """Which image each XML file belongs to.

    Surer ways are settled for all files before less sure ones: an XML file whose image is missing must not take the
    image of the same name from another patient's folder.  An XML file whose own folder holds images belongs to that
    folder, so it is never paired by name with an image elsewhere.
    """

    def __init__(self, context: Context, sheets: dict[str, _Sheet]) -> None:
        images = context.listing.below(context.info.images, context.listing.images)
        self._context = context
        self._sheets = sheets
        self._homes = {PurePosixPath(name).parent for name in images}
        self._by_stem: defaultdict[str, list[str]] = defaultdict(list)
        for name in images:
            self._by_stem[PurePosixPath(name).stem].append(name)
        self._pairs: dict[str, tuple[str | None, Reason]] = {}
        self._taken: set[str] = set()

    def settled(self) -> dict[str, tuple[str | None, Reason]]:
        """Image, or None and why not, by XML file."""
        self._claim(self._beside())
        self._claim(self._elsewhere(self._parallel))
        self._claim(self._elsewhere(self._only_one))
        self._claim(self._located())
        self._claim(self._elsewhere(self._named))
        return {file: self._pairs.get(file, (None, "annotation_without_image")) for file in self._sheets}

    def _claim(self, chosen: dict[str, tuple[str | None, Reason]]) -> None:
        for file, (path, reason) in chosen.items():
            if path is None or path not in self._taken:
                self._pairs[file] = (path, reason)
            else:
                self._pairs[file] = (None, "listed_twice")
            if path is not None:
                self._taken.add(path)

    def _beside(self) -> dict[str, tuple[str | None, Reason]]:
        chosen: dict[str, tuple[str | None, Reason]] = {}
        for file in self._sheets:
            here = PurePosixPath(file)
            near = [name for name in self._by_stem.get(here.stem, []) if PurePosixPath(name).parent == here.parent]
            if near:
                chosen[file] = (near[0] if len(near) == 1 else None, "ambiguous")
        return chosen

    def _elsewhere(self, candidates: Callable[[str], list[str]]) -> dict[str, tuple[str | None, Reason]]:
        """Files without a pair, in folders without images, and their one candidate, if no other file wants it."""
        wanted = {
            file: names
            for file in self._sheets
            if file not in self._pairs and PurePosixPath(file).parent not in self._homes and (names := candidates(file))
        }
        claims = Counter(names[0] for names in wanted.values() if len(names) == 1)
        return {
            file: (names[0] if len(names) == 1 and claims[names[0]] == 1 else None, "ambiguous")
            for file, names in wanted.items()
        }

    def _parallel(self, file: str) -> list[str]:
        """Annotations/a/1.xml goes with JPEGImages/a/1.jpg."""
        here = PurePosixPath(file)
        names = self._free(self._by_stem.get(here.stem, []))
        return [name for name in names if PurePosixPath(name).parent.parts[1:] == here.parent.parts[1:]]

    def _only_one(self, file: str) -> list[str]:
        """The only image of this stem in the source; of several, one left over by others may be anyone's."""
        same = self._by_stem.get(PurePosixPath(file).stem, [])
        return same if len(same) > 1 else self._free(same)

    def _named(self, file: str) -> list[str]:
        """Pascal VOC names files relative to JPEGImages, whatever that folder is called here."""
        name = PurePosixPath((self._sheets[file].called or "").strip())
        exact = [image for image in self._by_stem.get(name.stem, []) if PurePosixPath(image).name == name.name]
        return exact if len(exact) > 1 else self._free(exact)

    def _free(self, names: list[str]) -> list[str]:
        return [name for name in names if name not in self._taken]

    def _located(self) -> dict[str, tuple[str | None, Reason]]:
        """Files whose <filename> is a path to an image, or one that may not be followed."""
        chosen = {}
        for file, sheet in self._sheets.items():
            path, reason = self._context.locate(sheet.called, file)
            if file not in self._pairs and (path is not None or reason == "path_outside"):
                chosen[file] = (path, reason)
        return chosen


def _box(item: Any) -> Box | None:
    label, corners = item.findtext("name"), item.find("bndbox")
    if not label or corners is None:
        return None
    left, top, right, bottom = (number(corners.findtext(corner)) for corner in _CORNERS)
    return Box((left, top, right - left, bottom - top), label.strip())


def _size(root: Any) -> tuple[int, int] | None:
    width, height = number(root.findtext("size/width")), number(root.findtext("size/height"))
    return (int(width), int(height)) if width > 0 and height > 0 and width + height < 1e9 else None
