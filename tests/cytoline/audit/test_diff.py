"""``audit diff`` names what changed, and only that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from lineage_repository import Lineage, patient
from typer.testing import CliRunner

from cytoline.audit.command import app
from cytoline.audit.diff import Change, diff_of
from cytoline.audit.subgroups import figures
from cytoline.errors import CytolineError


@pytest.fixture
def lineage(tmp_path: Path) -> Lineage:
    return Lineage(tmp_path / "repository")


def plain(changes: tuple[Change, ...] | None) -> dict[str, tuple[Any, Any]]:
    return {one.name: (one.before, one.after) for one in changes or ()}


def test_a_revision_is_not_different_from_itself(lineage: Lineage) -> None:
    lineage.commit([0, 1])
    found = diff_of("HEAD", None, lineage.top)
    assert not any(
        (found.outs, found.data, found.code, found.params, found.environment, found.metrics, found.subgroups)
    )


def test_every_kind_of_change(lineage: Lineage) -> None:
    lineage.write("metrics/cases.jsonl", cases("a", right=1) + cases("b", right=2))
    lineage.commit([0, 1, 2], "one")
    lineage.write("requirements.lock", "numpy==2.1.0\nscipy==1.0\n")
    lineage.write("stages/train.py", "learn(more)\n")
    lineage.write("metrics/cases.jsonl", cases("a", right=2) + cases("b", right=2))
    lineage.record([1, 2, 3, 5], "longer")
    lock = yaml.safe_load((lineage.top / "dvc.lock").read_text())
    lock["stages"]["train_classifier"]["params"]["params.yaml"]["seed"] = 9
    lineage.write("dvc.lock", yaml.safe_dump(lock))
    found = diff_of("HEAD", None, lineage.top)
    assert plain(found.environment) == {"numpy": ("2.0.0", "2.1.0"), "scipy": (None, "1.0"), "torch": ("2.14.1", None)}
    assert set(plain(found.code)) == {"requirements.lock", "stages/train.py"}
    assert plain(found.params)["seed (train_classifier)"] == (None, 9)
    data = plain(found.data)
    assert data["images added"] == (0, 4)
    assert data["images removed"] == (0, 2)
    assert data["all: patients"] == (3, 4)
    assert data["part test: images"] == (None, 2)
    assert plain(found.metrics) == {"classifier.weights": (3.0, 6.0)}
    assert plain(found.subgroups)["source a: accuracy"] == (0.5, 1.0)
    assert not any(name.startswith("source b") for name in plain(found.subgroups))
    assert {"models/classifier", "data/clean"} <= set(plain(found.outs))


def test_what_cannot_be_compared_is_not_called_equal(lineage: Lineage, monkeypatch: pytest.MonkeyPatch) -> None:
    known = lineage.commit([0])
    lineage.object(known["data/clean"]).unlink()
    found = diff_of("HEAD", None, lineage.top)
    assert found.data is None
    assert any(known["data/clean"] in words for words in found.missing)
    monkeypatch.chdir(lineage.top)
    told = CliRunner().invoke(app, ["diff", "HEAD"])
    assert "data: not known" in told.output
    assert json.loads(CliRunner().invoke(app, ["diff", "HEAD", "--json"]).stdout)["data"] is None
    with pytest.raises(CytolineError, match="no revision"):
        diff_of("nowhere", None, lineage.top)


def cases(source: str, right: int) -> str:
    rows = [{"kind": "field", "image_id": source, "source": source, "cells": 2, "found": 1, "patient": patient(0)}]
    rows += [
        {
            "kind": "cell",
            "image_id": source,
            "patient": patient(0),
            "truth": "HSIL",
            "predicted": "HSIL" if n < right else "NILM",
        }
        for n in range(2)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_subgroups_pass_over_what_is_no_case() -> None:
    whole = figures(cases("a", 1).encode())
    assert whole["class HSIL: sensitivity"] == 0.5
    assert whole["source a: share of cells found (cells)"] == 2
    assert figures(b"\xff\n[1]\n{}\n" + b"[" * 100_000 + b"\n" + cases("a", 1).encode()) == whole
