"""``audit model`` tells where each fact is from, and where two places disagree."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from lineage_repository import Lineage, model, patient
from typer.testing import CliRunner

from cytoline.audit.command import app
from cytoline.audit.model import facts_of
from cytoline.audit.subject import subject_of
from cytoline.errors import CytolineError

ROOT = Path(__file__).parents[3]
ORDER = ["collect", "anonymize", "split", "extract_patches", "train_classifier"]


@pytest.fixture
def lineage(tmp_path: Path) -> Lineage:
    return Lineage(tmp_path / "repository")


def test_all_that_git_and_dvc_know(lineage: Lineage) -> None:
    known = lineage.commit([0, 1, 2, 3], "one")
    facts = facts_of("models/classifier", lineage.top)
    assert [stage.name for stage in facts.stages] == ORDER
    assert facts.digest == known["models/classifier"]
    assert facts.weights_sha256 == hashlib.sha256(b"one").hexdigest()
    assert facts.commit == facts.recorded == lineage.git("rev-parse", "HEAD")
    assert facts.dirty is False
    assert facts.packages == {"numpy": "2.0.0", "torch": "2.14.1"}
    assert facts.lock_sha256 == hashlib.sha256((lineage.top / "requirements.lock").read_bytes()).hexdigest()
    assert {part: (found.patients, found.images) for part, found in facts.splits.items()} == {
        "train": (2, 4), "val": (1, 2), "test": (1, 2),
    }  # fmt: skip
    assert facts.sources == ("source0", "source1")
    assert (facts.seed, facts.metrics["classifier.accuracy"]) == (3, 0.9)
    assert [item.path for item in facts.stages[-1].data] == ["data/patches", "data/split"]
    assert any("mlflow.db" in words for words in facts.missing)


def test_every_way_to_name_a_model(lineage: Lineage) -> None:
    first = lineage.commit([0], "one")["models/classifier"]
    second = lineage.commit([0, 1], "two")["models/classifier"]
    sha256 = hashlib.sha256(b"one").hexdigest()
    for ref in (sha256, first, first.removesuffix(".dir"), "HEAD~1:models/classifier"):
        assert facts_of(ref, lineage.top).digest == first
    for ref in ("models/classifier", "./models/classifier/", "main:models/classifier"):
        assert facts_of(ref, lineage.top).digest == second
    for ref in (
        "models/detector",
        "0" * 64,
        "0" * 32,
        "nobody@champion",
        "HEAD~9:models/classifier",
        "--help",
        "../x",
        "",
    ):
        with pytest.raises(CytolineError):
            facts_of(ref, lineage.top)


def test_code_and_params_that_no_commit_holds_are_dirty(lineage: Lineage) -> None:
    lineage.write("stages/train.py", "learn(differently)\n")
    lineage.record([0])
    lineage.write("stages/train.py", "learn()\n")
    lineage.write("params.yaml", "seed: 4\n")
    lineage.git("add", "-A")
    lineage.git("commit", "-q", "-m", "hides what ran")
    facts = facts_of("models/classifier", lineage.top)
    assert facts.dirty is True
    assert any("stages/train.py" in words and "params.yaml: seed" in words for words in facts.notes)


def test_a_stage_that_ran_alone_is_followed_to_the_revision_that_made_its_input(lineage: Lineage) -> None:
    first = lineage.commit([0, 1], "one")
    lineage.record([0, 1, 2], "two")
    lock = yaml.safe_load((lineage.top / "dvc.lock").read_text())
    for dep in lock["stages"]["train_classifier"]["deps"]:
        if dep["path"] == "data/patches":
            dep["md5"] = first["data/patches"]
    lineage.write("dvc.lock", yaml.safe_dump(lock))
    lineage.git("add", "-A")
    lineage.git("commit", "-q", "-m", "trained on the old patches")
    facts = facts_of("models/classifier", lineage.top)
    by_name = {stage.name: stage.recorded for stage in facts.stages}
    assert by_name["extract_patches"] == lineage.git("rev-parse", "HEAD~1")
    assert by_name["train_classifier"] == lineage.git("rev-parse", "HEAD")
    for dep in lock["stages"]["train_classifier"]["deps"]:
        if dep["path"] == "data/patches":
            dep["md5"] = "f" * 32 + ".dir"
    lineage.write("dvc.lock", yaml.safe_dump(lock))
    lock["stages"]["train_classifier"]["outs"][0]["md5"] = lineage.tree(model("three"))
    lineage.write("dvc.lock", yaml.safe_dump(lock))
    assert any(
        "no revision" in words and "data/patches" in words
        for words in facts_of("models/classifier", lineage.top).missing
    )


def test_what_is_gone_is_missing_and_nothing_is_guessed(lineage: Lineage) -> None:
    known = lineage.commit([0, 1])
    for path in ("models/classifier", "data/split", "data/clean"):
        lineage.object(known[path]).unlink()
    facts = facts_of("models/classifier", lineage.top)
    assert (facts.card, facts.name, facts.weights_sha256, facts.splits, facts.sources) == (None, None, None, {}, ())
    for path in ("models/classifier", "data/split", "data/clean"):
        assert any(known[path] in words for words in facts.missing)


def register(lineage: Lineage, versions: list[tuple[str, str, str]]) -> list[str]:
    """What ``cytoline.tracking`` does, by MLflow's own client; of each version the weights, the digest for its tag and
    the commit.  Gives the ids of the runs.
    """
    program = """
import sys, json, pathlib, mlflow
top, versions = json.loads(sys.stdin.read())
uri = "sqlite:///" + top + "/mlflow.db"
client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
experiment = client.create_experiment("cytoline", artifact_location=top + "/mlruns/1")
client.create_registered_model("cytoline-classifier")
for files, digest, commit in versions:
    tags = {"cytoline.git.commit": commit, "cytoline.git.dirty": "false"}
    run = client.create_run(experiment, tags=tags | {"cytoline.cpu": "a processor", "cytoline.home": "/" + "home/x"})
    folder = pathlib.Path(top, "mlruns", str(experiment), run.info.run_id, "artifacts/model")
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(content)
    client.log_metric(run.info.run_id, "system/cpu_utilization_percentage", 50.0)
    client.set_terminated(run.info.run_id)
    tags = {"cytoline.model.digest": digest}
    version = client.create_model_version("cytoline-classifier", str(folder), run.info.run_id, tags=tags)
    client.set_registered_model_alias("cytoline-classifier", "candidate", version.version)
    print("RUN", run.info.run_id)
"""
    given = [
        ({name: content.decode() for name, content in model(weights).items()}, digest, commit)
        for weights, digest, commit in versions
    ]
    told = json.dumps([str(lineage.top), given])
    done = subprocess.run([sys.executable, "-c", program], input=told, capture_output=True, text=True, check=True)
    return [line.split()[1] for line in done.stdout.splitlines() if line.startswith("RUN ")]


def test_a_registered_model_and_a_tag_that_lies(lineage: Lineage) -> None:
    old = lineage.commit([0], "old")["models/classifier"]
    new = lineage.commit([0, 1], "new")["models/classifier"]
    commit = lineage.git("rev-parse", "HEAD")
    # The second's tag names the model before it.
    run, lying = register(lineage, [("old", old, commit), ("new", old, commit)])
    facts = facts_of("cytoline-classifier@candidate", lineage.top)
    assert facts.digest == new
    assert facts.run is not None
    assert (facts.run.id, facts.run.status, facts.run.commit, facts.run.dirty) == (lying, "FINISHED", commit, False)
    assert facts.run.system == {"cpu": "a processor", "system/cpu_utilization_percentage": "50"}
    assert any("cytoline-classifier/2" in words and old in words for words in facts.notes)
    assert [(one.version, one.aliases) for one in facts.registry] == [(2, ("candidate",))]
    first = facts_of("cytoline-classifier/1", lineage.top)
    assert (first.digest, first.run and first.run.id, first.notes) == (old, run, ())
    seen = {one.md5: [item.version for item in one.registry] for one in subject_of(patient(0), lineage.top).models}
    assert seen == {old: [1], new: [2]}
    before = (lineage.top / "mlflow.db").read_bytes()
    with pytest.raises(CytolineError, match="no 'cytoline-classifier@champion'"):
        facts_of("cytoline-classifier@champion", lineage.top)
    assert (lineage.top / "mlflow.db").read_bytes() == before
    (lineage.top / "mlflow.db").write_bytes(b"no store")
    assert any("cannot be read" in words for words in facts_of("models/classifier", lineage.top).missing)


def test_the_views_show_hostile_names_as_text(lineage: Lineage, monkeypatch: pytest.MonkeyPatch) -> None:
    lineage.write("metrics/classifier.json", "{}")
    lineage.commit([0])
    lock = yaml.safe_load((lineage.top / "dvc.lock").read_text())
    lock["stages"]["[red]evil[/red]\x1b[31m"] = lock["stages"].pop("train_classifier")
    lineage.write("dvc.lock", yaml.safe_dump(lock))
    lineage.git("commit", "-q", "-a", "-m", "evil")
    monkeypatch.chdir(lineage.top)
    monkeypatch.setenv("COLUMNS", "200")
    told = CliRunner().invoke(app, ["model", "main:models/classifier"])
    assert told.exit_code == 0
    assert "\x1b" not in told.output
    shown = CliRunner().invoke(app, ["model", "models/classifier", "--json"])
    facts: dict[str, Any] = json.loads(shown.stdout)
    assert facts["path"] == "models/classifier"
    found = CliRunner().invoke(app, ["subject", patient(0), "--json"])
    assert (found.exit_code, json.loads(found.stdout)["patient"]) == (0, patient(0))
    assert CliRunner().invoke(app, ["subject", patient(5)]).exit_code == 1


def test_an_audit_loads_nothing_heavy(lineage: Lineage) -> None:
    lineage.commit([0])
    heavy = ("torch", "dvc", "mlflow", "numpy", "pydicom", "cv2", "PIL")
    program = (
        "import sys; from cytoline.cli import app\n"
        f"sys.argv = ['cytoline', 'audit', 'subject', '{patient(0)}']\n"
        "try: app()\nexcept SystemExit as end: print('END', end.code)\n"
        f"print('LOADED', [name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=lineage.top, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}, check=True,
    )  # fmt: skip
    assert "LOADED []" in done.stdout
    assert "END 0" in done.stdout
