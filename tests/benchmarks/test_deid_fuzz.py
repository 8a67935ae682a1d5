"""The fuzzing itself: cases are the same every time, seeds are valid, a worker that misbehaves is named and ended."""

from __future__ import annotations

import pytest

from benchmarks.deid import fuzz, fuzz_watch
from benchmarks.deid.fuzz_case import FORMATS, Case, Format
from benchmarks.deid.fuzz_judge import Judge
from benchmarks.deid.fuzz_mutations import mutated
from benchmarks.deid.fuzz_seeds import planted
from benchmarks.deid.fuzz_watch import judged
from cytoline.errors import CytolineError
from tests.benchmarks.misbehaving import Broken, Misbehaving


def test_what_hangs_dies_or_sleeps_is_named_and_the_others_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_watch, "SECONDS", 1.0)
    cases = [Case("png", number) for number in range(7)]
    told = dict(judged([cases], Misbehaving, 1, clock=15.0))
    assert list(told) == cases
    assert {case.number: verdict.what for case, verdict in told.items() if verdict.outcome == "failed"} == {
        0: "late",
        1: "the process died (SIGABRT)",
        3: "over 1 s",
        5: "over 15 s without an answer or work",
    }


def test_a_worker_has_no_memory_beyond_the_limit() -> None:
    ((case, verdict),) = judged([[Case("png", 7)]], Misbehaving, 1)
    assert (case.number, verdict.outcome) == (7, "failed")


def test_a_worker_that_does_not_start_is_an_error_and_no_case() -> None:
    with pytest.raises(CytolineError, match="outside of any case"):
        list(judged([[Case("png", 0), Case("png", 1)]], Broken, 1))


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_case_is_the_same_every_time_and_most_cases_differ_from_their_seed(fmt: Format) -> None:
    made = [mutated(fmt, number) for number in range(60)]
    assert made == [mutated(fmt, number) for number in range(60)]
    assert sum(seed.content != content for seed, content in made) > 50
    assert len({content for _, content in made}) > 50
    assert all(len(content) < 1 << 18 for _, content in made)


@pytest.mark.parametrize("fmt", FORMATS)
def test_seeds_hold_their_words(fmt: Format) -> None:
    assert len(planted(fmt)) >= 4
    assert any(word.encode() in seed.content for seed in planted(fmt) for word in seed.words)


def test_names_of_cases() -> None:
    assert fuzz.parsed("jpeg/17, dicom-wsi/4") == [Case("jpeg", 17), Case("dicom-wsi", 4)]
    for wrong in ("jpeg", "gif/1", "jpeg/-1", ""):
        with pytest.raises(CytolineError, match="FORMAT/NUMBER"):
            fuzz.parsed(wrong)


def test_the_judge_passes_and_refuses(capfd: pytest.CaptureFixture[str]) -> None:
    """In a process of its own, as always: it takes the standard streams."""
    told = dict(judged([[Case("bmp", number) for number in range(20)]], Judge, 1))
    assert {verdict.outcome for verdict in told.values()} == {"passed", "refused"}
    assert capfd.readouterr().out == ""
