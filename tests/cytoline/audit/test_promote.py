"""``cytoline promote`` on a real registry: the alias moves through gate, approvals and a recorded commit, or not.

Registry, commits, keys and approvals are real; only the models' content is not.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.repo import Repo
from typer.testing import CliRunner

from cytoline.audit.approvals import APPROVALS
from cytoline.audit.policy import POLICY
from cytoline.audit.signing import PRIVATE, PUBLIC, make_key
from cytoline.cli import app
from cytoline.errors import CytolineError
from cytoline.gate.promotions import PROMOTIONS, read_promotions
from cytoline.gate.registry import Registry
from cytoline.tracking import stage_run

ROOT = Path(__file__).parents[3]
NAME = "cytoline-classifier"
MODEL = Path("models/classifier")
PEOPLE = {"anna": "clinician", "ben": "quality"}
"""The two that the policy of this repository asks for."""
FIGURES = {
    "detector": ("ap50",),
    "classifier": ("balanced_accuracy", "abnormal_sensitivity"),
    "two_stage": ("map50",),
}


def commit(message: str) -> None:
    who = ["-c", "user.name=x", "-c", "user.email=x@invalid", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "add", "-A"], check=True)
    subprocess.run(["git", *who, "commit", "-qm", message], check=True)


def train(right: float, text: str, *, lock: bool = True) -> None:
    """One run of the pipeline as git, DVC and MLflow see it: a model, its figures, the commit that holds both."""
    MODEL.mkdir(parents=True, exist_ok=True)
    (MODEL / "weights.safetensors").write_text(text, encoding="utf-8")
    with stage_run("train_classifier", {}, {}) as run:
        run.log_model(MODEL, NAME)
    Path("metrics").mkdir(exist_ok=True)
    for file, names in FIGURES.items():
        Path(f"metrics/{file}.json").write_text(json.dumps(dict.fromkeys(names, right)), encoding="utf-8")
    if lock:
        with Repo() as repo:  # a program of its own would take seconds to start
            repo.commit(force=True)
        commit(text)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 is good, 2 is worse, 3 is as good as 1, 4 is good and in no dvc.lock."""
    top = tmp_path_factory.mktemp("promote")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "DVC_STAGE", "RANK"):
            patch.delenv(name, raising=False)
        patch.chdir(top)
        for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
            subprocess.run(command, check=True)
        for name in ("params.yaml", "configs/taxonomies/bethesda.yaml", "requirements.lock", POLICY):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, name)
        stages = {"train_classifier": {"cmd": "x", "outs": [str(MODEL)]}}
        Path("dvc.yaml").write_text(yaml.safe_dump({"stages": stages}), encoding="utf-8")
        Path(".gitignore").write_text("mlflow.db*\nmlruns/\nmodels/\n.cytoline/\n", encoding="utf-8")
        for name in PEOPLE:
            make_key(PRIVATE / f"{name}.pem", PUBLIC / f"{name}.pem")
        commit("code")
        for right, text, lock in ((0.9, "one", True), (0.7, "two", True), (0.9, "three", True), (0.9, "four", False)):
            train(right, text, lock=lock)
        # Version 4 was an experiment: the work tree holds version 3 again.
        subprocess.run(["git", "checkout", "-q", "--", "metrics"], check=True)
        (MODEL / "weights.safetensors").write_text("three", encoding="utf-8")
    return top


@dataclass
class Place:
    """A copy of it that a test may change (the registered files stay where they were)."""

    top: Path

    def promote(self, *words: str) -> Any:
        return CliRunner().invoke(app, ["promote", *words])

    def sign(self, ref: str, by: str, role: str, meaning: str = "approval") -> None:
        words = ["approve", ref, "--role", role, "--meaning", meaning, "--by", by]
        assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
        commit(f"{by} signed")

    def approve(self, version: int) -> None:
        for by, role in PEOPLE.items():
            self.sign(f"{NAME}/{version}", by, role)

    def crown(self, version: int) -> Any:
        """Both sign, then it is promoted."""
        self.approve(version)
        return self.promote(f"{NAME}/{version}", "--json")

    def alias(self) -> int | None:
        return Registry(self.top).champion(NAME)

    def tags(self, version: int) -> dict[str, str]:
        found = Registry(self.top).find(f"{NAME}/{version}").tags
        return {key: value for key, value in found.items() if "promotion" in key}

    def set_tag(self, version: int, key: str, value: str) -> None:
        import mlflow

        client = mlflow.MlflowClient(f"sqlite:///{self.top}/mlflow.db")
        client.set_model_version_tag(NAME, str(version), key, value)


@pytest.fixture
def place(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    top = tmp_path / "place"
    shutil.copytree(built, top, symlinks=True)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(top)
    return Place(top)


def test_a_champion_is_made_kept_against_a_worse_one_replaced_and_taken_back(place: Place) -> None:
    first = place.crown(1)
    assert first.exit_code == 0, first.output
    assert (place.alias(), json.loads(first.stdout)["baseline"]) == (1, None)

    place.approve(2)
    worse = place.promote(f"{NAME}/2")
    assert worse.exit_code == 1
    assert "was not promoted" in worse.stdout
    assert (place.alias(), len(read_promotions()), place.tags(2)) == (1, 1, {})

    third = place.crown(3)
    assert third.exit_code == 0, third.output
    told, rows = json.loads(third.stdout), read_promotions()
    assert (place.alias(), told["previous"], told["baseline"]) == (3, 1, rows[0].commit)
    assert place.tags(3)["cytoline.promotion.gate"] == rows[1].gate == told["gate"]["sha256"]
    assert place.tags(3)["cytoline.promotion.previous"] == "1"

    back = place.promote(NAME, "--rollback", "--reason", "incident")
    assert back.exit_code == 0, back.output
    assert place.alias() == 1
    assert [(row.action, row.version) for row in read_promotions()] == [("promote", 1), ("promote", 3), ("rollback", 1)]
    with pytest.raises(CytolineError, match="no earlier champion"):
        raise place.promote(NAME, "--rollback", "--reason", "incident").exception


def test_anyone_can_run_the_gate_of_a_promotion_again(place: Place) -> None:
    for version in (1, 3):
        assert place.crown(version).exit_code == 0
    row = read_promotions()[-1]
    words = ["gate", "--baseline", str(row.baseline), "--revision", row.commit, "--json"]
    again = CliRunner().invoke(app, words)
    assert hashlib.sha256(again.stdout.encode()).hexdigest() == row.gate


def test_the_first_champion_must_reach_every_floor(place: Place) -> None:
    text = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(text.replace("detector.ap50: {limit: 0.5", "detector.ap50: {limit: 0.95"), "utf-8")
    commit("a higher floor")
    done = place.crown(1)
    assert done.exit_code == 1, done.output
    assert [row["outcome"] for row in json.loads(done.stdout)["rules"] if row["failed"]] == ["beyond limit"]
    assert place.alias() is None


def reasons(place: Place, version: int) -> list[str]:
    """Why the approvals do not suffice; the gate passes, and nothing has moved."""
    before = place.alias()
    done = place.promote(f"{NAME}/{version}", "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["gate"]["passed"], told["approvals"]["met"]) == (1, True, False), done.output
    assert (place.alias(), PROMOTIONS.exists()) == (before, before is not None)
    return list(told["approvals"]["reasons"])


def test_nothing_moves_without_approvals(place: Place) -> None:
    no_clinician, no_quality = (f"no approval by the role {role} stands" for role in PEOPLE.values())
    people = "{} of 2 people: the needed approvals are by too few, each with an own key"
    assert reasons(place, 3) == [no_clinician, no_quality, people.format(0)]
    place.sign(str(MODEL), "anna", "clinician")
    assert reasons(place, 3) == [no_quality, people.format(1)]
    place.sign(str(MODEL), "anna", "quality")
    assert reasons(place, 3) == [people.format(1)], "one person in both roles is one person"
    place.sign(str(MODEL), "ben", "quality")
    place.sign(str(MODEL), "ben", "developer", "rejection")
    assert reasons(place, 3) == ["ben says rejection as developer"]
    place.sign(str(MODEL), "ben", "developer", "review")
    done = place.promote(f"{NAME}/3", "--json")
    assert done.exit_code == 0, done.output
    log = hashlib.sha256(Path(APPROVALS).read_bytes()).hexdigest()
    assert read_promotions()[-1].approvals == json.loads(done.stdout)["approvals"]["sha256"] == log


@pytest.mark.parametrize("name", ["metrics/plots.json", "requirements.lock", POLICY])
def test_approvals_that_fell_move_nothing(name: str, place: Place) -> None:
    place.approve(3)
    Path(name).write_text((Path(name).read_text() if Path(name).is_file() else "{}") + "\n", encoding="utf-8")
    commit("changed")
    assert len(reasons(place, 3)) == 3
    place.approve(3)
    assert place.promote(f"{NAME}/3").exit_code == 0


def test_approvals_of_another_version_move_nothing(place: Place) -> None:
    """Version 1 is good too, and in the history alone; what was signed for it says nothing of version 3."""
    place.approve(1)
    assert len(reasons(place, 3)) == 3
    assert place.promote(f"{NAME}/1").exit_code == 0
    place.approve(2)
    assert place.promote(f"{NAME}/2").exit_code == 1
    assert len(reasons(place, 3)) == 3


def refused(place: Place, *words: str) -> str:
    done = place.promote(*words)
    assert isinstance(done.exception, CytolineError), done.output
    return done.exception.cause


@pytest.mark.parametrize("name", [POLICY, APPROVALS, f"{PUBLIC}/eve.pem"])
def test_rules_and_approvals_that_are_in_no_commit_move_nothing(place: Place, name: str) -> None:
    """Else a loosened policy could promote and be undone without a trace."""
    place.approve(3)
    with Path(name).open("a", encoding="utf-8") as file:
        file.write("# loosened\n")
    assert f"{name} is not what the commit holds" in refused(place, f"{NAME}/3")
    assert place.alias() is None


def test_a_store_that_is_no_database_is_named_at_once(place: Place) -> None:
    Path("mlflow.db").write_text("garbage")
    assert "no SQLite database" in refused(place, f"{NAME}/1")


def test_what_git_does_not_know_is_refused(place: Place) -> None:
    assert "dvc.lock" in refused(place, NAME)  # the candidate is version 4
    assert "names no version" in refused(place, f"{NAME}/1@candidate")
    assert "holds no" in refused(place, f"{NAME}/77")
    place.set_tag(1, "cytoline.git.dirty", "true")
    assert "changes that no commit holds" in refused(place, f"{NAME}/1")
    place.set_tag(1, "cytoline.git.dirty", "false")
    place.set_tag(1, "cytoline.git.commit", "unknown")
    assert "from which commit" in refused(place, f"{NAME}/1")
    place.set_tag(1, "cytoline.git.commit", "0" * 40)
    assert "knows no revision" in refused(place, f"{NAME}/1")
    Path("params.yaml").write_text("seed: 1\n", encoding="utf-8")
    assert "work tree" in refused(place, f"{NAME}/3")
    assert place.alias() is None


def test_registered_files_that_were_changed_are_found_out(place: Place, built: Path) -> None:
    (weights,) = [path for path in built.rglob("mlruns/**/weights.safetensors") if path.read_text() == "one"]
    weights.write_text("another", encoding="utf-8")
    try:
        assert "hash differs" in refused(place, f"{NAME}/1")
    finally:
        weights.write_text("one", encoding="utf-8")


def test_an_alias_moved_by_hand_and_a_changed_log_are_found_out(place: Place) -> None:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{place.top}/mlflow.db")
    client.set_registered_model_alias(NAME, "champion", "2")
    assert "moved past this command" in refused(place, f"{NAME}/1")
    client.delete_registered_model_alias(NAME, "champion")
    for version in (1, 3):
        assert place.crown(version).exit_code == 0
    PROMOTIONS.write_text(PROMOTIONS.read_text().replace('"version":1', '"version":2'), encoding="utf-8")
    assert "is not what was written" in refused(place, f"{NAME}/3")


def test_what_was_interrupted_is_ended_by_the_same_command(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    place.approve(1)
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "crown", cut)
        assert place.promote(f"{NAME}/1").exit_code != 0
    assert (place.alias(), len(read_promotions())) == (None, 1)
    assert place.promote(f"{NAME}/1").exit_code == 0
    assert (place.alias(), len(read_promotions())) == (1, 1)
    assert place.crown(3).exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "crown", cut)
        assert place.promote(NAME, "--rollback", "--reason", "by_mistake").exit_code != 0
    assert place.alias() == 3
    assert place.promote(NAME, "--rollback", "--reason", "by_mistake").exit_code == 0
    assert (place.alias(), len(read_promotions())) == (1, 3)
