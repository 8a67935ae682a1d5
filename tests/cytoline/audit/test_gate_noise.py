"""What the gate makes of few patients, of different test sets, of broken cases; and its benchmark on a known answer."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.audit.gating import figures_of, measure_gate
from benchmarks.audit.material import Material, worse_called
from cytoline.errors import CytolineError
from cytoline.gate.judge import judge, judge_floors
from cytoline.gate.outputs import MARKER, as_markdown
from cytoline.gate.revision import Snapshot, read_work_tree
from cytoline.gate.rules import GateParams, Rule

ADDRESS = "classifier.accuracy"
ROOT = Path(__file__).parents[3]


def cases(right: float, seed: int, patients: range, each: int = 20) -> list[dict[str, Any]]:
    """Cells of two images per patient, graded right by chance."""
    rng, rows = np.random.default_rng(seed), []
    for number in patients:
        for cell in range(each):
            truth = ("NILM", "HSIL")[cell % 2]
            said = truth if rng.random() < right else "LSIL"
            place = {"patient": f"{number:04d}", "image_id": f"{number:04d}-{cell % 4 // 2}", "bbox": [0, 0, 9, 9]}
            rows.append({"kind": "cell", "truth": truth, "predicted": said, "probabilities": {said: 1.0}} | place)
    return rows


def state(name: str, rows: list[dict[str, Any]]) -> Snapshot:
    return Snapshot(name, {ADDRESS: float(np.mean([row["truth"] == row["predicted"] for row in rows]))}, tuple(rows))


def params(least: int = 5, **rule: Any) -> GateParams:
    plain: dict[str, Any] = {"max_loss": 0.03, "seed_sd": 0.0}
    return GateParams(false_alarm=0.02, samples=200, min_patients=least, rules={ADDRESS: Rule(**(plain | rule))})


def test_few_shared_patients_are_not_called_paired() -> None:
    before, after = state("a", cases(0.9, 0, range(12))), state("b", cases(0.9, 1, range(9, 21)))
    verdict = judge(before, after, params(), seed=0)[0]
    assert verdict.words.startswith("unpaired, 12 patients before and 12 now: only 3")
    assert verdict.outcome == "pass"
    assert judge(before, state("b", cases(0.5, 1, range(9, 21))), params(), seed=0)[0].outcome == "regression"
    assert judge(before, after, params(least=3), seed=0)[0].words.startswith("paired over 3 patients")


def test_too_few_patients_are_no_excuse_for_a_loss() -> None:
    before, worse = state("a", cases(0.9, 0, range(3))), state("b", cases(0.7, 1, range(3)))
    verdict = judge(before, worse, params(), seed=0)[0]
    assert (verdict.outcome, verdict.sees) == ("too few patients", None)
    assert verdict.failed
    assert judge(before, before, params(), seed=0)[0].outcome == "pass"
    assert judge(before, worse, params(max_loss=0.5), seed=0)[0].outcome == "pass"


def test_five_patients_who_happen_to_agree_do_not_make_a_loss_certain() -> None:
    # Every patient loses two cells of twenty: the scatter between patients is nothing, that between images is not.
    before = cases(1.0, 0, range(5))
    after = [dict(row) for row in before]
    for number in range(5):
        mine = [row for row in after if row["patient"] == f"{number:04d}" and row["image_id"].endswith("0")]
        for row in mine[:2]:
            row["predicted"] = "LSIL"
    verdict = judge(state("a", before), state("b", after), params(max_loss=0.0), seed=0)[0]
    assert verdict.loss == pytest.approx(0.1)
    assert verdict.tolerance is not None
    assert verdict.tolerance > 0.05


def test_abnormal_sensitivity_is_computed_on_the_shared_patients() -> None:
    address = "classifier.abnormal_sensitivity"
    rule = GateParams(false_alarm=0.02, samples=200, min_patients=5, rules={address: Rule(max_loss=0.03, seed_sd=0.0)})
    good, bad = cases(1.0, 0, range(30)), cases(1.0, 0, range(30))
    for row in bad[1::4]:
        row["predicted"] = "NILM"
    before, after = (Snapshot(name, {address: 0.9}, tuple(rows)) for name, rows in (("a", good), ("b", bad)))
    verdict = judge(before, after, rule, 0, ("HSIL", "LSIL"))[0]
    assert verdict.loss == pytest.approx(0.5)
    assert verdict.outcome == "regression"
    assert judge(before, after, rule, 0)[0].words.startswith("noise of the seed alone")


def test_floors_alone_need_a_floor_and_every_figure() -> None:
    now = state("now", cases(0.9, 0, range(6)))
    with pytest.raises(CytolineError, match="no rule has a floor"):
        judge_floors(now, params())
    assert [item.outcome for item in judge_floors(now, params(limit=0.5))] == ["pass"]
    assert [item.outcome for item in judge_floors(now, params(limit=0.95))] == ["beyond limit"]
    assert [item.outcome for item in judge_floors(Snapshot("now", {}), params(limit=0.5))] == ["missing"]


@pytest.mark.parametrize(
    "line", ['{"kind":"cell"}', '{"kind":"x"}', "[]", '"cell"', '{"kind":["cell"]}', "[" * 100_000, "\udcff"]
)
def test_cases_that_evaluate_did_not_write_are_an_error_with_a_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "metrics").mkdir()
    good = json.dumps({"kind": "field", "patient": "p", "image_id": "i", "cells": 3})
    content = f"{good}\n{line}\n".encode(errors="surrogateescape")
    (tmp_path / "metrics/cases.jsonl").write_bytes(content)
    with pytest.raises(CytolineError, match="line 2 is not what evaluate writes"):
        read_work_tree(tmp_path)


def test_markdown_says_first_what_failed_and_draws_a_chart_that_mermaid_takes(tmp_path: Path) -> None:
    rows = "\n".join(f"{number / 100},{1 - number / 200}" for number in range(101))
    (tmp_path / "pr_curve.csv").write_text(f"recall,precision\n{rows}\n", encoding="utf-8")
    (tmp_path / "confusion.csv").write_text("actual,predicted\nNILM,HSIL\n@all|x,NILM\n", encoding="utf-8")
    before, after = state("a", cases(0.9, 0, range(9))), state("b", cases(0.5, 1, range(9)))
    text = as_markdown(judge(before, after, params(), seed=0), "origin/main", tmp_path)
    assert text.startswith(f"{MARKER}\n## cytoline gate\n\n**1 of 1 rules failed**")
    assert text.index("regression: a loss of 0.") < text.index("| | figure |")
    assert '  x-axis "recall" 0 --> 1\n' in text
    (line,) = [row for row in text.split("\n") if row.startswith("  line [")]
    assert len(line.split(",")) == 21
    assert "@all" not in text
    (tmp_path / "pr_curve.csv").write_text("recall,precision\n0,nan\n", encoding="utf-8")
    assert "mermaid" not in as_markdown(judge(before, after, params(), seed=0), "x", tmp_path)


@pytest.fixture(scope="module")
def material() -> Material:
    """Forty patients of twenty cells; four alike trainings, one that is 40 points worse; nothing for a detector."""
    rng = np.random.default_rng(3)
    owner, truth = np.repeat(np.arange(40), 20), np.tile(np.arange(4), 200)
    hard = rng.random(800) < 0.1
    good = [np.where(hard | (rng.random(800) < 0.02), (truth + 1) % 4, truth) for _ in range(4)]
    bad = np.where(rng.random(800) < 0.5, (truth + 1) % 4, truth)
    found = [
        np.stack([np.repeat(np.arange(40), 20), rng.integers(3000, 9000, 800), (rng.random(800) < 0.9) * 1], axis=1)
        for _ in range(2)
    ]
    return Material(owner, truth, tuple(good), (bad,), np.arange(40), np.full(40, 20), tuple(found))


def test_a_planted_drop_is_as_large_as_it_says(material: Material) -> None:
    drops = []
    for seed in range(20):
        worse = worse_called(material, material.called[0], 0.1, np.random.default_rng(seed))
        drops.append(material.balanced_accuracy(material.called[0]) - material.balanced_accuracy(worse))
    assert np.mean(drops) == pytest.approx(0.1, abs=0.01)


def test_the_benchmark_finds_what_was_planted(material: Material) -> None:
    rules = {"classifier.balanced_accuracy": Rule(max_loss=0.03, seed_sd=0.01)}
    gate = GateParams(false_alarm=0.02, samples=100, min_patients=5, rules=rules)
    with ThreadPoolExecutor(1) as pool:
        (answer,) = measure_gate(material, gate, pool, sizes=(20,), comparisons=30)
    assert answer.false_fail <= 0.1
    shares = list(answer.caught["classifier"].values())
    assert shares[0] < shares[-1] == 1.0
    assert "detector" not in answer.caught  # no rule asks for it
    assert {"gate_false_fail", "gate_caught", "gate_smallest_classifier_20"} <= {f.name for f in figures_of([answer])}
