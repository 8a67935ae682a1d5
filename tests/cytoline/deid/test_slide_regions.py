"""Regions of a slide: the right pixels under the right coordinates, and nothing read on a hostile file's word."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_slides import SIZE, half, page, picture, tiff, tiles_of

from cytoline.images import RGB
from cytoline.slides.geojson import BadAnnotations, read_geojson
from cytoline.slides.regions import Box, UnreadableRegion, regions, slide_mpp, tissue_grid


def slide(tmp_path: Path, rgb: RGB, calibrated: bool = True) -> Path:
    tags: dict[str, Any] = {"t282": (5, [40000, 1]), "t283": (5, [40000, 1]), "t296": (3, [3])} if calibrated else {}
    levels = [rgb, half(rgb, 2), half(rgb, 4)]
    parts = [
        page(part, tiles_of(part, lambda tile: tile.tobytes()), 1, 2, t254=(4, [int(part is not rgb)]), **tags)
        for part in levels
    ]
    path = tmp_path / "slide.tif"
    path.write_bytes(tiff(parts))
    return path


def test_boxes_give_their_pixels(tmp_path: Path) -> None:
    rgb = picture()
    path = slide(tmp_path, rgb)
    assert slide_mpp(path) == (0.25, 0.25)
    boxes = [Box(10, 20, 100, 50, "a"), Box(500, 400, 100, 40), Box(0, 0, 1, 1)]
    for box, found in zip(boxes, regions(path, boxes), strict=True):
        assert (found.x, found.y, found.w, found.h, found.label, found.level0_per_px) == (
            box.x,
            box.y,
            box.w,
            box.h,
            box.label,
            1,
        )
        assert np.array_equal(found.rgb, rgb[box.y : box.y + box.h, box.x : box.x + box.w])


def test_a_wanted_scale_reads_a_reduced_level(tmp_path: Path) -> None:
    rgb = picture()
    path = slide(tmp_path, rgb)
    (same,) = regions(path, [Box(40, 80, 160, 120)], mpp=1.0)
    assert same.level0_per_px == 4
    assert np.array_equal(same.rgb, half(rgb, 4)[20:50, 10:50])
    (between,) = regions(path, [Box(40, 80, 160, 120)], mpp=0.75)
    assert between.rgb.shape == (40, 53, 3)
    (finer,) = regions(path, [Box(40, 80, 160, 120)], mpp=0.125)
    assert finer.rgb.shape == (240, 320, 3)


@pytest.mark.parametrize(
    ("box", "mpp", "reason"),
    [
        (Box(-1, 0, 10, 10), None, "outside"),
        (Box(0, 0, SIZE[0] + 1, 10), None, "outside"),
        (Box(595, 0, 10, 10), None, "outside"),
        (Box(0, 0, 0, 10), None, "outside"),
        (Box(0, 0, 10, -1), None, "outside"),
        (Box(0, 0, 400, 400), None, "too_large"),
        (Box(0, 0, 100, 100), 0.02, "too_large"),
        (Box(0, 0, 100, 100), float("nan"), "no_mpp"),
    ],
)
def test_what_is_refused(tmp_path: Path, box: Box, mpp: float | None, reason: str) -> None:
    with pytest.raises(UnreadableRegion) as caught:
        list(regions(slide(tmp_path, picture()), [box], mpp, max_pixels=100_000))
    assert caught.value.reason == reason


def test_no_scale_without_calibration_and_no_slide_in_a_text(tmp_path: Path) -> None:
    path = slide(tmp_path, picture(), calibrated=False)
    assert slide_mpp(path) is None
    with pytest.raises(UnreadableRegion, match="no mpp"):
        list(regions(path, [Box(0, 0, 9, 9)], mpp=0.5))
    with pytest.raises(UnreadableRegion, match="unreadable"):
        slide_mpp(Path(__file__))
    with pytest.raises(UnreadableRegion, match="unreadable"):
        slide_mpp(tmp_path / "none")


def test_the_grid_lies_on_the_tissue(tmp_path: Path) -> None:
    rgb = np.full((SIZE[1], SIZE[0], 3), 245, np.uint8)
    rgb[100:300, 200:400] = (170, 60, 150)
    path = slide(tmp_path, rgb)
    found = tissue_grid(path, 25, mpp=0.5)
    assert found == tissue_grid(path, 25, mpp=0.5)
    assert [(box.x, box.y) for box in found] == [(x, y) for y in range(100, 300, 50) for x in range(200, 400, 50)]
    assert {(box.w, box.h) for box in found} == {(50, 50)}
    assert not tissue_grid(slide(tmp_path, np.full_like(rgb, 245)), 50), "an empty slide has none"
    assert len(tissue_grid(slide(tmp_path, rgb), 50, least_tissue=0.0)) == 12 * 8


def feature(coordinates: Any, kind: str = "Polygon", **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


SQUARE = [[[10, 20], [50.5, 20], [50.5, 60], [10, 60], [10, 20]]]


def test_geojson_as_qupath_exports_it() -> None:
    collection = {
        "type": "FeatureCollection",
        "features": [
            feature(
                SQUARE, objectType="annotation", classification={"name": "Tumor", "color": [200, 0, 0]}, name="Dr X"
            ),
            feature([[[[-5, -5], [30, 0], [0, 30], [-5, -5]]], SQUARE], "MultiPolygon"),
            feature([3, 4], "Point"),
            feature([[[590, 400], [700, 400], [700, 500], [590, 400]]], classification=None),
        ],
    }
    boxes = read_geojson(json.dumps(collection).encode(), SIZE)
    assert boxes == (Box(10, 20, 41, 40, "Tumor"), Box(0, 0, 51, 60), Box(590, 400, 10, 40))
    assert read_geojson(json.dumps(collection["features"][0]).encode(), SIZE) == boxes[:1]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[1]",
        b'{"type": "FeatureCollection", "features": 7}',
        b'{"type":"Feature","geometry":{"type":"Polygon","coordinates":[[[NaN,1],[2,3]]]},"properties":{}}',
        b'{"type":"Feature","geometry":{"type":"Polygon","coordinates":[[[1e999,1],[2,3]]]},"properties":{}}',
        b'{"type":"Feature","geometry":{"type":"Polygon","coordinates":[[[true,1],[2,3]]]},"properties":{}}',
        b"[" * 100_000,
        b"1" * 10_000,
        json.dumps(feature([])).encode(),
        json.dumps(feature(SQUARE[0])).encode(),
        json.dumps(feature([SQUARE])).encode(),
        json.dumps(feature([[[700, 1], [800, 3], [700, 3]]])).encode(),
        json.dumps(feature(SQUARE, "Circle")).encode(),
        json.dumps(feature(SQUARE, objectType="person")).encode(),
        json.dumps(feature(SQUARE, classification={"name": "x" * 101})).encode(),
        json.dumps(feature(SQUARE, classification={"name": "a\nb"})).encode(),
        json.dumps(feature(SQUARE, classification={"name": 7})).encode(),
    ],
)
def test_hostile_geojson(content: bytes) -> None:
    started = time.monotonic()
    with pytest.raises(BadAnnotations) as caught:
        read_geojson(content, SIZE)
    assert time.monotonic() - started < 2
    assert "person" not in str(caught.value)


def test_depth_is_counted_before_the_parser_recurses() -> None:
    with pytest.raises(BadAnnotations, match="nested too deeply"):
        read_geojson(b"[" * 25 + b"]" * 25, SIZE)


def test_brackets_in_words_are_no_depth() -> None:
    name = "[" * 60 + '\\"' + "{" * 30
    assert read_geojson(json.dumps(feature(SQUARE, classification={"name": name})).encode(), SIZE)[0].label == name


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["type", "geometry", "name"]), inner),
    max_leaves=12,
)


@given(coordinates=VALUES, properties=VALUES, kind=st.sampled_from(["Polygon", "MultiPolygon", "Point"]))
def test_any_json_gives_boxes_inside_or_the_refusal(coordinates: Any, properties: Any, kind: str) -> None:
    made = {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}
    try:
        boxes = read_geojson(json.dumps(made).encode(), SIZE)
    except BadAnnotations:
        return
    assert all(box.x >= 0 and box.y >= 0 and box.x + box.w <= SIZE[0] and box.y + box.h <= SIZE[1] for box in boxes)
