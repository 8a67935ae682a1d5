"""Regions of slides as a source: grid, GeoJSON and table give the right pixels, cells and counts, or say why not."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytoline.errors import CytolineError
from cytoline.slides.regions import Box as Place
from cytoline.slides.regions import UnreadableRegion
from cytoline.sources.examine import check_conservation
from cytoline.sources.guess import guess_kind
from cytoline.sources.listing import list_files
from cytoline.sources.regions import Wanted, _chosen, _grid, _placed
from cytoline.sources.schema import check_source
from cytoline.sources.unpack import Unpacked, evenly
from tests.planted_sources import BETHESDA, FULL, SHARED, info, picture, reasons
from tests.planted_unpacked import geojson, left_out, one_lost, pixels, point, shape, slide, tissue, unpacked


def about(**more: Any) -> Any:
    return info("wsi-regions", **{"region_px": 64, "slide_id": "each-file", "microns_per_pixel": 0.5, **more})


def test_the_grid_lies_on_the_tissue(tmp_path: Path) -> None:
    rgb = tissue()
    slide(tmp_path / "in" / "P1" / "a.tif", rgb)
    examined = unpacked(tmp_path / "in", about(patient_id="^(?P<patient>[^/]+)/"))
    places = {(x, y) for x in (64, 128, 192) for y in (64, 128)}
    assert {image.found.path for image in examined.kept} == {f"P1/a.tif/x{x}-y{y}-64x64.png" for x, y in places}
    for image, (x, y) in zip(
        sorted(examined.kept, key=lambda item: item.found.path), sorted_by_name(places), strict=True
    ):
        assert np.array_equal(pixels(image), rgb[y : y + 64, x : x + 64])
        assert (image.patient, image.slide, image.found.mpp) == ("P1", "s/P1/a.tif", pytest.approx(0.25))
        assert image.found.labelled is False
    assert (examined.listing.seen, examined.entries, examined.boxes) == (7, 6, 0)
    with pytest.raises(RuntimeError, match="6 of 7 files"):
        check_conservation(one_lost(examined))


def sorted_by_name(places: set[tuple[int, int]]) -> list[tuple[int, int]]:
    return sorted(places, key=lambda place: f"x{place[0]}-y{place[1]}")


def test_a_wanted_scale_and_a_limit(tmp_path: Path) -> None:
    slide(tmp_path / "in" / "a.tif", tissue())
    slide(tmp_path / "in" / "b.tif", tissue(1), mpp=None)
    examined = unpacked(tmp_path / "in", about(region_mpp=0.5, region_px=32, max_regions=4))
    assert {(image.width, round(image.found.mpp or 0, 6)) for image in examined.kept} == {(32, 0.5)}
    assert left_out(examined) == {("file", "no_calibration"): 1, ("entry", "over_limit"): 2}
    assert (len(examined.kept), examined.entries) == (4, 6)


MARKED = [
    shape(64, 64, 100, 90, "Region"),
    shape(180.5, 70.5, 60, 60),
    shape(70, 80, 20, 30, "HSIL"),
    shape(160, 100, 10, 10, "nilm"),
    shape(157, 100, 10, 10, "NILM"),
    shape(5, 5, 10, 10, "NILM"),
    point(80, 80),
]


def test_qupaths_regions_with_their_cells(tmp_path: Path) -> None:
    rgb = tissue()
    slide(tmp_path / "in" / "a.tif", rgb)
    geojson(tmp_path / "in" / "a.geojson", MARKED)
    examined = unpacked(tmp_path / "in", about(regions="geojson"))
    by_name = {image.found.path: image for image in examined.kept}
    first, second = by_name["a.tif/x64-y64-100x90.png"], by_name["a.tif/x180-y70-61x61.png"]
    assert np.array_equal(pixels(first), rgb[64:154, 64:164])
    assert [(box.label, box.bbox) for box in first.boxes] == [
        ("HSIL", (6.0, 16.0, 20.0, 30.0)),
        ("NILM", (93.0, 36.0, 7.0, 10.0)),
    ]
    assert (first.found.labelled, second.found.labelled, second.boxes) == (True, False, ())
    assert examined.used == {"a.tif", "a.geojson"}
    assert left_out(examined) == {("box", "outside_regions"): 2, ("box", "no_area"): 1}
    assert examined.boxes == 5


def test_cells_follow_the_scale(tmp_path: Path) -> None:
    slide(tmp_path / "in" / "a.tif", tissue())
    geojson(tmp_path / "in" / "a.geojson", [shape(64, 64, 100, 80, "roi"), shape(84, 74, 20, 10, "HSIL")])
    (image,) = unpacked(tmp_path / "in", about(regions="geojson", region_mpp=0.5, region_class="ROI")).kept
    assert (image.width, image.height, image.boxes[0].bbox) == (50, 40, (10.0, 5.0, 10.0, 5.0))


def test_a_table_of_regions(tmp_path: Path) -> None:
    rgb = tissue()
    slide(tmp_path / "in" / "P1" / "a.tif", rgb)
    slide(tmp_path / "in" / "P2" / "b.tif", rgb)
    rows = [
        "P1/a.tif,64,64,50,40",
        "P1/a.tif,64,64,50,40",
        "P1/a.tif,300,200,64,64",
        "P1/a.tif,-5,0,20,20",
        "P1/a.tif,1,1,9e9,1",
        "../../secret.tif,0,0,10,10",
        "/etc/passwd,0,0,10,10",
        "P3/c.tif,0,0,10,10",
    ]
    (tmp_path / "in" / "regions.csv").write_text("\n".join(["Slide,x,y,w,h", *rows]))
    slide(tmp_path / "secret.tif", rgb)
    examined = unpacked(tmp_path / "in", about(regions="regions.csv"))
    (image,) = examined.kept
    assert np.array_equal(pixels(image), rgb[64:104, 64:114])
    assert left_out(examined) == {
        ("entry", "listed_twice"): 1,
        ("entry", "outside_slide"): 2,
        ("entry", "bad_region"): 1,
        ("entry", "path_outside"): 2,
        ("entry", "annotation_without_image"): 1,
        ("file", "no_annotation"): 1,
    }
    assert examined.entries == len(rows)
    with pytest.raises(CytolineError, match=r"table of regions other\.csv is missing"):
        unpacked(tmp_path / "in", about(regions="other.csv"))
    (tmp_path / "in" / "regions.csv").write_text("slide,x,y\nP1/a.tif,1,2")
    with pytest.raises(CytolineError, match="no column w, h"):
        unpacked(tmp_path / "in", about(regions="regions.csv"))


@pytest.mark.parametrize(
    "features",
    [
        [shape(1e9, 0, 10, 10)],
        [shape(64, 64, 50, 50), shape(float("inf"), 0, 1, 1)],
        [shape(64, 64, 50, 50), shape(5000, 5000, 10, 10, "NILM")],
        [{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[["x", 1]]]}, "properties": {}}],
    ],
)
def test_wild_coordinates_refuse_the_slide_and_its_annotations(tmp_path: Path, features: list[dict[str, Any]]) -> None:
    slide(tmp_path / "in" / "a.tif", tissue())
    geojson(tmp_path / "in" / "a.geojson", features)
    examined = unpacked(tmp_path / "in", about(regions="geojson"))
    assert reasons(examined) == {"a.tif": "bad_annotation", "a.geojson": "bad_annotation"}
    assert not examined.kept


def test_annotations_of_nobody_of_two_and_none(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for name in ("a.tif", "a.tiff", "b.tif", "c.tif"):
        slide(folder / name, tissue())
    geojson(folder / "a.geojson", MARKED)
    geojson(folder / "c.geojson", [shape(5, 5, 10, 10, "NILM")])
    geojson(folder / "d.geojson", MARKED)
    (folder / "notes.csv").write_text("x")
    assert reasons(unpacked(folder, about(regions="geojson"))) == {
        "a.tif": "ambiguous",
        "a.tiff": "ambiguous",
        "a.geojson": "ambiguous",
        "b.tif": "no_annotation",
        "c.tif": "no_region",
        "c.geojson": "no_region",
        "d.geojson": "annotation_without_image",
        "notes.csv": "other_file",
    }


def test_too_large_is_known_before_anything_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    whole = slide(folder / "a.tif", tissue()).read_bytes()
    claim = whole
    for tag, value in ((256, 320), (257, 256)):
        was = struct.pack("<HHII", tag, 4, 1, value)
        assert was in claim
        claim = claim.replace(was, struct.pack("<HHII", tag, 4, 1, 60_000))
    (folder / "bomb.tif").write_bytes(claim)
    (folder / "cut.tif").write_bytes(whole[:4000])
    (folder / "text.svs").write_text("no slide")
    (folder / "region.csv").write_text(
        "slide,x,y,w,h\na.tif,0,0,320,256\nbomb.tif,0,0,59000,59000\nbomb.tif,0,0,2000,1000\ncut.tif,0,0,9,9"
    )
    examined = unpacked(folder, about(regions="region.csv"), max_megapixels=1)
    assert reasons(examined)["bomb.tif"] == reasons(examined)["bomb.tif/x0-y0-59000x59000.png"] == "too_large"
    assert reasons(examined)["text.svs"] == "no_annotation"
    assert left_out(examined)["entry", "too_large"] == 2
    assert [image.found.path for image in examined.kept] == ["a.tif/x0-y0-320x256.png"]
    grid = unpacked(folder, about(region_px=16), max_megapixels=1)
    assert reasons(grid)["bomb.tif"] == "too_large"
    assert reasons(grid)["text.svs"] == "truncated"


def test_a_grid_that_no_slide_has_is_not_walked(tmp_path: Path) -> None:
    for wanted, size in ((Wanted(16, None, 1, 1), (10**6, 10**6)), (Wanted(1024, 0.01, 1, 1), (10**5, 10**5))):
        with pytest.raises(UnreadableRegion, match="too large"):
            _grid(tmp_path / "none", size, (0.25, 0.25), wanted)


def mirax(folder: Path, parts: list[str], text: str | None = None) -> None:
    """What a MIRAX slide's folder looks like; no one could read this one."""
    (folder / "m").mkdir(parents=True)
    (folder / "m.mrxs").write_bytes(b"\xff\xd8 preview")
    for part in parts:
        (folder / "m" / part).write_bytes(b"x")
    if text is not None:
        (folder / "m" / "Slidedat.ini").write_text(text)


PARTS = "\ufeff[HIERARCHICAL]\r\nINDEXFILE = Index.dat\r\n[DATAFILE]\r\nFILE_0 = Data0000.dat\r\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (PARTS, "truncated"),
        (None, "incomplete_slide"),
        ("", "incomplete_slide"),
        (PARTS + "FILE_1 = Data0001.dat\r\n", "incomplete_slide"),
        (PARTS + "FILE_1 = ../other.dat\r\n", "incomplete_slide"),
        (PARTS + "file_1=/etc/passwd\n", "incomplete_slide"),
    ],
)
def test_a_mirax_slide_opens_nothing_but_its_own_folder(tmp_path: Path, text: str | None, reason: str) -> None:
    mirax(tmp_path / "in", ["Index.dat", "Data0000.dat"], text)
    (tmp_path / "in" / "other.dat").write_bytes(b"x")
    slide(tmp_path / "in" / "m" / "inside.tif", tissue())
    found = reasons(unpacked(tmp_path / "in", about()))
    assert found.pop("other.dat") == "other_file"
    assert set(found.values()) == {reason}
    assert {"m.mrxs", "m/Index.dat", "m/inside.tif"} <= set(found)


def test_a_mirax_slide_with_a_link_out_is_refused(tmp_path: Path) -> None:
    mirax(tmp_path / "in", ["Index.dat", "Data0000.dat"], PARTS)
    (tmp_path / "outside").write_bytes(b"x")
    (tmp_path / "in" / "m" / "Data0001.dat").symlink_to(tmp_path / "outside")
    found = reasons(unpacked(tmp_path / "in", about()))
    assert (found["m.mrxs"], found["m/Data0001.dat"]) == ("incomplete_slide", "link_out")


def test_settings_that_are_none(tmp_path: Path) -> None:
    for more in (
        {"regions": "../x.csv"},
        {"regions": "x.json"},
        {"region_px": 1},
        {"region_mpp": 0},
        {"max_frames": 3},
    ):
        with pytest.raises(CytolineError, match=next(iter(more))):
            check_source({**FULL, "kind": "wsi-regions", **more}, "x")


NUMBERS = st.integers(-50, 400)
PLACES = st.builds(Place, NUMBERS, NUMBERS, st.integers(0, 200), st.integers(0, 200), st.just("c"))


@given(areas=st.lists(PLACES, max_size=9), cells=st.lists(PLACES, max_size=9), most=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_no_region_and_no_cell_vanishes(areas: list[Place], cells: list[Place], most: int) -> None:
    out = Unpacked()
    chosen = _chosen(areas, most, out)
    placed = _placed(cells, chosen, out)
    refused = {what: sum(item.count for item in out.refused if item.what == what) for what in ("entry", "box")}
    assert out.entries == len(areas) == len(chosen) + refused["entry"]
    assert out.boxes == sum(map(len, placed)) + refused["box"]
    assert out.boxes >= len(cells)
    assert len(chosen) <= most


def test_evenly() -> None:
    assert evenly([1, 2], 2) == [1, 2]
    assert evenly(range(10), 1) == [5]
    assert all(len(set(evenly(range(n), most))) == min(n, most) for n in range(40) for most in range(1, 12))


def test_a_plain_tiff_is_no_slide(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.tif")
    assert guess_kind(list_files(tmp_path / "in"), BETHESDA) == "fields-plain"
    slide(tmp_path / "tiled" / "a.tif", tissue())
    assert guess_kind(list_files(tmp_path / "tiled"), BETHESDA) == "wsi-regions"


@pytest.mark.needs_shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data here")
def test_other_peoples_slides(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for path in (SHARED / "phi/openslide/tests/fixtures").iterdir():
        shutil.copyfile(path, folder / path.name)
    examined = unpacked(folder, about())
    assert {image.found.path.split("/")[0] for image in examined.kept} == {"boxes.tiff"}
    assert {name: reason for name, reason in reasons(examined).items() if not name.endswith((".dcm", ".png"))} == {
        "small.svs": "no_region",
        "unopenable.tiff": "truncated",
        "unreadable.svs": "truncated",
    }
