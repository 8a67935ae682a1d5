"""The material of the gate's benchmark: several real trainings, asked about patients that none of them has seen.

    python -m benchmarks.audit.trainings PLACE --detector A --detector B

PLACE is a finished clone of the phantom (a copy of one: its models folder gets new ones).  The classifier is trained
there once for every seed, and once for every short schedule: a really worse model, with the errors of a worse model
and not those of a coin.  Then a new phantom of as many patients as asked for is rendered, and every model grades or
finds its cells.  What they say goes to trainings.npz: enough to draw test sets of any size without repeating a patient.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import yaml
from numpy.typing import NDArray

from benchmarks.result import ROOT
from benchmarks.workplace import Workplace
from cytoline import atomic
from cytoline.command import run
from cytoline.errors import CytolineError
from cytoline.fusion import VIEWS
from cytoline.images import RGB
from cytoline.manifest import BBox
from cytoline.phantom.field import Drawn, render_field
from cytoline.phantom.plan import plan_fields
from cytoline.phantom.spec import PhantomSpec
from cytoline.progress import track

MATERIAL = Path(__file__).parent / "trainings.npz"
PARAMS = "params.yaml"
_MIN_SCORE = 0.05
_PER_FIELD = 60

Arrays = dict[str, NDArray[np.generic]]


def train(place: Path, seed: int, epochs: int) -> Path:
    """One more classifier of PLACE; nothing is done where it is there already."""
    out = place / f"models/classifier-{seed}-{epochs}"
    if out.is_dir():
        return out
    Workplace(place).change_yaml(PARAMS, {"seed": seed, "classifier.epochs": epochs})
    words = ["-m", "stages.train_classifier", "--upscaled", "data/upscaled", "--split", "data/split", "--out", str(out)]
    # A store of its own: an existing one may name a folder of another clone for its artifacts.
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{place}/trainings.db", "PYTHONPATH": str(place)}
    done = subprocess.run([sys.executable, *words], cwd=place, env=environment, check=False)
    if done.returncode:
        raise CytolineError(f"the training with seed {seed} failed", "see above")
    return out


def patients(place: Path, count: int, seed: int) -> Iterator[tuple[int, Drawn]]:
    """Fields of a phantom as hard as PLACE's, but of other people: (number of the patient, field)."""
    source = yaml.safe_load((place / "data/incoming/phantom/source.yaml").read_text(encoding="utf-8"))
    spec = PhantomSpec.read({**source["phantom"], "seed": seed, "patients": count, "burned_in": 0.0, "problems": ()})
    plans = list(plan_fields(spec))
    for plan in track(plans, len(plans), "rendering"):
        yield plan.on.patient, render_field(spec, plan)


def graded(models: Sequence[Path], fields: Sequence[tuple[int, Drawn]]) -> Arrays:
    """What each classifier calls each annotated cell: ``called`` [models, cells], by the class's number."""
    from cytoline.classification import load_classifier
    from cytoline.models import read_card
    from cytoline.patches import BACKGROUND, crop
    from cytoline.screening import enlarging_of
    from cytoline.upscaling import open_upscaler

    how = enlarging_of(read_card(models[0]), models[0])
    upscaler = open_upscaler(how.method, how.factor)
    patches: list[RGB] = []
    for _, drawn in fields:
        patches += upscaler.enlarge_many([crop(drawn.image, box, how.context, how.min_px) for box, _, _ in drawn.cells])
    truth = np.array([grade for _, drawn in fields for _, _, grade in drawn.cells], dtype=np.int8)
    owner = np.array([patient for patient, drawn in fields for _ in drawn.cells], dtype=np.int16)
    called = np.zeros((len(models), len(truth)), dtype=np.int8)
    for number, folder in enumerate(track(models, len(models), "grading")):
        classifier = load_classifier(folder)
        known = [name for name in classifier.classes if name != BACKGROUND]
        called[number] = np.asarray(classifier.predict(patches))[:, : len(known)].argmax(axis=1)
    return {"cell_patient": owner, "cell_truth": truth, "cell_called": called}


def found(models: Sequence[Path], fields: Sequence[tuple[int, Drawn]], views: int = VIEWS) -> Arrays:
    """What each detector finds: ``found`` [rows, 4] of model, field, score in ten-thousandths, whether it is a hit."""
    from cytoline.boxes import UNMATCHED, as_boxes, greedy_match
    from cytoline.detection import load_detector

    rows: list[tuple[int, int, int, int]] = []
    for number, folder in enumerate(models):
        detector = load_detector(folder)
        for field, (_, drawn) in enumerate(track(fields, len(fields), f"finding, model {number}")):
            truths: list[BBox] = [box for box, _, _ in drawn.cells]
            boxes, scores, _ = detector.predict(drawn.image, views)
            kept = np.flatnonzero(scores >= _MIN_SCORE)[:_PER_FIELD]
            hits = greedy_match(boxes[kept], scores[kept], as_boxes(truths)) != UNMATCHED
            rows += [
                (number, field, round(float(score) * 1e4), int(hit))
                for score, hit in zip(scores[kept], hits, strict=True)
            ]
    return {
        "found": np.array(rows, dtype=np.int16).reshape(-1, 4),
        "field_patient": np.array([patient for patient, _ in fields], dtype=np.int16),
        "field_cells": np.array([len(drawn.cells) for _, drawn in fields], dtype=np.int16),
    }


def main(
    place: Annotated[Path, typer.Argument(help="copy of a finished clone of the phantom")],
    detector: Annotated[list[Path] | None, typer.Option(help="model folder of a detector; once for each")] = None,
    seeds: Annotated[int, typer.Option(help="classifiers with the full schedule, seeds from 0")] = 6,
    short: Annotated[str, typer.Option(help="epochs of the really worse classifiers, separated by commas")] = "1,2",
    people: Annotated[int, typer.Option(help="patients of the new phantom")] = 90,
    phantom_seed: Annotated[int, typer.Option(help="seed of the new phantom")] = 4711,
    views: Annotated[int, typer.Option(help="looks of the detectors at each field")] = VIEWS,
    out: Annotated[Path, typer.Option(help="file to write")] = MATERIAL,
) -> None:
    """Train, render, ask, write trainings.npz."""
    place = place.resolve()
    epochs = int(yaml.safe_load((place / PARAMS).read_text(encoding="utf-8"))["classifier"]["epochs"])
    plan = [(seed, epochs) for seed in range(seeds)] + [(seed, int(few)) for few in short.split(",") for seed in (0, 1)]
    models = [train(place, seed, length) for seed, length in plan]
    Workplace(place).change_yaml(PARAMS, {"seed": 0, "classifier.epochs": epochs})
    fields = list(patients(place, people, phantom_seed))
    arrays: dict[str, Any] = {
        "plan": np.array(plan, dtype=np.int16),
        **graded(models, fields),
        **found(detector or [], fields),
    }
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    atomic.write_bytes(out, content.getvalue())


if __name__ == "__main__":
    os.chdir(ROOT)
    run(main)
