"""The phantom: same bytes for a same spec, sound COCO, identifiers exactly where the key says, key out of reach."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
import zxingcpp
from PIL import ExifTags, Image

from cytoline.errors import CytolineError
from cytoline.phantom import PhantomSpec, render_phantom
from cytoline.phantom.answer_key import AnswerKey, Planted, answer_key
from cytoline.phantom.cells import draw_cell
from cytoline.phantom.field import COARSE, MOST_COVERED, _layout
from cytoline.phantom.people import draw_person
from cytoline.phantom.plan import DOMINANT, PIXELS, plan_fields, plan_slides
from cytoline.phantom.spec import GRADES, PROBLEMS, stream
from cytoline.taxonomy import Taxonomy

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "data/incoming/phantom/source.yaml"
SPEC = PhantomSpec(seed=3, patients=4, fields_per_slide=2, width=320, height=256, burned_in=0.6)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    render_phantom(SPEC, folder)
    return folder


@pytest.fixture(scope="module")
def coco(rendered: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((rendered / "annotations.json").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def key() -> AnswerKey:
    return answer_key(SPEC)


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_same_spec_same_bytes_and_other_seed_other_bytes(rendered: Path, tmp_path: Path) -> None:
    render_phantom(SPEC, tmp_path / "again")
    render_phantom(SPEC.model_copy(update={"seed": 4, "patients": 1}), tmp_path / "other")
    assert _hashes(tmp_path / "again") == _hashes(rendered)
    assert not set(_hashes(tmp_path / "other").values()) & set(_hashes(rendered).values())


def test_more_patients_leave_the_first_ones_untouched(rendered: Path, tmp_path: Path) -> None:
    render_phantom(SPEC.model_copy(update={"patients": 2}), tmp_path)
    fewer, more = _hashes(tmp_path), _hashes(rendered)
    del fewer["annotations.json"]
    assert len(fewer) > 4
    assert fewer.items() <= more.items()


def test_every_listed_file_exists_and_every_good_box_lies_inside(rendered: Path, coco: dict[str, Any]) -> None:
    listed = {image["file_name"] for image in coco["images"]}
    assert listed == set(_hashes(rendered)) - {"annotations.json"}
    inside = [
        w > 0 and h > 0 and x >= 0 and y >= 0 and x + w <= SPEC.width and y + h <= SPEC.height
        for x, y, w, h in (item["bbox"] for item in coco["annotations"])
    ]
    assert inside.count(False) == 2, "the zero-width and the outside box, no more"
    assert len(inside) > 5 * len(listed) / 2


def test_labels_are_what_the_taxonomy_knows(coco: dict[str, Any]) -> None:
    taxonomy = Taxonomy.load("bethesda", ROOT / "configs/taxonomies")
    names = [category["name"] for category in coco["categories"]]
    assert {taxonomy.find(name) for name in names} == set(GRADES)
    assert "ASC-US" in names
    assert "ASC-H" in names


def test_planted_problems(rendered: Path, coco: dict[str, Any], key: AnswerKey) -> None:
    faults = dict(key.faults)
    assert set(faults) == set(PROBLEMS)
    digests = _hashes(rendered)
    assert Counter(digests.values())[digests[faults["duplicate"]]] == 2
    with Image.open(rendered / faults["truncated"]) as image, pytest.raises(OSError, match="truncated"):
        image.load()
    names = {image["id"]: image["file_name"] for image in coco["images"]}
    bad = {names[item["image_id"]]: item["bbox"] for item in coco["annotations"] if _is_bad(item["bbox"])}
    assert set(bad) == {faults["zero_width"], faults["outside"]}
    assert bad[faults["zero_width"]][2] == 0
    assert bad[faults["outside"]][0] >= SPEC.width


def _is_bad(box: list[float]) -> bool:
    return box[2] <= 0 or box[0] + box[2] > SPEC.width


def test_problems_can_be_left_out(tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"patients": 1, "problems": ()})
    render_phantom(spec, tmp_path)
    loaded = json.loads((tmp_path / "annotations.json").read_text())
    assert not answer_key(spec).faults
    assert not any(_is_bad(item["bbox"]) for item in loaded["annotations"])
    assert len(loaded["images"]) == len(list(plan_fields(spec)))


def test_source_yaml_states_patient_and_slide(rendered: Path, key: AnswerKey) -> None:
    source = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))
    assert source["kind"] == "phantom"
    PhantomSpec.read(source["phantom"])
    of: dict[str, set[str]] = {}
    slides = set()
    for file, patient in key.patients.items():
        assert (rendered / file).is_file()
        found, slide = re.search(source["patient_id"], file), re.search(source["slide_id"], file)
        assert found
        assert slide
        of.setdefault(found["patient"], set()).add(patient)
        slides.add((patient, slide["slide"]))
    assert sorted(map(len, of.values())) == [1] * SPEC.patients
    assert len(slides) == len(list(plan_slides(SPEC)))


def test_unknown_and_impossible_knobs_are_refused_by_name() -> None:
    with pytest.raises(CytolineError, match=r"phantom\.patient: Extra"):
        PhantomSpec.read({"patient": 3})
    with pytest.raises(CytolineError, match=r"phantom\.burned_in"):
        PhantomSpec.read({"burned_in": 1.5})
    with pytest.raises(CytolineError, match="cells_max"):
        PhantomSpec.read({"cells_min": 9, "cells_max": 3})


def test_every_planted_identifier_is_where_the_key_says(rendered: Path, coco: dict[str, Any], key: AnswerKey) -> None:
    dates = {image["file_name"]: image["date_captured"] for image in coco["images"]}
    readers = {item["annotator"] for item in coco["annotations"]}
    seen = Counter(item.place for item in key.planted)
    for item in key.planted:
        if item.place == "annotations:date_captured":
            assert dates[item.file] == item.value
        elif item.place == "annotations:annotator":
            assert item.value in readers
        elif item.place in ("folder", "file name"):
            assert item.value in item.file
        elif item.place != "pixels":
            assert item.value in _metadata(rendered / item.file, item), item
    assert {place.partition(":")[0] for place in seen} >= {"exif", "png", "jpeg", "xmp", "bmp", "pixels"}
    assert seen["exif:GPS"]
    assert seen["exif:UserComment"]
    assert seen["exif:BodySerialNumber"]


def _metadata(path: Path, item: Planted) -> str:
    """What an independent reader (Pillow) finds at that place, as text."""
    if item.place == "bmp:trailer":
        content = path.read_bytes()
        return content[int.from_bytes(content[2:6], "little") :].decode()
    with Image.open(path) as image:
        return _in_image(image, item.place)


def _in_image(image: Any, place: str) -> str:
    exif = image.getexif()
    if place == "exif:GPS":
        gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
        return f"{float(gps[2][0]):.4f},{float(gps[4][0]):.4f}"
    if place.startswith("exif:"):
        tag = getattr(ExifTags.Base, place.removeprefix("exif:"))
        value = exif.get(tag, exif.get_ifd(ExifTags.IFD.Exif).get(tag))
        return value.decode() if isinstance(value, bytes) else str(value)
    if place == "xmp":
        raw = image.info.get("xmp", image.info.get("XML:com.adobe.xmp"))
        return raw.decode() if isinstance(raw, bytes) else str(raw)
    if place == "jpeg:COM":
        return str(image.info["comment"].decode())
    return str(image.text[place.rpartition(":")[2]])


def test_burned_in_text_is_readable_and_barcodes_decode(rendered: Path, key: AnswerKey) -> None:
    kinds = Counter(item.kind for item in key.burned_in())
    assert kinds["barcode"]
    assert kinds["date"] + kinds["name"]
    for item in key.burned_in():
        if Path(item.file).name.startswith("IMG_0000"):
            continue
        image = cv2.cvtColor(cv2.imdecode(np.fromfile(rendered / item.file, np.uint8), 1), cv2.COLOR_BGR2GRAY)
        assert item.box is not None
        x, y, w, h = item.box
        assert x >= 0
        assert y >= 0
        assert x + w <= SPEC.width
        assert y + h <= SPEC.height
        region = image[y : y + h, x : x + w].astype(int)
        assert np.percentile(region, 96) - np.percentile(region, 4) >= 60
        if item.kind == "barcode":
            assert [code.text for code in zxingcpp.read_barcodes(image)] == [item.value]


def test_grades_show_and_neighbours_overlap() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for grade in range(len(GRADES)):
        cells = [draw_cell(rng, grade, PhantomSpec()) for _ in range(250)]
        bodies = np.array([_area(cell.outline) for cell in cells])
        nuclei = np.array([sum(_area(nucleus.outline) for nucleus in cell.nuclei) for cell in cells])
        density = np.array([cell.nuclei[0].density for cell in cells])
        coarse = np.array([cell.nuclei[0].coarseness for cell in cells])
        rows.append((np.median(nuclei / bodies), coarse.mean(), np.percentile(density, 10), np.percentile(density, 90)))
    ratio, coarseness, low, high = zip(*rows, strict=True)
    assert ratio[0] < ratio[1] < ratio[2]
    assert ratio[3] > ratio[1]
    assert list(coarseness) == sorted(coarseness)
    assert all(high[grade] > low[grade + 1] for grade in range(3)), "no single number tells two grades apart"


def _area(outline: Any) -> float:
    return float(cv2.contourArea(outline.astype(np.float32)))


def test_no_cell_is_buried() -> None:
    spec = PhantomSpec(patients=6, crowding=1.0, cells_min=20, cells_max=30)
    for plan in plan_fields(spec):
        placed = _layout(stream(spec.seed, PIXELS, *plan.key), spec, plan)
        depth = np.sum([item.mask for item in placed], axis=0)
        assert depth.shape == (spec.height // COARSE, spec.width // COARSE)
        assert max(float((depth[item.mask] > 1).mean()) for item in placed) <= MOST_COVERED


def test_any_dozen_patients_hold_every_grade_and_nobody_shares_a_folder() -> None:
    assert Counter(DOMINANT).keys() == {0, 1, 2, 3}
    assert {0, 1, 2, 3} == set(DOMINANT[:4])
    folders = [draw_person(stream(0, number), number, shift=2).folder for number in range(2000)]
    assert len(set(folders)) == len(folders)


def test_no_stage_and_no_renderer_can_reach_the_answer_key() -> None:
    rooms = [*(ROOT / "stages").rglob("*.py"), *(ROOT / "cytoline").rglob("*.py")]
    assert len(rooms) > 10
    for path in rooms:
        if path.name == "answer_key.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", "") or "", *(alias.name for alias in node.names)]
                assert not any("answer_key" in name for name in names), path
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and path.parts[-2] != "phantom":
                # import_module("...answer_key") would not show above.
                assert not node.value.endswith("phantom.answer_key"), path
