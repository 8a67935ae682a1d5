"""A real DVC project of three quick stages is built again: the same, nearly the same, or first different at a stage."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cytoline.audit.reproduce import reproduction_of
from cytoline.errors import CytolineError

CLEAN = """
import hashlib, json, os, pathlib, sys
people = pathlib.Path("data/incoming/hospital/people.txt").read_text().split()
images = pathlib.Path("data/clean/images"); images.mkdir(parents=True)
rows = []
for one in people:
    content = (one + (os.environ.get("NOISE_CLEAN") or "")).encode()
    (images / (one + ".png")).write_bytes(content)
    rows.append({"file": one + ".png", "image_id": one, "patient": one, "sha256": hashlib.sha256(content).hexdigest(),
                 "slide": one, "source": "hospital"})
lines = [json.dumps(row, sort_keys=True, separators=(",", ":")) + "\\n" for row in rows]
pathlib.Path("data/clean/manifest.jsonl").write_text("".join(lines))
"""
TRAIN = """
import hashlib, json, os, pathlib
seen = pathlib.Path("data/clean/manifest.jsonl").read_bytes()
folder = pathlib.Path("models/classifier"); folder.mkdir(parents=True)
weights = hashlib.sha256(seen).digest() + (os.urandom(4) if UNSTABLE else b"")
(folder / "weights.safetensors").write_bytes(weights)
card = {"name": "tiny", "files": {"weights.safetensors": hashlib.sha256(weights).hexdigest()}}
(folder / "model_card.json").write_text(json.dumps(card))
"""
EVALUATE = """
import json, pathlib
weights = pathlib.Path("models/classifier/weights.safetensors").read_bytes()
accuracy = 0.9 + (0.001 + int.from_bytes(weights[-4:]) / 2**42 if len(weights) > 32 else 0)
pathlib.Path("metrics").mkdir(exist_ok=True)
pathlib.Path("metrics/classifier.json").write_text(json.dumps({"accuracy": accuracy}))
"""
PIPELINE = """
vars:
  - python: .venv/bin/python
stages:
  anonymize:
    cmd: ${python} clean.py
    deps: [data/incoming, clean.py]
    outs: [data/clean]
  train_classifier:
    cmd: ${python} train.py
    deps: [data/clean, train.py]
    outs: [models/classifier]
  evaluate:
    cmd: ${python} evaluate.py
    deps: [models/classifier, evaluate.py]
    metrics:
      - metrics/classifier.json: {cache: false}
"""
PARAMS = "gate: {rules: {classifier.accuracy: {max_loss: 0.0, seed_sd: SPREAD}}}\n"


def run(top: Path, *words: str) -> None:
    name = {f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(words, cwd=top, env={**os.environ, **name}, check=True, capture_output=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """A project whose training is deterministic (False) or not (True), each run once."""
    return {unstable: build(tmp_path_factory.mktemp("built") / "project", unstable) for unstable in (False, True)}


def build(top: Path, unstable: bool) -> Path:
    """A project whose pipeline has run and been committed; its original is in DVC's cache alone."""
    top.mkdir()
    files = {"clean.py": CLEAN, "train.py": TRAIN.replace("UNSTABLE", str(unstable)), "evaluate.py": EVALUATE}
    files |= {"dvc.yaml": PIPELINE, ".gitignore": "/.venv\n/.cytoline\n/mlflow.db\n/.dvc/cache\n/.dvc/tmp\n"}
    files |= {".dvc/config": "[core]\n    analytics = false\n", "params.yaml": PARAMS.replace("SPREAD", "0.01")}
    for path, content in {**files, "data/incoming/hospital/people.txt": "anna berta\n"}.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(content)
    (top / ".venv").symlink_to(sys.prefix)
    run(top, "git", "init", "-q", "-b", "main")
    run(top, sys.executable, "-m", "dvc", "add", "-q", "data/incoming/hospital")
    run(top, sys.executable, "-m", "dvc", "repro", "-q")
    run(top, "git", "add", "-A")
    run(top, "git", "commit", "-q", "-m", "run")
    for path in ("data/incoming/hospital", "data/clean", "models/classifier"):
        shutil.rmtree(top / path)
    return top


def copy(of: Path, folder: Path) -> Path:
    return Path(shutil.copytree(of, folder / "project", symlinks=True))


def state(top: Path) -> set[tuple[str, int]]:
    """Every file that a rebuild must leave alone, with its time."""
    return {
        (str(path.relative_to(top)), path.stat().st_mtime_ns)
        for path in top.rglob("*")
        if path.is_file() and ".cytoline" not in path.parts and ".venv" not in path.parts
    }


def test_the_same_bytes_or_the_stage_that_differs(
    built: dict[bool, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = copy(built[False], tmp_path)
    before = state(top)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/precious.db")
    found = reproduction_of("models/classifier", top, keep=tmp_path / "kept")
    assert (found.verdict, found.first_difference, found.figures) == ("bit-exact", None, ())
    assert [(one.stage, one.same) for one in found.stages] == [("anonymize", True), ("train_classifier", True)]
    assert (tmp_path / "kept/data/incoming/hospital/people.txt").read_text() == "anna berta\n"
    monkeypatch.setenv("NOISE_CLEAN", "planted")
    found = reproduction_of("models/classifier", top)
    assert (found.verdict, found.first_difference) == ("within tolerance", "anonymize")
    assert state(top) == before
    assert not (tmp_path / "precious.db").exists()


@pytest.mark.parametrize(("spread", "verdict"), [("0.01", "within tolerance"), ("0.0", "differs")])
def test_a_training_that_is_not_deterministic(
    built: dict[bool, Path], tmp_path: Path, spread: str, verdict: str
) -> None:
    top = copy(built[True], tmp_path)
    (top / "params.yaml").write_text(PARAMS.replace("SPREAD", spread))
    found = reproduction_of("models/classifier", top)
    assert (found.verdict, found.first_difference) == (verdict, "train_classifier")
    assert [one.same for one in found.stages] == [True, False]
    (figure,) = found.figures
    assert figure.within is (verdict == "within tolerance")
    assert figure.allowed == pytest.approx(2.576 * 2**0.5 * float(spread))


def test_what_cannot_be_rebuilt(built: dict[bool, Path], tmp_path: Path) -> None:
    top = copy(built[False], tmp_path)
    with pytest.raises(CytolineError, match="no interpreter"):
        reproduction_of("models/classifier", top, python=tmp_path / "nothing")
    (top / "taken").mkdir()
    with pytest.raises(CytolineError, match="there already"):
        reproduction_of("models/classifier", top, keep=top / "taken")
    shutil.rmtree(top / ".dvc/cache/files")
    with pytest.raises(CytolineError, match="the source data/incoming/hospital"):
        reproduction_of("models/classifier", top)
