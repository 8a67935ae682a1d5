"""The whole DAG, again with nothing changed, with two more images, with another knob: only what must run, runs."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from benchmarks.workplace import Workplace
from tests.e2e.conftest import SOURCE, TINY_PHANTOM, FirstRun

pytestmark = pytest.mark.e2e

STAGES = list(yaml.safe_load((Path(__file__).parents[2] / "dvc.yaml").read_text(encoding="utf-8"))["stages"])
IMAGES_PER_PATIENT = TINY_PHANTOM["phantom.fields_per_slide"]


def outs_of(place: Workplace) -> dict[str, str]:
    """Path -> DVC's hash of every out in dvc.lock."""
    lock = yaml.safe_load((place.root / "dvc.lock").read_text(encoding="utf-8"))
    return {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage["outs"]}


def split_of(place: Workplace) -> dict[str, str]:
    lines = (place.root / "data/split/split.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["image_id"]: row["split"] for row in map(json.loads, lines)}


def memo_results(place: Workplace) -> int:
    return sum(path.is_file() for path in (place.root / ".cytoline/memo/results").rglob("*"))


def grow(place: Workplace) -> None:
    """One more patient, which is two more images."""
    place.change_yaml(SOURCE, {"phantom.patients": TINY_PHANTOM["phantom.patients"] + 1})


def test_the_first_run_makes_everything(first: FirstRun) -> None:
    assert sorted(first.done.stages_run()) == sorted(STAGES)
    root = first.place.root
    assert "<html" in (root / "reports/index.html").read_text(encoding="utf-8")[:2000].lower()
    assert set(split_of(first.place).values()) == {"train", "val", "test"}
    for name in ("detector", "classifier", "two_stage", "upscaler"):
        assert json.loads((root / f"metrics/{name}.json").read_text(encoding="utf-8"))
    for name in ("detector", "upscaler", "classifier"):
        assert (root / f"models/{name}/weights.safetensors").stat().st_size > 1000
    assert first.place.dvc("status").text.strip() == "Data and pipelines are up to date."
    shown = first.place.dvc("metrics", "show")
    assert shown.code == 0
    assert "metrics/detector.json" in shown.text


def test_it_touches_nothing_that_it_does_not_declare(first: FirstRun) -> None:
    changed = {line[3:] for line in first.place.git("status", "--porcelain", "--untracked-files=all").splitlines()}
    stray = {path for path in changed if path != "dvc.lock" and not path.startswith("metrics/")}
    assert {path for path in stray if not path.endswith(".gitignore")} == set()


def test_no_out_tells_where_it_was_made(first: FirstRun) -> None:
    marks = [os.fsencode(first.place.root), os.fsencode(first.place.root.resolve())]
    if len(socket.gethostname()) >= 8:
        marks.append(socket.gethostname().encode())
    found = [
        path.relative_to(first.place.root).as_posix()
        for out in outs_of(first.place)
        for path in [first.place.root / out, *(first.place.root / out).rglob("*")]
        if path.is_file() and any(mark in path.read_bytes() for mark in marks)
    ]
    assert found == []


def test_a_second_run_runs_nothing(first: FirstRun) -> None:
    lock = (first.place.root / "dvc.lock").read_bytes()
    again = first.place.dvc("repro")
    assert again.code == 0
    assert again.stages_run() == []
    assert (first.place.root / "dvc.lock").read_bytes() == lock
    assert again.seconds < 20, "benchmarks.pipeline measures this; here only that it is seconds"


def test_the_same_inputs_give_the_same_bytes(first: FirstRun, new_copy: Callable[[], Workplace]) -> None:
    """Up to the augmented images in a second copy; the trainings have the next test."""
    other = new_copy()
    done = other.dvc("repro", "augment")
    assert done.code == 0, done.text[-4000:]
    assert done.stages_run() == ["collect", "anonymize", "split", "augment"]
    here, there = outs_of(first.place), outs_of(other)
    assert there == {path: here[path] for path in there}


@pytest.mark.parametrize("stage", ["train_detector", "train_upscaler", "train_classifier"])
def test_training_again_gives_the_same_weights(first: FirstRun, twin: Workplace, stage: str) -> None:
    model = f"models/{stage.removeprefix('train_')}"
    shutil.rmtree(twin.root / ".dvc/cache")  # else DVC would hand back what it has
    shutil.rmtree(twin.root / ".cytoline")
    again = twin.dvc("repro", "--force", "--single-item", stage)
    assert again.stages_run() == [stage], again.text[-4000:]
    assert twin.digests(model) == first.place.digests(model)


def test_two_more_images_cost_two_images(first: FirstRun, twin: Workplace) -> None:
    before_images, before_split = twin.digests("data/clean/images"), split_of(twin)
    grow(twin)
    assert twin.dvc("repro", "collect").code == 0
    known = memo_results(twin)
    anonymized = twin.dvc("repro", "anonymize")
    assert anonymized.stages_run() == ["anonymize"], anonymized.text[-4000:]
    assert memo_results(twin) - known == IMAGES_PER_PATIENT

    rest = twin.dvc("repro")
    assert rest.code == 0, rest.text[-4000:]
    after_images, after_split = twin.digests("data/clean/images"), split_of(twin)
    assert len(after_images) == len(before_images) + IMAGES_PER_PATIENT
    assert {name: after_images[name] for name in before_images} == before_images
    assert {name: after_split[name] for name in before_split} == before_split
    assert twin.dvc("status").text.strip() == "Data and pipelines are up to date."


def test_a_knob_reruns_only_what_depends_on_it(first: FirstRun, twin: Workplace) -> None:
    weights = twin.digests("models/classifier")
    twin.change_yaml("params.yaml", {"upscale.method": "none"})
    changed = twin.dvc("repro")
    assert changed.stages_run() == ["upscale", "train_classifier", "evaluate", "report"], changed.text[-4000:]

    twin.git("checkout", "--quiet", "params.yaml")
    back = twin.dvc("repro", "train_classifier")
    assert back.stages_run() == [], "both were made before: DVC's run-cache has them"
    assert twin.digests("models/classifier") == weights
