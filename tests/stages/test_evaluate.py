"""evaluate: figures that can be worked out by hand, and agreement with pycocotools and scikit-learn."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from planted_results import SURE, Cell, ColourClassifier, Planted, model, plant, standard
from sklearn import metrics as sk

from cytoline.errors import CytolineError
from cytoline.measures import grading
from cytoline.measures.bootstrap import Figures, Patients
from cytoline.measures.ranking import FROC_RATES, Field, average_precision, froc, operating_score, rank, recall
from cytoline.taxonomy import Taxonomy
from stages.evaluate import coco, evaluate
from stages.evaluate.classifier import Cells, judge_classifier, no_cells, over_taxonomy
from stages.evaluate.detector import judge_detector

REPOSITORY = Path(__file__).parents[2]
BETHESDA = Taxonomy.load("bethesda", REPOSITORY / "configs" / "taxonomies")
NOBODY = np.zeros((0, 4))


def field(name: str, truths: list, found: list, patient: str = "p") -> Field:
    """``found``: (box, score) pairs."""
    return Field(
        name,
        patient,
        np.array(truths, dtype=float).reshape(-1, 4),
        np.array([box for box, _ in found], dtype=float).reshape(-1, 4),
        np.array([score for _, score in found], dtype=float),
    )


def crowd(seed: int, digits: int = 1, count: int = 8) -> list[Field]:
    """Random fields: jittered detections of many cells, some duplicates, some of nothing; few digits: equal scores."""
    draw = np.random.default_rng(seed)
    fields = []
    for number in range(count):
        truths = np.concatenate([draw.uniform(0, 200, (12, 2)), draw.uniform(10, 40, (12, 2))], axis=1)
        near = truths[draw.random(12) < 0.8] + draw.normal(0, 3, (1, 4))
        near = np.concatenate([near, near[:3] + 2, np.c_[draw.uniform(0, 200, (6, 2)), np.full((6, 2), 20.0)]])
        scores = np.round(draw.random(len(near)), digits)
        fields.append(Field(f"f{number}", f"p{number % 3}", truths if number else truths[:0], near.clip(1), scores))
    return fields


def patients_of(fields: list[Field], samples: int = 200) -> Patients:
    return Patients.of([item.patient for item in fields], samples, 0)


# --- ranking -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_that_of_pycocotools(seed: int) -> None:
    fields = crowd(seed)
    ours = average_precision(rank(fields, patients_of(fields)), patients_of(fields).once())[0]
    np.testing.assert_allclose(ours, coco.average_precision(fields), atol=1e-9)
    assert 0.05 < ours[0] < 0.95


def test_a_weighted_patient_counts_as_if_its_fields_were_there_several_times() -> None:
    fields = crowd(7, digits=9)
    patients = patients_of(fields)
    weights = np.array([[2.0, 0.0, 1.0]])
    drawn = [item for item in fields for _ in range(int(weights[0][int(item.patient[1])]))]
    ranking = rank(fields, patients)
    np.testing.assert_allclose(average_precision(ranking, weights)[0], coco.average_precision(drawn), atol=1e-9)
    again = rank(drawn, patients_of(drawn))
    once = patients_of(drawn).once()
    np.testing.assert_allclose(recall(ranking, weights), recall(again, once))
    np.testing.assert_allclose(froc(ranking, weights, (0.5, 2, 8)), froc(again, once, (0.5, 2, 8)))


def test_more_than_a_hundred_cells_in_a_field_are_all_counted() -> None:
    truths = [[x * 10, y * 10, 8, 8] for x in range(15) for y in range(10)]
    everything = field("a", truths, [(box, 0.9) for box in truths])
    point = coco.average_precision([everything])
    assert point is not None
    assert point[0] == pytest.approx(1.0)


def test_froc_by_hand() -> None:
    """Two fields, four cells.  By falling score: hit, false, hit, false, false, hit; one cell is never found."""
    a, b, c = [0, 0, 10, 10], [50, 50, 10, 10], [100, 0, 10, 10]
    fields = [
        field("1", [a, b], [(a, 0.9), ([20, 20, 5, 5], 0.8), (b, 0.7)]),
        field("2", [a, c], [([20, 20, 5, 5], 0.6), ([40, 20, 5, 5], 0.5), (a, 0.4)]),
    ]
    patients = patients_of(fields)
    found = froc(rank(fields, patients), patients.once(), tuple(FROC_RATES.values()))[0]
    # 1/8 and 1/4 per field allow no false positive in two fields, 1/2 allows one, 1 two, 2 four.
    np.testing.assert_allclose(found, [0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 0.75])


def test_equal_scores_cannot_be_parted_by_a_threshold() -> None:
    cell = [0, 0, 10, 10]
    fields = [field("1", [cell], [(cell, 0.5), ([50, 50, 5, 5], 0.5)])]
    patients = patients_of(fields)
    assert froc(rank(fields, patients), patients.once(), (0.5, 1.0))[0].tolist() == [0.0, 1.0]


def test_operating_score_is_where_f1_is_highest() -> None:
    a, b = [0, 0, 10, 10], [50, 50, 10, 10]
    nothing = [80, 80, 10, 10]
    fields = [field("1", [a, b], [(a, 0.9), (b, 0.6), (nothing, 0.3), ([90, 10, 9, 9], 0.2)])]
    assert operating_score(rank(fields, patients_of(fields))) == 0.6
    assert operating_score(rank([field("1", [a], [(nothing, 0.9)])], patients_of(fields))) is None


# --- intervals -----------------------------------------------------------------------------------------------


def test_intervals_are_over_patients_not_cells() -> None:
    """Two patients, one always right and one always wrong: whatever the number of cells, anything can be."""
    truth = np.zeros(1000, dtype=np.int64)
    truth[::2] = 1
    wrong = np.arange(1000) >= 500
    rows = np.eye(4)[np.where(wrong, 1 - truth, truth)]
    cells = Cells(truth, rows, tuple("b" if w else "a" for w in wrong))
    figures = judge_classifier(cells, BETHESDA, Patients.of(cells.patients, 400, 0), 0.95)
    assert figures["accuracy"] == 0.5
    assert (figures["accuracy_low"], figures["accuracy_high"]) == (0.0, 1.0)


def test_resamples_are_the_same_for_a_seed_and_others_for_another() -> None:
    first, same, other = (Patients.of("abcdef", 50, seed).weights for seed in (1, 1, 2))
    assert (first == same).all()
    assert (first != other).any()
    assert (first.sum(axis=1) == 6).all()


def test_one_patient_gives_figures_without_intervals_and_says_so() -> None:
    fields = [field("1", [[0, 0, 10, 10]], [([0, 0, 10, 10], 0.9)])]
    figures = judge_detector(fields, patients_of(fields), 0.95, 0.5)
    assert figures["ap50"] == 1.0
    assert not [name for name in figures if name.endswith(("_low", "_high"))]
    assert "fewer than two patients: no intervals" in figures["notes"]


def test_an_interval_that_few_resamples_define_is_left_out() -> None:
    figures = Figures(0.95)
    figures.add("rare", 0.5, np.array([0.5, np.nan, np.nan]))
    assert figures.done() == {"rare": 0.5, "notes": ["rare: undefined in most resamples of the patients: no interval"]}


# --- grading -------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_weighted_figures_are_scikit_learns_on_the_resampled_cells() -> None:
    draw = np.random.default_rng(3)
    truth = draw.integers(0, 4, 300)
    rows = draw.dirichlet(np.ones(4), 300)
    rows[np.arange(300), truth] += 0.4
    rows = np.round(rows / rows.sum(axis=1, keepdims=True), 2)
    owner, weights = draw.integers(0, 5, 300), np.array([[1.0, 2, 0, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 5]])
    called = rows.argmax(axis=1)
    confusion = grading.weighted(grading.confusions(truth, called, owner, 4, 5), weights)
    for row, weight in enumerate(weights):
        share = weight[owner]
        same = dict(sample_weight=share)
        assert grading.accuracy(confusion)[row] == pytest.approx(sk.accuracy_score(truth, called, **same))
        balanced = grading.macro(grading.sensitivity(confusion))[row]
        assert balanced == pytest.approx(sk.balanced_accuracy_score(truth, called, **same))
        f1 = grading.macro(grading.f1(confusion))[row]
        assert f1 == pytest.approx(sk.f1_score(truth, called, average="macro", **same))
        kappa = sk.cohen_kappa_score(truth, called, weights="quadratic", **same)
        assert grading.quadratic_kappa(confusion)[row] == pytest.approx(kappa)
        for number in range(4):
            area = grading.auroc(rows[:, number], truth == number, owner, weights)[row]
            assert area == pytest.approx(sk.roc_auc_score(truth == number, rows[:, number], **same))
            negative = sk.recall_score(truth == number, called == number, pos_label=False, **same)
            assert grading.specificity(confusion)[row, number] == pytest.approx(negative)


def test_calibration_error_by_hand() -> None:
    """Two bins: 0.9 sure and 3 of 4 right (gap 0.15), 0.5 sure and 1 of 1 right (gap 0.5)."""
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.5])
    right = np.array([True, True, True, False, True])
    table = grading.calibration_table(confidence, right, np.ones(5), np.zeros(5, dtype=np.int64), 1)
    assert grading.calibration_error(table)[0] == pytest.approx((4 * 0.15 + 0.5) / 5)


def test_calibration_error_counts_every_class_the_same() -> None:
    """A class of one cell weighs as much as a class of four: half of the first bin's gap and half of the second's."""
    truth = np.array([0, 0, 0, 0, 2])
    weights = grading.equal_classes(truth)
    np.testing.assert_allclose(weights, [0.625] * 4 + [2.5])
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.5])
    right = np.array([True, True, True, False, True])
    table = grading.calibration_table(confidence, right, weights, np.zeros(5, dtype=np.int64), 1)
    assert grading.calibration_error(table)[0] == pytest.approx(0.15 / 2 + 0.5 / 2)


def test_background_is_shared_out_for_annotated_cells() -> None:
    rows = np.array([[0.1, 0.3, 0.0, 0.0, 0.6], [0.0, 0.0, 0.0, 0.0, 1.0]])
    np.testing.assert_allclose(over_taxonomy(rows, 4), [[0.25, 0.75, 0, 0], [0.25] * 4])


def test_a_class_without_cells_is_left_out_and_named() -> None:
    truth = np.array([0, 0, 1, 1])
    cells = Cells(truth, np.eye(4)[[0, 3, 1, 1]], ("a", "b", "a", "b"))
    figures = judge_classifier(cells, BETHESDA, Patients.of(cells.patients, 200, 0), 0.95)
    assert figures["balanced_accuracy"] == 0.75
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 1) / 2, abs=1e-6)
    assert "no annotated cell of HSIL, SCC: means are over the other classes" in figures["notes"]
    assert "sensitivity" not in figures["per_class"]["SCC"]
    assert figures["per_class"]["SCC"]["specificity"] == 0.75
    assert "NaN" not in json.dumps(figures)


def test_nothing_to_judge_is_said_not_raised() -> None:
    nobody = Patients.of((), 200, 0)
    assert judge_classifier(no_cells(BETHESDA), BETHESDA, nobody, 0.95) == {
        "skipped": "the split holds no annotated cell"
    }
    empty = [field("1", [], [([0, 0, 10, 10], 0.9)]), field("2", [], [], "q")]
    figures = judge_detector(empty, patients_of(empty), 0.95, None)
    assert figures["detections"] == 1
    assert "ap50" not in figures
    assert "ap50: no labelled field holds a cell" in figures["notes"]


def test_no_detection_at_all_is_zero_not_an_error() -> None:
    fields = [field("1", [[0, 0, 10, 10]], []), field("2", [[0, 0, 10, 10]], [], "q")]
    figures = judge_detector(fields, patients_of(fields), 0.95, 0.5)
    assert figures["ap50"] == figures["ap50_high"] == figures["recall"] == figures["froc_8"] == 0.0
    assert "operating_precision" not in figures


# --- the whole stage -----------------------------------------------------------------------------------------


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run the stage on planted images; the classifier that grades by colour takes the trained one's place."""

    def judge(images: list[Planted]) -> Path:
        folders = plant(tmp_path, images)
        if not any(item.role == "field" for item in images):
            model(folders["detector"], "detector", untrained="there are no annotated fields to train on")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(evaluate, "load_classifier", ColourClassifier)
        names = ("clean", "split", "detections", "upscaled", "detector", "upscaler", "classifier")
        evaluate.main(**{name: folders[name] for name in names}, metrics=tmp_path / "metrics")
        return tmp_path / "metrics"

    return judge


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / name).read_text(), parse_constant=lambda text: pytest.fail(f"{name} holds {text}"))


def test_planted_results_give_the_figures_worked_out_by_hand(judged) -> None:
    metrics = judged(standard())
    detector, classifier, both = (read(metrics, f"{name}.json") for name in ("detector", "classifier", "two_stage"))
    # Five cells in three labelled fields; by score: hit .9, false .85, hit .8, hit .7, hit .6; one is missed.
    assert (detector["fields"], detector["cells"], detector["detections"]) == (3, 5, 5)
    # 21 recall points up to 0.2 at precision 1, 60 up to 0.8 at 4/5, 20 at nothing.
    assert detector["ap50"] == pytest.approx((21 + 60 * 0.8) / 101, abs=1e-6)
    assert detector["recall"] == 0.8
    assert detector["froc_1_4"] == 0.2
    assert detector["froc_1_2"] == 0.8
    # On validation F1 is best when the three hits are kept and the false one (0.3) is not.
    assert detector["operating_score"] == 0.62
    assert detector["operating_recall"] == 0.6
    assert detector["operating_precision"] == 0.75
    assert detector["val_recall"] == 1.0
    # NILM 2/2, LSIL 1/1, HSIL 0/1 (called SCC), SCC 1/1.
    assert classifier["accuracy"] == 0.8
    assert classifier["balanced_accuracy"] == 0.75
    assert classifier["per_class"]["HSIL"]["sensitivity"] == 0.0
    assert classifier["per_class"]["SCC"]["specificity"] == 0.75
    assert classifier["abnormal_sensitivity"] == 1.0
    sure = SURE / (1 - (1 - SURE) / 4)
    # Every class counts the same: of the four, three are right.
    assert classifier["ece"] == pytest.approx(abs(sure - 0.75), abs=1e-6)
    # NILM: one of two found, first in its list.  LSIL and SCC: SCC's own cell comes after the HSIL that looks
    # like it.  HSIL: its cell scores .7 x .0375, after .9, .85 and .8 of others at .0375 each.
    assert both["per_class"]["NILM"]["ap50"] == pytest.approx(51 / 101, abs=1e-6)
    assert both["per_class"]["LSIL"]["ap50"] == 1.0
    assert both["per_class"]["SCC"]["ap50"] == 0.5
    assert both["per_class"]["HSIL"]["ap50"] == 0.25
    assert both["map50"] == pytest.approx((51 / 101 + 1 + 0.5 + 0.25) / 4, abs=1e-6)
    assert both["found_graded_right"] == 0.75
    for name, figures in (("ap50", detector), ("balanced_accuracy", classifier), ("map50", both)):
        assert figures[f"{name}_low"] <= figures[name] <= figures[f"{name}_high"]


def test_cases_hold_every_field_cell_and_detection_of_the_split(judged) -> None:
    lines = [json.loads(line) for line in (judged(standard()) / "cases.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["field"] * 3 + ["cell"] * 5 + ["detection"] * 5
    assert {line["image_id"] for line in lines} == {"t1", "t2", "t3"}
    assert lines[2] | {"false_positives": 1, "missed": 1, "cells": 1} == lines[2]
    missed = [line["patch_id"] for line in lines if line["kind"] == "cell" and line["found_score"] is None]
    assert missed == ["t3-a0000"]
    wrong = [line for line in lines if line["kind"] == "cell" and line["predicted"] != line["truth"]]
    assert [(line["truth"], line["predicted"]) for line in wrong] == [("HSIL", "SCC")]
    false = [line for line in lines if line["kind"] == "detection" and line["truth"] is None]
    assert [(line["patch_id"], line["predicted"]) for line in false] == [("t3-d0001", "background")]


def test_two_runs_write_the_same_bytes(judged, tmp_path: Path) -> None:
    metrics = judged(standard())
    before = {path: path.read_bytes() for path in sorted(metrics.rglob("*")) if path.is_file()}
    names = ("clean", "split", "detections", "upscaled")
    folders = {name: tmp_path / "data" / name for name in names}
    folders |= {name: tmp_path / "models" / name for name in ("detector", "upscaler", "classifier")}
    evaluate.main(**folders, metrics=metrics)
    assert {path: path.read_bytes() for path in sorted(metrics.rglob("*")) if path.is_file()} == before


def test_single_cells_without_fields_skip_what_needs_fields(judged) -> None:
    cells = [
        Planted(f"c{n}", f"p{n}", split, [Cell((0, 0, 40, 40), label, label)], role="cell", size=(40, 40))
        for n, (split, label) in enumerate([("test", "NILM"), ("test", "SCC"), ("val", "NILM"), ("train", "SCC")])
    ]
    metrics = judged(cells)
    assert read(metrics, "detector.json") == {"skipped": "the split holds no labelled field"}
    assert read(metrics, "two_stage.json") == {"skipped": "the split holds no labelled field"}
    assert read(metrics, "classifier.json")["accuracy"] == 1.0
    for path in sorted((metrics / "plots").iterdir()):
        rows = (
            list(csv.DictReader(path.read_text().splitlines()))
            if path.suffix == ".csv"
            else json.loads(path.read_text())
        )
        assert rows, path.name
        assert all(set(row) == set(rows[0]) for row in rows), path.name


def test_painted_over_cells_are_neither_asked_for_nor_wrong(judged) -> None:
    images = standard()
    images[2] = Planted("t3", "pc", "test", [Cell((60, 20, 20, 20), "NILM", "SCC", 0.95)], redacted=frozenset({0}))
    metrics = judged(images)
    detector = read(metrics, "detector.json")
    assert (detector["cells"], detector["detections"], detector["ap50"]) == (4, 4, 1.0)
    assert read(metrics, "classifier.json")["cells"] == 4
    for name in ("detector", "classifier", "two_stage"):
        assert read(metrics, f"{name}.json")["cells_painted_over"] == 1


def test_a_classifier_of_another_taxonomy_is_refused() -> None:
    with pytest.raises(CytolineError, match="the classifier knows RBC, WBC") as refused:
        evaluate.check_classes(("RBC", "WBC"), BETHESDA)
    assert "dvc repro train_classifier" in refused.value.remedy
