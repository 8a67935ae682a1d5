"""predict: pictures, COCO results and a page from any image; what cannot be read is skipped and reported."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cytoline import predict as command
from cytoline import screening
from cytoline.cli import app
from cytoline.drawing import Mark, draw, ink_on, svg_marks
from cytoline.errors import CytolineError
from cytoline.images import png_bytes, read_image
from cytoline.models import ModelCard, Port, save_model
from cytoline.predict_page import Colours
from cytoline.screening import Enlarging, Finding, checked_weights, enlarging_of

CLASSES = ("NILM", "LSIL", "HSIL", "SCC")
GROUND = (235, 225, 230)
COLOURS = {"NILM": (60, 160, 90), "HSIL": (200, 90, 60), "background": (120, 120, 120)}
CUT = {"method": "lanczos", "factor": 2, "context": 1.5, "min_px": 16}


class SquareDetector:
    """Finds squares that are not of the ground's colour; the larger the surer."""

    def __init__(self, folder: Path) -> None:
        pass

    def predict(self, image: np.ndarray, views: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mask = (np.abs(image.astype(int) - GROUND).sum(axis=2) > 30).astype(np.uint8)
        stats = cv2.connectedComponentsWithStats(mask)[2][1:]
        boxes = stats[:, :4].astype(float)
        scores = np.clip(boxes[:, 2] / 40, 0, 1)
        order = np.argsort(-scores)
        return boxes[order], scores[order], np.zeros(len(boxes), dtype=int)


class MiddleClassifier:
    """Grades by the colour in the middle of a patch."""

    classes = (*CLASSES, "background")

    def __init__(self, folder: Path) -> None:
        pass

    def predict(self, patches: list[np.ndarray]) -> np.ndarray:
        rows = np.full((len(patches), 5), 0.05)
        for row, patch in zip(rows, patches, strict=True):
            middle = patch[patch.shape[0] // 2, patch.shape[1] // 2].astype(int)
            name = min(COLOURS, key=lambda key: int(np.abs(middle - COLOURS[key]).sum()))
            row[self.classes.index(name)] = 0.8
        return rows


def card(stage: str, settings: dict | None = None, untrained: str | None = None) -> ModelCard:
    port = Port(name="x", shape=("n",), dtype="uint8", meaning="pixels")
    return ModelCard(
        name=f"planted-{stage}",
        version="0",
        stage=stage,
        intended_use="Tests.",
        limits=("It is no model.",),
        inputs=(port,),
        outputs=(port,),
        settings={"upscale": CUT} if settings is None else settings,
        training_data={"planted": "md5:0123456789abcdef"},
        metrics={},
        versions={"torch": "0"},
        seed=0,
        untrained=untrained,
    )


def save(folder: Path, stage: str, **changes: object) -> None:
    save_model(folder / stage, {"w": torch.zeros(1)}, "# none\n", card(stage, **changes), [])


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Planted model folders; detection and grading by colour take the networks' place."""
    for stage in ("detector", "upscaler", "classifier"):
        save(tmp_path / "models", stage)
    monkeypatch.setattr(screening, "load_detector", SquareDetector)
    monkeypatch.setattr(screening, "load_classifier", MiddleClassifier)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "models"


def field(path: Path) -> Path:
    """A NILM cell of 40 px (score 1), an HSIL cell of 30 px (0.75), one taken for background, one of 8 px (0.2)."""
    picture = np.full((160, 240, 3), GROUND, dtype=np.uint8)
    for (x, y, side), name in (
        ((20, 30, 40), "NILM"),
        ((120, 60, 30), "HSIL"),
        ((180, 20, 24), "background"),
        ((200, 120, 8), "NILM"),
    ):
        picture[y : y + side, x : x + side] = COLOURS[name]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png_bytes(picture))
    return path


def run(*arguments: object):
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def test_results_are_coco_rows_with_probabilities(models: Path, tmp_path: Path) -> None:
    done = run(field(tmp_path / "a.png"), "--out", "out", "--models", models)
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "out/predictions.json").read_text())
    assert [row["bbox"] for row in rows] == [[20, 30, 40, 40], [120, 60, 30, 30], [180, 20, 24, 24]]
    assert [row["label"] for row in rows] == ["NILM", "HSIL", "background"]
    assert [row["category_id"] for row in rows] == [1, 3, 1]
    # Detector score times class probability; background leaves little to the best grade.
    assert [row["score"] for row in rows] == pytest.approx([0.8, 0.75 * 0.8, 0.6 * 0.05])
    assert rows[1]["probabilities"]["HSIL"] == 0.8
    assert "a.png" in done.stdout


def test_pycocotools_reads_the_results(models: Path, tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    run(field(tmp_path / "a.png"), field(tmp_path / "b.png"), "--out", "out", "--models", models)
    truth = COCO(str(tmp_path / "out/images.json"))
    found = truth.loadRes(str(tmp_path / "out/predictions.json"))
    assert len(found.getAnnIds(imgIds=[2])) == 3
    assert [item["name"] for item in truth.loadCats([1, 3])] == ["NILM", "HSIL"]


def test_the_overlay_is_the_image_with_boxes(models: Path, tmp_path: Path) -> None:
    path = field(tmp_path / "a.png")
    run(path, "--out", "out", "--models", models)
    before, after = read_image(path), read_image(tmp_path / "out/a.overlay.png")
    assert after.shape == before.shape
    assert tuple(after[50, 20]) == (0x2A, 0x9D, 0x4A)
    assert (after[50, 30:50] == before[50, 30:50]).all()


def test_min_score_is_a_threshold_on_the_detector(models: Path, tmp_path: Path) -> None:
    path = field(tmp_path / "a.png")
    for score, count in (("0.1", 4), ("0.7", 2)):
        run(path, "--out", "out", "--models", models, "--min-score", score)
        assert len(json.loads((tmp_path / "out/predictions.json").read_text())) == count


def test_the_score_that_validation_chose_is_the_default(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics/detector.json"
    assert command.working_score(tmp_path) == command.DEFAULT_SCORE
    metrics.parent.mkdir()
    metrics.write_text('{"operating_score": 0.71}')
    assert command.working_score(tmp_path) == 0.71
    metrics.write_text('{"skipped": "no fields"}')
    assert command.working_score(tmp_path) == command.DEFAULT_SCORE


def test_fields_are_looked_at_as_often_as_when_the_models_were_judged(tmp_path: Path) -> None:
    assert command.working_views(tmp_path) == 3
    (tmp_path / "params.yaml").write_text("detect: {views: 1}")
    assert command.working_views(tmp_path) == 1
    (tmp_path / "params.yaml").write_text("detect: {views: 99}")
    assert command.working_views(tmp_path) == 3


def test_an_out_that_is_a_file_is_said_before_models_are_loaded(models: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    done = run(field(tmp_path / "a.png"), "--out", "out", "--models", models)
    assert isinstance(done.exception, CytolineError)
    assert (tmp_path / "out").read_text() == "mine"


def test_unreadable_images_are_reported_and_skipped_and_the_rest_is_done(models: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("not an image")
    done = run(
        tmp_path / "empty.png",
        field(tmp_path / "a.png"),
        tmp_path / "text.png",
        tmp_path / "missing.png",
        tmp_path,
        "--out",
        "out",
        "--models",
        models,
    )
    assert done.exit_code == 2
    listing = json.loads((tmp_path / "out/images.json").read_text())
    assert [item["file_name"] for item in listing["images"]] == ["a.png"]
    reasons = {item["file_name"]: item["reason"] for item in listing["skipped"]}
    assert set(reasons) == {"empty.png", "text.png", "missing.png", tmp_path.name}
    assert reasons["empty.png"] == "the file is empty"
    assert "No such file" in reasons["missing.png"]
    page = (tmp_path / "out/index.html").read_text()
    assert "Skipped <b>text.png</b>" in page
    assert "Traceback" not in done.output


def test_missing_models_say_what_to_do(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["predict", str(field(tmp_path / "a.png")), "--models", str(tmp_path / "none")])
    assert isinstance(done.exception, SystemExit | CytolineError)
    with pytest.raises(CytolineError, match="holds no model") as raised:
        command.predict([tmp_path / "a.png"], tmp_path / "out", tmp_path / "none")
    assert "dvc repro" in raised.value.remedy
    assert not (tmp_path / "out").exists()


def test_the_page_has_no_script_and_escapes_names(models: Path, tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>.png"
    run(field(tmp_path / name), "--out", "out", "--models", models)
    page = (tmp_path / "out/index.html").read_text()
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page
    assert not re.search(r"https?://", page)
    for link in re.findall(r'src="([^"]+)"', page):
        assert link.startswith("data:image/jpeg;base64,") or (tmp_path / "out" / link).is_file()


def test_images_of_one_name_do_not_overwrite_each_other() -> None:
    paths = [Path("a/x.png"), Path("b/x.png"), Path("b/X.png"), Path("x-2.png"), Path("..png"), Path("é ö.png")]
    names = command.names_for(paths)
    assert len({name.casefold() for name in names}) == len(paths)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", name) for name in names)


def test_without_a_detector_each_image_is_one_cell(models: Path, tmp_path: Path) -> None:
    save(models, "detector", untrained="there are no annotated fields to train on")
    picture = np.full((60, 60, 3), COLOURS["HSIL"], dtype=np.uint8)
    (tmp_path / "cell.png").write_bytes(png_bytes(picture))
    assert run(tmp_path / "cell.png", "--out", "out", "--models", models).exit_code == 0
    (row,) = json.loads((tmp_path / "out/predictions.json").read_text())
    assert (row["bbox"], row["label"], row["detector_score"]) == ([0, 0, 60, 60], "HSIL", 1.0)


def test_nothing_found_is_a_result(models: Path, tmp_path: Path) -> None:
    (tmp_path / "blank.png").write_bytes(png_bytes(np.full((50, 50, 3), GROUND, dtype=np.uint8)))
    assert run(tmp_path / "blank.png", "--out", "out", "--models", models).exit_code == 0
    assert json.loads((tmp_path / "out/predictions.json").read_text()) == []
    assert "No cell reached the score." in (tmp_path / "out/index.html").read_text()


# --- what the cards say --------------------------------------------------------------------------------------


def test_a_card_that_does_not_say_how_patches_were_made_is_refused(tmp_path: Path) -> None:
    assert enlarging_of(card("classifier"), tmp_path).context == 1.5
    with pytest.raises(CytolineError, match=r"does not say how patches were made \(context, min_px\)"):
        enlarging_of(card("classifier", {"upscale": {"method": "none", "factor": 1}}), tmp_path)


def test_another_upscaler_than_the_classifier_was_trained_with_is_refused(tmp_path: Path) -> None:
    save(tmp_path, "upscaler")
    weights = tmp_path / "upscaler" / "weights.safetensors"
    right = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert checked_weights(
        Enlarging(**CUT | {"method": "compact", "weights_sha256": right}), tmp_path / "upscaler", None
    )
    wrong = Enlarging(**CUT | {"method": "compact", "weights_sha256": "0" * 64})
    with pytest.raises(CytolineError, match="is not the network"):
        checked_weights(wrong, tmp_path / "upscaler", None)
    with pytest.raises(CytolineError, match="a model file of its own"):
        checked_weights(Enlarging(**CUT | {"method": "file"}), tmp_path / "upscaler", None)


def test_a_finding_taken_for_background_still_has_a_grade() -> None:
    finding = Finding((0, 0, 1, 1), 0.5, {"NILM": 0.1, "SCC": 0.2, "background": 0.7}, np.zeros((1, 1, 3), np.uint8))
    assert (finding.label, finding.grade, finding.score) == ("background", "SCC", 0.1)


def test_colours_are_the_taxonomys_where_one_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    assert Colours.for_classes(CLASSES).of["SCC"] == "#b01030"
    assert list(Colours.for_classes(("a", "b")).of) == ["a", "b"]


# --- drawing -------------------------------------------------------------------------------------------------


def test_boxes_are_drawn_where_they_are_and_dashes_have_gaps() -> None:
    image = np.full((200, 200, 3), 255, dtype=np.uint8)
    solid = draw(image, [Mark((20, 40, 100, 80), "", "#ff0000")])
    assert (solid[40, 20:120] == (255, 0, 0)).all()
    assert (solid[60:110, 30:110] == 255).all()
    dashed = draw(image, [Mark((20, 40, 100, 80), "", "#ff0000", dashed=True)])
    share = (dashed[40, 20:120] == (255, 0, 0)).all(axis=1).mean()
    assert 0.3 < share < 0.8
    assert (image == 255).all()


def test_words_on_a_box_stay_readable_and_inside() -> None:
    assert ink_on("#e0a100") == "#000000"
    assert ink_on("#b01030") == "#ffffff"
    image = np.full((100, 100, 3), 255, dtype=np.uint8)
    corner = draw(image, [Mark((90, 0, 10, 10), "HSIL 99%", "#b01030")])
    assert (corner[:20] != 255).any()


def test_svg_words_are_escaped() -> None:
    svg = svg_marks([Mark((0, 0, 5, 5), "<b>&", "#ff0000")], 1.0)
    assert "<b>" not in svg
    assert "&lt;b&gt;&amp;" in svg
