"""The gate catches planted drops, lets noise pass, and never calls a missing figure a pass."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from typer.testing import CliRunner

from cytoline.cli import app
from cytoline.errors import CytolineError
from cytoline.gate.judge import judge
from cytoline.gate.outputs import as_junit, as_markdown
from cytoline.gate.recompute import Side, patients_of, statistic
from cytoline.gate.revision import Snapshot, read_revision, read_work_tree
from cytoline.gate.rules import GateParams, Rule
from cytoline.params import load_seed

ROOT = Path(__file__).parents[2]
CLASSES = ("NILM", "HSIL")
ADDRESS = "classifier.accuracy"


def cases(right: float, seed: int, patients: int = 40, each: int = 12, first: int = 0) -> list[dict[str, Any]]:
    """``each`` cells per patient, half of them of each class, each graded and found right with chance ``right``."""
    rng, rows = np.random.default_rng(seed), []
    for number in range(first, first + patients):
        patient = f"{number:032x}"
        image = {"patient": patient, "image_id": f"{patient}-1"}
        rows.append({"kind": "field", "cells": each} | image)
        for cell in range(each):
            truth = CLASSES[cell % 2]
            said = truth if rng.random() < right else CLASSES[1 - cell % 2]
            probabilities = {name: 0.9 if name == said else 0.1 for name in CLASSES}
            graded = {"truth": truth, "predicted": said, "probabilities": probabilities}
            found = image | {"patch_id": f"{cell:03d}", "bbox": [30.0 * cell, 0.0, 20.0, 20.0]}
            rows.append({"kind": "cell"} | found | graded)
            hit = truth if rng.random() < right else None
            beside = {} if hit else {"bbox": [30.0 * cell, 90.0, 20.0, 20.0]}
            rows.append({"kind": "detection"} | found | graded | {"score": rng.random(), "truth": hit} | beside)
    return rows


def snapshot(name: str, rows: list[dict[str, Any]], **figures: float) -> Snapshot:
    cells = [row for row in rows if row["kind"] == "cell"]
    accuracy = float(np.mean([row["truth"] == row["predicted"] for row in cells])) if cells else 0.0
    return Snapshot(name, {ADDRESS: accuracy} | figures, tuple(rows))


def params(**rule: Any) -> GateParams:
    plain: dict[str, Any] = {"max_loss": 0.0, "seed_sd": 0.0}
    return GateParams(false_alarm=0.02, samples=300, min_patients=5, rules={ADDRESS: Rule(**(plain | rule))})


def outcome(before: Snapshot, after: Snapshot, **rule: Any) -> str:
    return judge(before, after, params(**rule), seed=0)[0].outcome


def test_a_true_drop_is_caught_and_the_same_models_pass() -> None:
    before = snapshot("before", cases(0.9, 0))
    assert outcome(before, snapshot("now", cases(0.8, 1))) == "regression"
    assert outcome(before, before) == "pass"
    assert outcome(before, snapshot("now", cases(0.99, 2))) == "pass"


def test_changes_of_nothing_fail_no_more_often_than_promised() -> None:
    runs = [
        outcome(snapshot("before", cases(0.85, 2 * n)), snapshot("now", cases(0.85, 2 * n + 1))) for n in range(150)
    ]
    # Promised are 2 %: of 150 more than 8 would be a chance of one in a thousand.
    assert runs.count("regression") <= 8


def test_what_the_rule_says_to_see_it_sees_nine_times_in_ten() -> None:
    verdict = judge(snapshot("a", cases(0.9, 0)), snapshot("b", cases(0.9, 1)), params(), seed=0)[0]
    assert verdict.sees is not None
    drop = verdict.sees
    runs = [
        outcome(snapshot("before", cases(0.9, 2 * n)), snapshot("now", cases(0.9 - drop, 2 * n + 1)))
        for n in range(100)
    ]
    assert 80 <= runs.count("regression") <= 99


def test_two_states_that_are_alike_tell_nothing_of_what_would_be_seen() -> None:
    state = snapshot("a", cases(0.9, 0))
    verdict = judge(state, state, params(seed_sd=0.01), seed=0)[0]
    assert (verdict.outcome, verdict.sees) == ("pass", None)
    assert "the same in both" in verdict.words
    # A total failure does not scatter either, and is no likeness.
    lost = judge(snapshot("a", cases(1.0, 0)), snapshot("b", cases(0.0, 0)), params(), seed=0)[0]
    assert lost.outcome == "regression"
    assert "the same in both" not in lost.words
    bare = Snapshot("before", {ADDRESS: 0.9})
    assert judge(bare, bare, params(seed_sd=0.01), seed=0)[0].sees is None


def test_noise_of_seeds_widens_the_tolerance() -> None:
    before, after = snapshot("before", cases(0.9, 0)), snapshot("now", cases(0.82, 1))
    assert outcome(before, after) == "regression"
    assert outcome(before, after, seed_sd=0.1) == "pass"


def test_an_accepted_loss_passes_even_if_it_is_real() -> None:
    before, after = snapshot("before", cases(0.9, 0)), snapshot("now", cases(0.82, 1))
    assert outcome(before, after, max_loss=0.15) == "pass"
    assert outcome(before, after, max_loss=0.15, max_relative_loss=0.01) == "regression"


def test_without_cases_only_the_noise_of_seeds_counts() -> None:
    before, after = Snapshot("before", {ADDRESS: 0.9}), Snapshot("now", {ADDRESS: 0.85})
    assert outcome(before, after, seed_sd=0.001) == "regression"
    assert outcome(before, after, seed_sd=0.05) == "pass"


def test_lower_can_be_better() -> None:
    before, after = Snapshot("before", {ADDRESS: 0.05}), Snapshot("now", {ADDRESS: 0.15})
    assert outcome(before, after, better="lower") == "regression"
    assert outcome(after, before, better="lower") == "pass"
    assert outcome(after, before, better="lower", limit=0.04) == "beyond limit"


@pytest.mark.parametrize("side", ["baseline", "current", "both"])
def test_a_missing_figure_never_passes(side: str) -> None:
    full, empty = snapshot("full", cases(0.9, 0)), Snapshot("empty", {"other.figure": 1.0})
    before, after = (empty if side != "current" else full), (empty if side != "baseline" else full)
    assert outcome(before, after) == "missing"


def test_a_baseline_without_any_metrics_is_an_error() -> None:
    with pytest.raises(CytolineError, match="no metrics"):
        judge(Snapshot("before", {}), snapshot("now", cases(0.9, 0)), params(), seed=0)


def test_only_patients_that_both_states_have_are_compared() -> None:
    # Twenty new patients whose cells are all graded wrong: the model is not worse, the test set is harder.
    before = cases(0.9, 0)
    after = before + cases(0.0, 1, patients=20, first=40)
    assert snapshot("now", after).figures[ADDRESS] < 0.65
    verdict = judge(snapshot("before", before), snapshot("now", after), params(), seed=0)[0]
    assert verdict.outcome == "pass"
    assert verdict.loss == 0
    assert "20 only now" in verdict.words


def test_below_its_limit_a_figure_fails_without_any_loss() -> None:
    state = snapshot("before", cases(0.6, 0))
    assert outcome(state, state, limit=0.7) == "beyond limit"
    assert outcome(state, state, limit=0.5) == "pass"


@pytest.mark.parametrize("address", ["detector.ap50", "detector.recall", "classifier.per_class.HSIL.sensitivity"])
def test_figures_from_cases_fall_with_the_models(address: str) -> None:
    good, bad = cases(0.95, 0), cases(0.6, 1)
    names = sorted(patients_of(good))
    values = []
    for rows in (good, bad):
        figure = statistic(address, Side.of(rows, names))
        assert figure is not None
        values.append(float(figure(np.ones((1, len(names))))[0]))
    assert values[0] > values[1] + 0.2


def test_a_figure_that_cases_cannot_give_is_not_invented() -> None:
    side = Side.of(cases(0.9, 0), sorted(patients_of(cases(0.9, 0))))
    assert statistic("classifier.auroc", side) is None
    assert statistic("classifier.per_class.SCC.sensitivity", side) is None
    assert statistic("two_stage.map50_95", side) is None
    assert statistic("classifier.abnormal_sensitivity", side) is None  # nobody said which classes are abnormal


def test_markdown_cannot_be_broken_out_of_and_junit_counts() -> None:
    before, after = snapshot("before", cases(0.9, 0)), snapshot("now", cases(0.7, 1))
    verdicts = judge(before, after, params(), seed=0)
    text = as_markdown(verdicts, "main`|<script>\n# x", Path("none"))
    assert "<script>" not in text
    assert "\n# x" not in text
    assert ":x:" in text
    suite = ET.fromstring(as_junit(verdicts))  # noqa: S314 - our own XML
    assert suite.get("failures") == "1"
    assert suite.find("testcase/failure") is not None


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git and DVC repository whose last commit holds good figures, with the project's own params."""
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    write(tmp_path, 0.9, 0)
    commit(tmp_path)
    return tmp_path


def write(root: Path, right: float, seed: int, drop: str = "") -> None:
    """Figures as evaluate lays them out, true to their cases; ``drop`` is a figure to leave out."""
    rows = cases(right, seed)
    side = Side.of(rows, sorted(patients_of(rows)))
    values: dict[str, dict[str, float]] = {"detector": {}, "classifier": {}, "two_stage": {"map50": right}}
    for address in ("detector.ap50", "classifier.balanced_accuracy", "classifier.accuracy"):
        figure = statistic(address, side)
        assert figure is not None
        file, name = address.split(".")
        values[file][name] = float(figure(np.ones((1, len(side.patients))))[0])
    values["classifier"]["abnormal_sensitivity"] = right
    (root / "metrics").mkdir(exist_ok=True)
    for name, figures in values.items():
        figures.pop(drop, None)
        (root / f"metrics/{name}.json").write_text(json.dumps(figures), encoding="utf-8")
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (root / "metrics/cases.jsonl").write_text(lines, encoding="utf-8")


def commit(root: Path) -> None:
    who = ["-c", "user.name=x", "-c", "user.email=x@invalid", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "add", "-A"], cwd=root, check=True)
    subprocess.run(["git", *who, "commit", "-qm", "x"], cwd=root, check=True)


def gate(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["gate", *arguments])


def test_a_worse_work_tree_fails_the_build_and_stays_untouched(repository: Path) -> None:
    write(repository, 0.7, 1)
    before = {path: path.read_bytes() for path in repository.glob("metrics/*")}
    done = gate("--baseline", "HEAD", "--markdown", "gate.md", "--junit", "gate.xml", "--json")
    assert done.exit_code == 1, done.output
    answer = json.loads(done.stdout)
    assert answer["passed"] is False
    assert {row["address"] for row in answer["rules"] if row["failed"]} >= {"classifier.balanced_accuracy"}
    assert "rules failed" in (repository / "gate.md").read_text(encoding="utf-8")
    assert ET.parse(repository / "gate.xml").getroot().get("failures") != "0"  # noqa: S314 - our own XML
    assert {path: path.read_bytes() for path in repository.glob("metrics/*")} == before


def test_an_unchanged_work_tree_passes(repository: Path) -> None:
    done = gate("--baseline", "HEAD")
    assert done.exit_code == 0, done.output
    assert "pass" in done.stdout


def test_a_figure_that_is_gone_fails(repository: Path) -> None:
    write(repository, 0.9, 0, drop="ap50")
    done = gate("--baseline", "HEAD", "--json")
    assert done.exit_code == 1
    assert [row["outcome"] for row in json.loads(done.stdout)["rules"] if row["failed"]] == ["missing"]


def test_an_unknown_revision_is_said_in_two_lines(repository: Path) -> None:
    with pytest.raises(CytolineError, match="no revision"):
        read_revision("no-such-branch")
    assert isinstance(gate("--baseline", "no-such-branch").exception, CytolineError)


def test_broken_metrics_are_named(repository: Path) -> None:
    (repository / "metrics/detector.json").write_text("{", encoding="utf-8")
    with pytest.raises(CytolineError, match="not valid JSON"):
        read_work_tree()


def test_the_projects_own_rules_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert GateParams.load().rules
    assert load_seed() >= 0
