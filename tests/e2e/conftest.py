"""One run of the whole pipeline on a phantom so small that it takes a minute or two; every test starts from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.workplace import Done, Workplace

TINY_PHANTOM = {
    "phantom.patients": 12,
    "phantom.slides_per_patient": 1,
    "phantom.fields_per_slide": 2,
    "phantom.width": 256,
    "phantom.height": 256,
    "phantom.cells_min": 3,
    "phantom.cells_max": 5,
}
TINY_TRAINING = {
    "detector.input_size": [256, 256],
    "detector.epochs": 1,
    "detector.validate_every": 1,
    "detector.warmup_iterations": 2,
    "upscaler.steps": 4,
    "upscaler.features": 28,
    "upscaler.blocks": 2,
    "classifier.input_size": 64,
    "classifier.epochs": 1,
    "classifier.warmup_iterations": 2,
    "evaluate.bootstrap_samples": 100,
}
SOURCE = "data/incoming/phantom/source.yaml"


@dataclass(frozen=True)
class FirstRun:
    """The pipeline's first run in a fresh copy."""

    place: Workplace
    done: Done


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> FirstRun:
    """Run everything once.  Tests read this; those that change something take a twin."""
    place = tiny(tmp_path_factory.mktemp("e2e") / "first")
    done = place.dvc("repro")
    assert done.code == 0, done.text[-8000:]
    return FirstRun(place, done)


@pytest.fixture
def twin(first: FirstRun, tmp_path: Path) -> Workplace:
    """A copy of the first run, cache and memo store included, that a test may change."""
    return first.place.twin(tmp_path / "twin")


@pytest.fixture
def new_copy(tmp_path: Path) -> Callable[[], Workplace]:
    """A second fresh copy in which nothing ran yet."""
    return lambda: tiny(tmp_path / "another")


def tiny(root: Path) -> Workplace:
    """A fresh copy with the small phantom and the short trainings, committed."""
    place = Workplace.copy(root)
    place.change_yaml(SOURCE, TINY_PHANTOM)
    place.change_yaml("params.yaml", TINY_TRAINING)
    (place.root / "dvc.lock").unlink(missing_ok=True)
    place.git("add", "--all")
    place.git("commit", "--quiet", "--message", "tiny")
    return place
