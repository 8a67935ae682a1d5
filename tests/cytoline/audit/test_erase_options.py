"""`audit erase` and `audit subject --erase` are one command under two names."""

from __future__ import annotations

from inspect import signature

import pytest
from typer.testing import CliRunner

from cytoline.audit.erasure.command import erase
from cytoline.audit.subject_command import subject
from cytoline.cli import app
from cytoline.errors import CytolineError


def test_both_take_the_same_options() -> None:
    mine = {name: (one.annotation, one.default) for name, one in signature(subject).parameters.items()}
    theirs = {name: (one.annotation, one.default) for name, one in signature(erase).parameters.items()}
    assert mine.keys() == theirs.keys() | {"erase"}
    for name in theirs.keys() - {"pseudonym", "as_json"}:
        assert mine[name] == theirs[name], name


def test_both_hand_on_what_they_were_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every option of `audit subject --erase` arrives under its own name."""
    from cytoline.audit.erasure import run

    given: list[dict[str, object]] = []

    def note(pseudonym: str, execute: bool = False, **how: object) -> object:
        given.append({"pseudonym": pseudonym, "execute": execute} | how)
        raise CytolineError("seen", "")

    monkeypatch.setattr(run, "erase", note)
    words = ["p" * 32, "--outside", "a", "--outside", "b", "--history", "h", "--withdraw-models"]
    for command in (["audit", "erase"], ["audit", "subject", "--erase"]):
        with pytest.raises(CytolineError, match="seen"):
            CliRunner().invoke(app, [*command, *words], catch_exceptions=False)
    assert given[0] == given[1]
    assert [str(one) for one in given[0]["outside"]] == ["a", "b"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("option", ["--outside=x", "--history=x", "--certificate=x", "--key=x", "--yes", "--repro"])
def test_a_question_takes_none_of_them(option: str) -> None:
    with pytest.raises(CytolineError, match="belong to --erase"):
        CliRunner().invoke(app, ["audit", "subject", "0" * 32, option], catch_exceptions=False)
