"""Progress in a log: about ten lines, never more than there are steps, with the time that is left."""

from __future__ import annotations

import pytest

from cytoline.progress import Bar, track


def test_about_ten_lines_for_many_items(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(1000), 1000, "fields [x]")) == list(range(1000))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("fields [x]: 100/1000 (10 %)")
    assert "left" in lines[0]
    assert lines[-1].startswith("fields [x]: 1000/1000 (100 %)")


def test_few_items_and_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(iter([1, 2]), 2, "a")) == [1, 2]
    assert list(track([], 0, "b")) == []
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_figures_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar(2, "train") as bar:
        bar.advance(2, loss=0.123456, phase="val")
    assert capsys.readouterr().err.rstrip().endswith("loss 0.1235 phase val")
