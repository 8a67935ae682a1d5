"""The README quotes what was measured, and says so when a bound is missed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.quote import END, START, quoted, table
from benchmarks.result import RESULTS, Figure, read_figures, record
from cytoline.errors import CytolineError

ROOT = Path(__file__).parents[1]
FIGURE = Figure("noop_repro_s", 3.5, "s", 5, "<=", 5, "median")


def test_the_readme_quotes_the_results_file() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert quoted(readme, read_figures(RESULTS / "pipeline.json")) == readme, "run `python -m benchmarks.quote`"


def test_a_missed_bound_is_marked() -> None:
    kept, missed = table([FIGURE]), table([replace(FIGURE, value=5.1)])
    assert "| <= 5 | 3.5 | median |" in kept
    assert "missed" not in kept
    assert "| 5.1 **missed** |" in missed


def test_what_was_not_measured_is_said_to_be_missing() -> None:
    assert table([]).count("not measured yet") == len(table([]).splitlines()) - 2


def test_a_readme_without_marks_is_an_error() -> None:
    with pytest.raises(CytolineError, match="marks"):
        quoted("no marks", [])
    assert quoted(f"a\n{START}old\n{END}b\n", []).startswith("a\n")


def test_a_figure_of_an_earlier_commit_says_so(tmp_path: Path) -> None:
    record("x", [FIGURE, replace(FIGURE, name="other")], "1111", tmp_path)
    record("x", [replace(FIGURE, value=4.0)], "2222", tmp_path)
    merged = {figure.name: figure for figure in read_figures(tmp_path / "x.json")}
    assert merged["noop_repro_s"].value == 4.0
    assert merged["noop_repro_s"].how == "median"
    assert merged["other"].how == "median (at commit 1111)"
