"""source.yaml, files and images of a source: what is understood, and what is refused by which reason."""

from __future__ import annotations

import os
import sys
import time
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cytoline.errors import CytolineError
from cytoline.memo import Memo
from cytoline.sources.boxes import fit, place_cell
from cytoline.sources.compose import compose
from cytoline.sources.examine import check_conservation, examine
from cytoline.sources.found import MEANING, Found, Reason
from cytoline.sources.guess import guess_kind, guess_rest
from cytoline.sources.identity import apply_rule, identify
from cytoline.sources.listing import list_files
from cytoline.sources.schema import SourceInfo, check_source, load_source, parse_source
from tests.planted_sources import (
    BETHESDA,
    FULL,
    PARAMS,
    SHARED,
    coco,
    info,
    look,
    picture,
    png_claiming,
    reasons,
    voc,
)

# -- source.yaml ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"organ": None}, "`organ`"),
        ({"kind": "fields-yolo"}, "`kind`"),
        ({"kind": "wsi-regions", "regions": "all"}, "`regions`: expected `grid`, `geojson` or the name of a CSV file"),
        ({"max_frames": 3}, "`max_frames` is only for dicom"),
        ({"microns_per_pixel": 0}, "`microns_per_pixel`: expected a number above 0, or `unknown`"),
        ({"microns_per_pixel": "dunno"}, "`microns_per_pixel`: expected a number above 0, or `unknown`"),
        ({"patient_id": "(unclosed"}, "`patient_id`: expected `each-file`, `column:NAME` or a regular expression"),
        ({"patient_id": "nogroup"}, "with a group in ( )"),
        ({"patiend_id": "each-file"}, "`patiend_id` is not a known field"),
        ({"images": "../elsewhere"}, "`images`: expected a path below this folder"),
        ({"box_px": 40}, "`box_px` is only for fields-csv-points"),
        ({"kind": "fields-csv-points"}, "`box_px` is missing"),
        ({"kind": "phantom"}, "`phantom` is missing"),
    ],
)
def test_a_bad_field_is_named_with_what_was_expected(change: Mapping[str, object], said: str) -> None:
    with pytest.raises(CytolineError) as caught:
        check_source({**FULL, **change}, "data/incoming/x/source.yaml")
    assert caught.value.cause.startswith("data/incoming/x/source.yaml: ")
    assert said in caught.value.cause


def test_a_missing_field_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(CytolineError, match=r"`license` is missing"):
        check_source({key: value for key, value in FULL.items() if key != "license"}, "x")
    with pytest.raises(CytolineError, match=r"source\.yaml is missing"):
        load_source(tmp_path)
    with pytest.raises(CytolineError, match=r"the source folder .* is missing"):
        load_source(tmp_path / "nothing")
    with pytest.raises(CytolineError, match="not valid YAML at line 2"):
        parse_source(b"kind: x\n  : :\n", Path("source.yaml"))


def test_a_linked_source_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(CytolineError, match="is a link"):
        load_source(tmp_path / "link")


@pytest.mark.parametrize(
    "about",
    [
        info("fields-plain"),
        info("fields-voc", label_aliases={"no": "NILM", "dirt": None}, organ="yes", microns_per_pixel="unknown"),
        info("cells-folders", cell_box_px=62, patient_id=r"^(?P<patient>[^/]+)/", columns={"x": "col"}),
        info("fields-csv-points", box_px=40.5, annotations="a b.csv", slide_id="column:slide"),
        info("fields-coco", annotations=["a.json", "b.json"], license='say "so": #1'),
    ],
)
def test_a_written_source_yaml_reads_back_the_same(about: SourceInfo) -> None:
    assert parse_source(compose(about).encode(), Path("x")) == about


# -- boxes ------------------------------------------------------------------------------------------------------

SIDE = st.floats(-300, 300, allow_nan=False)


@given(st.tuples(SIDE, SIDE, SIDE, SIDE), st.integers(1, 200), st.integers(1, 200))
def test_a_fitted_box_lies_inside_and_is_part_of_the_old_one(
    bbox: tuple[float, float, float, float], width: int, height: int
) -> None:
    new, reason = fit(bbox, width, height)
    if new is None:
        assert reason in ("degenerate", "outside")
        return
    x, y, w, h = new
    assert x >= 0
    assert y >= 0
    assert x + w <= width + 1e-9
    assert y + h <= height + 1e-9
    assert x >= bbox[0]
    assert x + w <= bbox[0] + bbox[2] + 1e-9
    assert (reason is None) == (new == bbox)


@pytest.mark.parametrize(
    ("bbox", "reason"),
    [
        ((5, 5, 0, 10), "degenerate"),
        ((5, 5, 10, -3), "degenerate"),
        ((40, 5, 10, 10), "outside"),
        ((-20, 5, 10, 10), "outside"),
        ((39.5, 5, 10, 10), "outside"),
        ((35, 5, 10, 10), "clipped"),
        ((float("nan"), 5, 10, 10), "not_a_box"),
        ((0, 0, 40, 30), None),
    ],
)
def test_boxes_are_refused_by_reason(bbox: tuple[float, float, float, float], reason: Reason | None) -> None:
    assert fit(bbox, 40, 30)[1] == reason


def test_the_nucleus_stays_the_middle_of_a_box_at_the_edge() -> None:
    box, reason = place_cell(Found("a", centre=(10.0, 15.0)), 40, 30, 30)
    assert box == (0.0, 0.0, 20.0, 30.0)
    assert reason == "clipped"
    assert place_cell(Found("a", centre=(50.0, 15.0)), 40, 30, 30) == (None, "outside")
    assert place_cell(Found("a"), 40, 30, None) == ((0.0, 0.0, 40.0, 30.0), None)


# -- whose image ------------------------------------------------------------------------------------------------


def test_patient_and_slide_rules() -> None:
    by_path = info("fields-plain", patient_id="^(?P<patient>P[0-9]+)/", slide_id="/(?P<slide>S[0-9]+)_")
    assert identify(by_path, "s", "P7/S2_1.png", {}) == ("P7", "S2")
    assert identify(by_path, "s", "x/S2_1.png", {}) is None
    assert identify(info("fields-plain", patient_id="([a-z]+)"), "s", "abc1.png", {}) == ("abc", "abc")
    by_column = info("fields-coco", patient_id="column:case")
    assert identify(by_column, "s", "a.png", {"case": " 9 "}) == ("9", "9")
    assert identify(by_column, "s", "a.png", {"case": ""}) is None
    each = info("fields-plain")
    assert identify(each, "s", "1.png", {}) != identify(each, "t", "1.png", {})


@pytest.mark.parametrize("rule", ["^([^/]+)/", "^(M\u00fcller)/", "^(Mu\u0308ller)/", "column:name", "each-file"])
def test_one_name_in_two_spellings_is_one_patient(rule: str) -> None:
    written = [unicodedata.normalize(form, "M\u00fcller ") for form in ("NFC", "NFD")]
    found = {apply_rule(rule, "patient", "s", f"{name.strip()}/1.png", {"name": name}) for name in written}
    assert found == {"s/M\u00fcller/1.png" if rule == "each-file" else "M\u00fcller"}


# -- files ------------------------------------------------------------------------------------------------------


def test_links_and_odd_files_are_refused_and_all_files_are_counted(tmp_path: Path) -> None:
    root = tmp_path / "source"
    picture(root / "in" / "a.png")
    secret = picture(tmp_path / "secret" / "b.png", 1)
    (root / "out.png").symlink_to(secret)
    (root / "outfolder").symlink_to(secret.parent)
    (root / "infolder").symlink_to(root / "in")
    (root / "dangling.png").symlink_to(root / "nothing.png")
    (root / "inside.png").symlink_to(root / "in" / "a.png")
    (root / "notes.txt").write_text("x")
    (root / "LICENSE").write_text("x")
    os.mkfifo(root / "pipe.png")
    listing = list_files(root)
    assert {item.file: item.reason for item in listing.refused} == {
        "out.png": "link_out",
        "outfolder": "link_out",
        "infolder": "link_to_folder",
        "dangling.png": "broken_link",
        "pipe.png": "special_file",
    }
    examined = look(root, info("fields-plain"))
    assert [image.found.path for image in examined.kept] == ["in/a.png"]
    assert reasons(examined)["inside.png"] == "duplicate"
    assert reasons(examined)["notes.txt"] == "other_file"
    assert listing.seen == 9


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system only holds UTF-8 names")
def test_a_name_that_is_not_utf8_is_refused_readably(tmp_path: Path) -> None:
    picture(tmp_path / "s" / "a.png")
    os.rename(os.fsencode(tmp_path / "s" / "a.png"), os.fsencode(tmp_path / "s") + b"/bad\xff.png")  # noqa: PTH104
    assert reasons(look(tmp_path / "s", info("fields-plain"))) == {"bad\\xff.png": "name_not_utf8"}


def test_a_link_into_dvcs_cache_is_the_file_itself(tmp_path: Path) -> None:
    stored = tmp_path / "cache" / "files" / "md5" / "ab" / ("0" * 30)
    stored.parent.mkdir(parents=True)
    picture(tmp_path / "x.png").replace(stored)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.png").symlink_to(stored)
    assert len(look(tmp_path / "s", info("fields-plain")).kept) == 1


# -- images -----------------------------------------------------------------------------------------------------


def test_unreadable_images_are_refused_with_their_reason(tmp_path: Path) -> None:
    root = tmp_path / "s"
    good = picture(root / "good.jpg", size=(200, 200)).read_bytes()
    (root / "half.jpg").write_bytes(good[: len(good) // 2])
    (root / "empty.png").write_bytes(b"")
    (root / "bomb.png").write_bytes(png_claiming(60_000, 60_000))
    (root / "text.png").write_text("this is no image")
    (root / "copy.jpg").write_bytes(good)
    with (root / "sparse.png").open("wb") as handle:
        handle.truncate(101_000_000)
    examined = look(root, info("fields-plain"))
    assert reasons(examined) == {
        "half.jpg": "truncated",
        "empty.png": "empty",
        "bomb.png": "too_large",
        "text.png": "unknown_format",
        "good.jpg": "duplicate",
        "sparse.png": "file_too_large",
    }
    assert [image.found.path for image in examined.kept] == ["copy.jpg"]


def test_the_real_format_gives_the_suffix(tmp_path: Path) -> None:
    picture(tmp_path / "s" / "a.png").rename(tmp_path / "s" / "a.JPG")
    assert [image.suffix for image in look(tmp_path / "s", info("fields-plain")).kept] == [".png"]


def test_a_patient_rule_that_finds_nothing_refuses_the_image(tmp_path: Path) -> None:
    picture(tmp_path / "s" / "P1_a.png")
    picture(tmp_path / "s" / "b.png", 1)
    examined = look(tmp_path / "s", info("fields-plain", patient_id="^(P[0-9]+)_"))
    assert reasons(examined) == {"b.png": "no_patient"}


def test_the_conservation_check_can_fail(tmp_path: Path) -> None:
    picture(tmp_path / "s" / "a.png")
    examined = look(tmp_path / "s", info("fields-plain"))
    examined.__dict__["kept"] = ()
    with pytest.raises(RuntimeError, match="0 of 1 files"):
        check_conservation(examined)


def test_every_reason_is_explained() -> None:
    assert set(MEANING) == set(Reason.__args__)  # type: ignore[attr-defined]


# -- guesses ----------------------------------------------------------------------------------------------------


def test_kinds_are_guessed_from_the_files(tmp_path: Path) -> None:
    def guessed(name: str) -> str:
        return guess_kind(list_files(tmp_path / name), BETHESDA)

    for name in ("plain", "voc", "coco", "points", "csv"):
        picture(tmp_path / name / "a.png")
    (tmp_path / "voc" / "a.xml").write_text(voc([]))
    coco(tmp_path / "coco", [], [])
    (tmp_path / "points" / "a.json").write_text('[{"image": "a.png", "cells": []}]')
    (tmp_path / "csv" / "a.csv").write_text("file,x,y,label\n")
    picture(tmp_path / "cells" / "ASC-US" / "a.png")
    assert [guessed(name) for name in ("plain", "voc", "coco", "points", "csv", "cells")] == [
        "fields-plain",
        "fields-voc",
        "fields-coco",
        "fields-csv-points",
        "fields-csv-points",
        "cells-folders",
    ]
    (tmp_path / "none").mkdir()
    with pytest.raises(CytolineError, match="no images"):
        guessed("none")


@pytest.mark.parametrize("text", ["9" * 16_000, "0 " + "9" * 16_000, "0 0.5 0.5 " + "9" * 16_000 + " x"])
def test_long_numbers_beside_an_image_take_no_time(tmp_path: Path, text: str) -> None:
    picture(tmp_path / "s" / "a.png")
    (tmp_path / "s" / "a.txt").write_text(text)
    started = time.perf_counter()
    assert guess_kind(list_files(tmp_path / "s"), BETHESDA) == "fields-plain"
    assert time.perf_counter() - started < 2


@pytest.mark.needs_shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data here")
def test_the_published_collections_are_understood(tmp_path: Path) -> None:
    fields = list_files(SHARED / "cric_fields")
    assert guess_kind(fields, BETHESDA) == "fields-csv-points"
    values = {**guess_rest("fields-csv-points", fields, BETHESDA), "box_px": 80}
    examined = examine("s", SHARED / "cric_fields", check_source(values, "x"), PARAMS, Memo(tmp_path / "memo"))
    assert len(examined.kept) == 2
    assert all(BETHESDA.find(label) for label in examined.labels)
    assert examined.boxes > 10

    cells = list_files(SHARED / "cric_cells")
    values = guess_rest(guess_kind(cells, BETHESDA), cells, BETHESDA)
    assert values["kind"] == "cells-folders"
    assert values["patient_id"] == "column:field"
    assert values["cell_box_px"] == 62
