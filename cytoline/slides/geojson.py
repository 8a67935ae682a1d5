"""QuPath's annotations (GeoJSON) as labelled boxes.  Sources: RFC 7946; QuPath's own export.

The file is hostile until shown otherwise: size, depth and counts are bounded, numbers finite and inside the slide.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from cytoline.errors import CytolineError
from cytoline.slides.regions import Box

MAX_BYTES = 64 * 2**20
MAX_DEPTH = 24
MAX_FEATURES = 200_000
MAX_LABEL = 100
OBJECT_TYPES = frozenset({"annotation", "detection", "cell", "tile", "tma_core", "unknown"})
_DEPTHS = {"Point": 0, "MultiPoint": 1, "LineString": 1, "Polygon": 2, "MultiLineString": 2, "MultiPolygon": 3}
_AREAS = frozenset({"Polygon", "MultiPolygon"})
_IN_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


class BadAnnotations(CytolineError):  # noqa: N818 (says what it is)
    """Not a GeoJSON that can be read.  The message quotes nothing of it."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the annotations cannot be read: {what}",
            "export them again from QuPath as GeoJSON (FeatureCollection)",
        )
        self.what = what

    def __reduce__(self) -> tuple[type[BadAnnotations], tuple[str]]:  # type: ignore[override]
        return (type(self), (self.what,))


def read_geojson(content: bytes, size: tuple[int, int]) -> tuple[Box, ...]:
    """Bounding boxes of the polygons, in file order, cut to the slide of ``size`` = (width, height) at level 0.

    Points and lines have no area and are left out.  Raises ``BadAnnotations``, also for a shape wholly outside.
    """
    found = []
    for number, feature in enumerate(_features(_parsed(content))):
        if number >= MAX_FEATURES:
            raise BadAnnotations("too many objects")
        box = _box(feature, size)
        if box is not None:
            found.append(box)
    return tuple(found)


def _parsed(content: bytes) -> Any:
    if len(content) > MAX_BYTES:
        raise BadAnnotations("too large")
    if _depth(content) > MAX_DEPTH:
        raise BadAnnotations("nested too deeply")
    try:
        return json.loads(content, parse_constant=_refuse)
    except (ValueError, RecursionError):  # also of undecodable text and of numbers with thousands of digits
        raise BadAnnotations("not JSON") from None


def _depth(content: bytes) -> int:
    """How deep brackets nest, strings aside; counted before the parser, which recurses."""
    deepest = now = 0
    for byte in _IN_STRING.sub(b"", content).translate(None, delete=_NO_BRACKETS):
        now += 1 if byte in b"[{" else -1
        deepest = max(deepest, now)
    return deepest


_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def _refuse(name: str) -> float:
    raise ValueError("not a number")


def _features(parsed: Any) -> Iterator[dict[str, Any]]:
    items = parsed
    if isinstance(parsed, dict):
        items = parsed.get("features") if parsed.get("type") == "FeatureCollection" else [parsed]
    if not isinstance(items, list):
        raise BadAnnotations("no list of features")
    for item in items:
        if not isinstance(item, dict) or item.get("type") != "Feature":
            raise BadAnnotations("a feature that is none")
        yield item


def _box(feature: dict[str, Any], size: tuple[int, int]) -> Box | None:
    geometry, properties = feature.get("geometry"), feature.get("properties") or {}
    if not isinstance(geometry, dict) or not isinstance(properties, dict) or geometry.get("type") not in _DEPTHS:
        raise BadAnnotations("a shape of an unknown kind")
    if properties.get("objectType", "unknown") not in OBJECT_TYPES:
        raise BadAnnotations("an object of an unknown kind")
    if geometry["type"] not in _AREAS:
        return None
    points = list(_points(geometry.get("coordinates"), _DEPTHS[geometry["type"]]))
    if not points:
        raise BadAnnotations("a shape without corners")
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x0, y0 = max(0, math.floor(min(xs))), max(0, math.floor(min(ys)))
    x1, y1 = min(size[0], math.ceil(max(xs))), min(size[1], math.ceil(max(ys)))
    if x1 <= x0 or y1 <= y0:
        raise BadAnnotations("a shape outside the slide")
    return Box(x0, y0, x1 - x0, y1 - y0, _label(properties))


def _points(coordinates: Any, depth: int) -> Iterator[tuple[float, float]]:
    if not isinstance(coordinates, list):
        raise BadAnnotations("coordinates")
    if depth:
        for part in coordinates:
            yield from _points(part, depth - 1)
        return
    if len(coordinates) not in (2, 3) or not all(_is_number(value) for value in coordinates):
        raise BadAnnotations("coordinates")
    yield float(coordinates[0]), float(coordinates[1])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e9


def _label(properties: dict[str, Any]) -> str | None:
    """The class's name; QuPath's "name" of an object is free text of a person and is not read."""
    kind = properties.get("classification")
    name = kind.get("name") if isinstance(kind, dict) else None
    if name is None:
        return None
    if not isinstance(name, str) or not name or len(name) > MAX_LABEL or not name.isprintable():
        raise BadAnnotations("a class name")
    return name
