"""augment: boxes follow pixels, copies depend on nothing but their own image, and only the wanted parts are varied."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planted_cells import CELL, GROUND, HEIGHT, WIDTH, content, in_process, inside, picture, plant, write_params

from cytoline.images import read_image, write_png
from cytoline.manifest import Annotation, Record, read_manifest
from cytoline.shards import Shards
from stages import augment
from stages.augment import AugmentParams, StainJitter, main, vary

BOX = (20.0, 24.0, 16.0, 12.0)
CLEAN, SPLIT, OUT = Path("data/clean"), Path("data/split"), Path("data/augmented")
OFF = {"stain": 0.0, "focus": 0.0, "geometry": 0.0, "noise": 0.0}


@pytest.fixture(autouse=True)
def no_workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "with_workers" not in request.fixturenames:
        monkeypatch.setattr(augment, "worker_pool", in_process)


@pytest.fixture
def with_workers() -> None:
    """Asks for real worker processes."""


def _params(**changes: object) -> AugmentParams:
    values = {"copies": 1, "splits": ["train"], "min_visibility": 0.4} | OFF | changes
    return AugmentParams.model_validate(values)


def _record(boxes: list) -> Record:
    return Record(
        image_id="f",
        file="f.png",
        sha256="0" * 64,
        width=WIDTH,
        height=HEIGHT,
        mpp=None,
        patient="p",
        slide="s",
        source="planted",
        organ="cervix",
        stain="papanicolaou",
        role="field",
        annotations=tuple(Annotation(bbox=box, label=f"cell {number}") for number, box in enumerate(boxes)),
    )


def _varied(folder: Path, boxes: list, seed: int, params: AugmentParams) -> tuple[np.ndarray, Record]:
    path = folder / "f.png"
    write_png(path, picture(boxes))
    made = vary(path, _record(boxes), 0, seed, params)
    return read_image(made["image.png"]), Record.model_validate_json(made["record.json"])


def _bright(pixels: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(pixels.mean(axis=2) > (GROUND + CELL) / 2)
    return columns.min(), rows.min(), columns.max() + 1 - columns.min(), rows.max() + 1 - rows.min()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000))
def test_a_planted_square_and_its_box_move_together(tmp_path: Path, seed: int) -> None:
    pixels, record = _varied(tmp_path, [BOX], seed, _params(geometry=1.0))
    assert (record.height, record.width) == pixels.shape[:2]
    x, y, w, h = record.annotations[0].bbox
    left, top, width, height = _bright(pixels)
    # The box of a turned cell is that of the ellipse in it; a square's corners reach up to 4 px beyond it.
    assert abs(x + w / 2 - (left + width / 2)) <= 1.5
    assert abs(y + h / 2 - (top + height / 2)) <= 1.5
    assert abs(w - width) <= 6
    assert abs(h - height) <= 6


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000))
def test_boxes_stay_inside_and_keep_their_own_labels(tmp_path: Path, seed: int) -> None:
    boxes = [BOX, (0.0, 0.0, 10.0, 10.0), (86.0, 60.0, 10.0, 12.0)]
    _, record = _varied(tmp_path, boxes, seed, _params(geometry=1.0, stain=1.0, focus=1.0, noise=1.0))
    areas = {f"cell {number}": box[2] * box[3] for number, box in enumerate(boxes)}
    for item in record.annotations:  # Record itself refuses boxes that reach outside
        assert item.bbox[2] * item.bbox[3] <= 2 * areas[item.label]
    assert "cell 0" in {item.label for item in record.annotations}


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000))
def test_without_geometry_boxes_do_not_move(tmp_path: Path, seed: int) -> None:
    _, record = _varied(tmp_path, [BOX], seed, _params(stain=1.0, focus=1.0, noise=1.0))
    assert record.annotations[0].bbox == pytest.approx(BOX, abs=0.011)


def test_all_strengths_off_copies_the_pixels(tmp_path: Path) -> None:
    pixels, record = _varied(tmp_path, [BOX], 0, _params())
    assert np.array_equal(pixels, picture([BOX]))
    assert record.annotations[0].bbox == pytest.approx(BOX, abs=0.011)


@pytest.mark.parametrize("group", ["stain", "focus", "geometry", "noise"])
def test_every_group_changes_pixels(tmp_path: Path, group: str) -> None:
    changed = [
        not np.array_equal(_varied(tmp_path, [BOX], seed, _params(**{group: 1.0}))[0], picture([BOX]))
        for seed in range(8)
    ]
    assert any(changed)


def test_stain_jitter_leaves_the_empty_slide_bright() -> None:
    white = np.full((4, 4, 3), 255, dtype=np.uint8)
    jitter = StainJitter(0.2)
    shown = jitter.apply(white, scale=np.array([1.2, 0.8, 1.2]), shift=np.array([0.02, 0.02, 0.02]))
    assert (shown >= 253).all()


def test_stain_jitter_with_nothing_drawn_changes_nothing() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    shown = StainJitter(0.2).apply(pixels, scale=np.ones(3), shift=np.zeros(3))
    assert np.abs(shown.astype(int) - pixels).max() <= 1


FIELDS = {
    "a": ("train", [(BOX, "NILM")]),
    "b": ("train", [(BOX, "HSIL"), ((60.0, 40.0, 12.0, 12.0), "SCC")]),
    "c": ("val", [(BOX, "NILM")]),
    "d": ("test", [(BOX, "NILM")]),
}


def _run(folder: Path) -> None:
    with inside(folder):
        main(clean=CLEAN, split=SPLIT, out=OUT)


def test_only_train_is_varied_and_the_out_is_complete(tmp_path: Path, with_workers: None) -> None:
    write_params(tmp_path)
    plant(tmp_path, FIELDS)
    _run(tmp_path)
    records = read_manifest(tmp_path / OUT)
    assert [record.image_id for record in records] == ["a-a0", "a-a1", "b-a0", "b-a1"]
    shards = Shards(tmp_path / OUT)
    for record in records:
        pixels = read_image(shards[record.file])
        assert pixels.shape[:2] == (record.height, record.width)
        assert shards.sha256(record.file) == record.sha256
    summary = json.loads((tmp_path / OUT / "summary.json").read_text())
    assert summary["images"] == 4
    assert summary["varied_outside_train"] == []


def test_a_copy_does_not_depend_on_the_other_images(tmp_path: Path) -> None:
    for name, fields in (("all", FIELDS), ("one", {"b": FIELDS["b"]})):
        (tmp_path / name).mkdir()
        write_params(tmp_path / name)
        plant(tmp_path / name, fields)
    # The planted ground differs by position in the list; give both runs the same file.
    file = CLEAN / "images" / "b.png"
    (tmp_path / "one" / file).write_bytes((tmp_path / "all" / file).read_bytes())
    for name in ("all", "one"):
        _run(tmp_path / name)
    first, second = (Shards(tmp_path / name / OUT) for name in ("all", "one"))
    assert first["b-a0.png"] == second["b-a0.png"]
    assert first["b-a0.png"] != first["b-a1.png"]


def test_the_same_again_is_the_same_bytes_without_the_memo_store(tmp_path: Path) -> None:
    outs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_params(tmp_path / name)
        plant(tmp_path / name, {"a": FIELDS["a"]})
        _run(tmp_path / name)
        outs.append(content(tmp_path / name / OUT))
    assert outs[0] == outs[1]


def test_varying_val_is_possible_and_said(tmp_path: Path) -> None:
    write_params(tmp_path, augment={"splits": ["train", "val"], "copies": 1})
    plant(tmp_path, FIELDS)
    _run(tmp_path)
    assert "c-a0" in {record.image_id for record in read_manifest(tmp_path / OUT)}
    assert json.loads((tmp_path / OUT / "summary.json").read_text())["varied_outside_train"] == ["val"]


@pytest.mark.parametrize("changes", [{"role": "cell"}, {"labelled": False, "annotations": []}])
def test_single_cells_and_unlabelled_fields_are_left_out(tmp_path: Path, changes: dict) -> None:
    write_params(tmp_path)
    plant(tmp_path, {"a": FIELDS["a"]}, **changes)
    _run(tmp_path)
    assert read_manifest(tmp_path / OUT) == []
    assert len(Shards(tmp_path / OUT)) == 0
