"""extract_patches: the right patches, of the right origin and label, whose pixels show the cell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from planted_cells import CELL, HEIGHT, WIDTH, content, in_process, inside, plant, write_params

from cytoline.detections import Detection, write_detections
from cytoline.errors import CytolineError
from cytoline.images import read_image
from cytoline.manifest import BBox
from cytoline.patches import PatchRecord, read_patches, window
from cytoline.screening import cell_box
from cytoline.shards import Shards
from stages import extract_patches
from stages.extract_patches import main

CLEAN, SPLIT, FOUND, OUT = Path("data/clean"), Path("data/split"), Path("data/detections"), Path("data/patches")
FIRST: BBox = (20.0, 24.0, 16.0, 16.0)
SECOND: BBox = (70.0, 50.0, 12.0, 12.0)
EMPTY: BBox = (2.0, 2.0, 10.0, 10.0)
FIELDS = {
    "a": ("train", [(FIRST, "NILM"), (SECOND, "HSIL")]),
    "b": ("val", [(FIRST, "LSIL")]),
    "c": ("test", [(FIRST, "SCC"), (SECOND, "NILM")]),
}


@pytest.fixture(autouse=True)
def no_workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "with_workers" not in request.fixturenames:
        monkeypatch.setattr(extract_patches, "worker_pool", in_process)


@pytest.fixture
def with_workers() -> None:
    """Asks for real worker processes."""


def _found(folder: Path, *rows: tuple[str, BBox, float]) -> None:
    (folder / FOUND).mkdir(parents=True, exist_ok=True)
    detections = [Detection(image_id=image, category_id=1, bbox=box, score=score) for image, box, score in rows]
    write_detections(folder / FOUND, detections, FIELDS, ["cell"])


def _run(folder: Path) -> list[PatchRecord]:
    with inside(folder):
        main(clean=CLEAN, split=SPLIT, detections=FOUND, out=OUT)
    return read_patches(folder / OUT)


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    write_params(tmp_path)
    plant(tmp_path, FIELDS)
    _found(tmp_path)
    return tmp_path


def _of(patches: list[PatchRecord], origin: str) -> list[tuple[str, str | None]]:
    return [(patch.image_id, patch.label) for patch in patches if patch.origin == origin]


def test_every_annotated_cell_of_every_part_gives_a_patch_that_shows_it(planted: Path, with_workers: None) -> None:
    patches = _run(planted)
    assert _of(patches, "annotated") == [("a", "NILM"), ("a", "HSIL"), ("b", "LSIL"), ("c", "SCC"), ("c", "NILM")]
    shards = Shards(planted / OUT)
    assert set(shards) == {patch.file for patch in patches}
    for patch in patches:
        pixels = read_image(shards[patch.file])
        assert pixels.shape == (int(patch.bbox[2] * 1.5),) * 2 + (3,)
        bright = (pixels == CELL).all(axis=2)
        assert bright.sum() == patch.bbox[2] * patch.bbox[3]
        assert np.argwhere(bright).mean(axis=0) == pytest.approx((pixels.shape[0] - 1) / 2, abs=0.51)


def test_patches_carry_their_patient_and_part(planted: Path) -> None:
    assert {(patch.image_id, patch.patient, patch.split) for patch in _run(planted)} == {
        ("a", "patient-a", "train"),
        ("b", "patient-b", "val"),
        ("c", "patient-c", "test"),
    }


def test_detections_on_val_and_test_take_the_label_of_the_cell_they_show(planted: Path) -> None:
    near = (FIRST[0] + 2, FIRST[1], FIRST[2], FIRST[3])
    _found(planted, ("b", near, 0.9), ("b", EMPTY, 0.8), ("c", FIRST, 0.7), ("c", near, 0.6), ("a", FIRST, 0.9))
    patches = _run(planted)
    assert _of(patches, "detected") == [("b", "LSIL"), ("b", None), ("c", "SCC"), ("c", "SCC")]
    assert [patch.score for patch in patches if patch.origin == "detected"] == [0.9, 0.8, 0.7, 0.6]


def test_a_loose_detection_is_no_match_and_on_train_no_background_either(planted: Path) -> None:
    loose = (FIRST[0] + 8, FIRST[1], FIRST[2], FIRST[3])  # IoU 1/3: between background_iou and match_iou
    _found(planted, ("b", loose, 0.9), ("a", loose, 0.9))
    patches = _run(planted)
    assert _of(patches, "detected") == [("b", None)]
    assert _of(patches, "background") == []


def test_background_comes_from_false_positives_on_train_hardest_first_and_capped(planted: Path) -> None:
    other = (40.0, 2.0, 10.0, 10.0)
    _found(planted, ("a", EMPTY, 0.3), ("a", other, 0.8), ("b", other, 0.9))
    background = [patch for patch in _run(planted) if patch.origin == "background"]
    # Two annotated train patches, half a background patch for each: one, the better-scored.
    assert [(patch.bbox, patch.label, patch.split) for patch in background] == [(other, "background", "train")]


def test_no_background_from_a_field_that_nobody_annotated(tmp_path: Path) -> None:
    write_params(tmp_path, patches={"max_background_per_annotated": 9.0})
    plant(tmp_path, {"a": ("train", []), "b": ("val", [])}, labelled=False)
    _found(tmp_path, ("a", EMPTY, 0.9), ("b", EMPTY, 0.9))
    assert [(patch.image_id, patch.origin) for patch in _run(tmp_path)] == [("b", "detected")]


def test_low_scores_and_what_is_beyond_the_best_few_are_left_out(planted: Path) -> None:
    many = [("b", (float(4 * number), 2.0, 8.0, 8.0), 0.9 - number / 20) for number in range(7)]
    _found(planted, *many, ("c", EMPTY, 0.05))
    detected = [patch for patch in _run(planted) if patch.origin == "detected"]
    assert [patch.score for patch in detected] == pytest.approx([0.9, 0.85, 0.8, 0.75, 0.7])


def test_the_summary_counts_every_patch(planted: Path) -> None:
    _found(planted, ("b", EMPTY, 0.8))
    patches = _run(planted)
    summary = json.loads((planted / OUT / "summary.json").read_text())
    assert summary["patches"] == len(patches) == sum(row["patches"] for row in summary["counts"]) == 6
    assert {"split": "val", "origin": "detected", "label": "unmatched", "patches": 1} in summary["counts"]
    assert summary["cut"] == {"context": 1.5, "min_px": 16, "cell_px": None}


SMALL: BBox = (10.0, 8.0, 20.0, 14.0)
WHOLE: BBox = (0.0, 0.0, float(WIDTH), float(HEIGHT))


@pytest.mark.parametrize(
    ("role", "boxes", "side"), [("cell", SMALL, 20.0), ("cell", WHOLE, None), ("field", SMALL, None)]
)
def test_pictures_of_single_cells_say_how_much_of_them_is_the_cell(
    tmp_path: Path, role: str, boxes: BBox, side: float | None
) -> None:
    write_params(tmp_path)
    other = (2.0, 2.0, 40.0, 40.0)  # validation: not what was learnt from
    plant(tmp_path, {"a": ("train", [(boxes, "NILM")]), "b": ("val", [(other, "NILM")])}, role=role)
    _found(tmp_path)
    _run(tmp_path)
    cut = json.loads((tmp_path / OUT / "summary.json").read_text())["cut"]
    assert cut["cell_px"] == side


def test_a_new_picture_of_one_cell_is_cut_as_large_as_those_it_was_learnt_from() -> None:
    centred = (40.0, 43.0, 20.0, 14.0)
    assert window(cell_box(100, 100, 20.0), 1.3, 8, (100, 100)) == window(centred, 1.3, 8, (100, 100))
    assert cell_box(100, 80, None) == (0, 0, 100, 80)
    assert cell_box(12, 100, 20.0) == (0, 40, 12, 20)


def test_a_second_run_and_a_new_neighbour_leave_patches_as_they_were(planted: Path) -> None:
    _run(planted)
    before = content(planted / OUT)
    _run(planted)
    assert content(planted / OUT) == before
    shards = {name: bytes(value) for name, value in Shards(planted / OUT).items()}
    plant(planted, FIELDS | {"d": ("train", [(FIRST, "NILM")])})
    _run(planted)
    grown = Shards(planted / OUT)
    assert {name: grown[name] for name in shards} == shards
    assert len(grown) == len(shards) + 1


def test_cells_the_anonymizer_painted_over_are_left_out_of_every_part(tmp_path: Path) -> None:
    write_params(tmp_path)
    painted = [{"bbox": FIRST, "label": "NILM", "redacted": 0.6}, {"bbox": SECOND, "label": "HSIL", "redacted": 0.1}]
    plant(tmp_path, {"a": ("train", []), "c": ("test", [])}, annotations=painted)
    _found(tmp_path)
    assert _of(_run(tmp_path), "annotated") == [("a", "HSIL"), ("c", "HSIL")]


def test_an_image_in_no_split_is_an_error(planted: Path) -> None:
    rows = (planted / SPLIT / "split.jsonl").read_text().splitlines()
    (planted / SPLIT / "split.jsonl").write_text("\n".join(rows[1:]) + "\n")
    with pytest.raises(CytolineError, match="in no split"):
        _run(planted)


def test_nothing_to_cut_is_an_error_and_the_last_out_stays(planted: Path) -> None:
    _run(planted)
    before = content(planted / OUT)
    plant(planted, {"a": ("train", [])})
    with pytest.raises(CytolineError, match="no annotated cell"):
        _run(planted)
    assert content(planted / OUT) == before
