"""Decisions as a chain, the list, the page and the command that records what a person decides."""

from __future__ import annotations

import json
import re
import stat
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from typer.testing import CliRunner, Result

from cytoline.cli import app
from cytoline.deid.audit import RELEASABLE
from cytoline.deid.review.chain import chained
from cytoline.deid.review.decisions import DECISIONS, Decision, latest, read_decisions, record
from cytoline.deid.review.page import WORDS, _round_step, bounds
from cytoline.deid.review.place import refuse_published
from cytoline.deid.review.quarantine import Held, read_quarantine, write_quarantine
from cytoline.deid.vocabulary import Vocabulary
from cytoline.deid.written import check_written
from cytoline.errors import CytolineError
from cytoline.images import RGB, png_bytes
from cytoline.manifest import write_manifest
from tests.planted_records import coded_record

PROJECT = Path(__file__).parents[3]
SEEN, BROKEN, FAILED, PASSED = ("a1" * 16, "b2" * 16, "c3" * 16, "a1b3" * 8)
GOOD = {
    "image": SEEN,
    "decision": "redact",
    "regions": ((1, 2, 3, 4),),
    "reviewer": "b.m-2",
    "time": "2026-03-01T10:00:00Z",
    "reason": "identifier_painted",
}


# The chain ------------------------------------------------------------------------------------------------------


def three(folder: Path) -> list[str]:
    for number in range(3):
        record(folder, Decision.model_validate({**GOOD, "regions": ((number, 2, 3, 4),)}))
    return (folder / DECISIONS).read_text(encoding="utf-8").splitlines(keepends=True)


def test_later_decisions_take_the_place_of_earlier_ones(tmp_path: Path) -> None:
    assert read_decisions(tmp_path) == []
    assert len(three(tmp_path)) == len(read_decisions(tmp_path)) == 3
    assert latest(read_decisions(tmp_path))[SEEN].regions == ((2, 2, 3, 4),)
    assert check_written(tmp_path / DECISIONS, Vocabulary()) == []


TAMPERED = {
    "a changed box": ("2 or 3", lambda rows: [rows[0], rows[1].replace("[1,2,3,4]", "[1,2,3,5]"), rows[2]]),
    "a changed first line": ("1 or 2", lambda rows: [rows[0].replace("b.m-2", "b.m-3"), *rows[1:]]),
    "a removed line": (1, lambda rows: rows[1:]),
    "a removed line in the middle": ("1 or 2", lambda rows: [rows[0], rows[2]]),
    "a change of order": ("1 or 2", lambda rows: [rows[0], rows[2], rows[1]]),
    "a line twice": ("1 or 2", lambda rows: [rows[0], rows[0], rows[1]]),
    "another field": (3, lambda rows: [*rows[:2], rows[2].replace('"image"', '"name":"Anna","image"')]),
    "a key twice": (3, lambda rows: [*rows[:2], rows[2].replace('"image"', '"image":"Anna","image"')]),
    "a number as text": (3, lambda rows: [*rows[:2], rows[2].replace("[2,2,3,4]", '["2",2,3,4]')]),
    "blanks": (3, lambda rows: [*rows[:2], rows[2].replace(",", ", ")]),
    "an empty line": (4, lambda rows: [*rows, "\n"]),
    "words": (4, lambda rows: [*rows, "Mueller, Anna\n"]),
    "a list": (1, lambda rows: ["[]\n"]),
    "deep nesting": (1, lambda rows: ["[" * 100_000 + "\n"]),
    "a cut end": (3, lambda rows: [*rows[:2], rows[2][:-1]]),
    "half a line": (3, lambda rows: [*rows[:2], rows[2][:40]]),
}


@pytest.mark.parametrize("harm", TAMPERED)
def test_a_touched_chain_is_refused_by_its_line(harm: str, tmp_path: Path) -> None:
    line, spoil = TAMPERED[harm]
    spoiled = "".join(spoil(three(tmp_path)))
    (tmp_path / DECISIONS).write_text(spoiled, encoding="utf-8")
    with pytest.raises(CytolineError, match=rf"line {line} is not what was written") as caught:
        read_decisions(tmp_path)
    assert "Anna" not in str(caught.value)
    assert [finding.why for finding in check_written(tmp_path / DECISIONS, Vocabulary())] == ["value"]
    with pytest.raises(CytolineError):
        record(tmp_path, Decision.model_validate(GOOD))
    assert (tmp_path / DECISIONS).read_text(encoding="utf-8") == spoiled, "nothing is added to a broken chain"


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / DECISIONS).write_bytes(b"\xff\xfe\n")
    with pytest.raises(CytolineError, match="UTF-8"):
        read_decisions(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"image": "A1" * 16},
        {"image": SEEN + "\n"},
        {"decision": "keep"},
        {"regions": ()},
        {"decision": "release"},
        {"decision": "reject", "reason": "not_usable"},
        {"decision": "reject", "regions": (), "reason": "no_identifier"},
        {"decision": "release", "regions": (), "reason": "identifier_remains"},
        {"regions": ((1, 2, 0, 4),)},
        {"regions": ((-1, 2, 3, 4),)},
        {"regions": ((1, 2, 3),)},
        {"regions": ((1, 2, 3, 10**9),)},
        {"regions": ((1.5, 2, 3, 4),)},
        {"regions": ((1, 2, 3, 4),) * 1001},
        {"reviewer": "Dr. Berta"},
        {"reviewer": "b"},
        {"reviewer": "b" * 33},
        {"reviewer": "bm\n"},
        {"time": "2026-03-01 10:00:00"},
        {"time": "2026-02-30T10:00:00Z"},
        {"time": "２０２６-03-01T10:00:00Z"},
        {"reason": "Anna said so"},
        {"note": "Anna"},
    ],
    ids=str,
)
def test_nothing_but_the_closed_schema_is_a_decision(change: dict[str, object]) -> None:
    assert Decision.model_validate(GOOD)
    with pytest.raises(ValidationError):
        Decision.model_validate({**GOOD, **change})


def test_every_reason_has_words_and_few_can_be_set_aside() -> None:
    assert all(WORDS[reason] for reason in Held.model_fields["reason"].annotation.__args__)
    assert {"text_remains", "barcode_like", "pen_or_handwriting", "doubtful_text"} == RELEASABLE


# The command ----------------------------------------------------------------------------------------------------


def picture() -> RGB:
    return np.full((120, 200, 3), (210, 180, 200), np.uint8)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with three images kept back and one that passed."""
    root = tmp_path / "project"
    (root / "data/quarantine/images").mkdir(parents=True)
    (root / "data/clean").mkdir()
    (root / "params.yaml").write_bytes((PROJECT / "params.yaml").read_bytes())
    (root / ".gitignore").write_text("/out/\n/data/quarantine\n", encoding="utf-8")
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture()).save(root / f"data/quarantine/images/{SEEN}.png", exif=exif)
    (root / f"data/quarantine/images/{BROKEN}.jpg").write_bytes(b"Mueller, Anna")
    (root / f"data/quarantine/images/{FAILED}.png").write_bytes(png_bytes(picture()))
    rows = [
        Held(image_id=SEEN, reason="barcode_like", regions=(((10, 20), (60, 25), (55, 90), (8, 80)),)),
        Held(image_id=BROKEN, reason="unreadable"),
        Held(image_id=FAILED, reason="check_failed"),
    ]
    write_quarantine(root / "data/quarantine", rows)
    write_manifest(root / "data/clean", [coded_record(PASSED, 100, 50)])
    monkeypatch.chdir(root)
    return root


def ask(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["review", *arguments])


def decided(root: Path) -> dict[str, Decision]:
    return latest(read_decisions(root / "data/review"))


def test_the_list_tells_what_waits(here: Path) -> None:
    said = ask()
    assert said.exit_code == 0
    assert all(name in said.output for name in (SEEN, BROKEN, FAILED))
    assert "3 images are kept back, 0 of them decided" in said.output
    ask(SEEN, "--decide", "reject", "--reason", "not_usable", "--by", "bm")
    assert "reject by bm" in ask().output


def test_decisions_are_recorded_by_the_first_digits(here: Path) -> None:
    done = ask(SEEN[:6], "--decide", "redact", "--reason", "identifier_painted", "--by", "b.m", "--box", "1,2,30,40")
    assert done.exit_code == 0, done.output
    made = decided(here)[SEEN]
    assert (made.decision, made.regions, made.reviewer) == ("redact", ((1, 2, 30, 40),), "b.m")
    assert ask(SEEN, "--decide", "release", "--reason", "no_identifier", "--by", "bm").exit_code == 0
    assert ask(BROKEN, "--decide", "reject", "--reason", "not_usable", "--by", "bm").exit_code == 0
    assert {name: item.decision for name, item in decided(here).items()} == {SEEN: "release", BROKEN: "reject"}
    assert len(read_decisions(here / "data/review")) == 3


def test_what_passed_can_be_taken_back(here: Path) -> None:
    box = ["--reason", "identifier_painted", "--by", "bm", "--box"]
    assert ask(PASSED, "--decide", "redact", *box, "0,0,100,50").exit_code == 0
    assert "outside the picture" in str(ask(PASSED, "--decide", "redact", *box, "0,0,101,50").exception)
    assert ask(PASSED, "--decide", "reject", "--reason", "wrong_image", "--by", "bm").exit_code == 0
    assert decided(here)[PASSED].decision == "reject"


RELEASE = ("--decide", "release", "--reason", "no_identifier", "--by", "bm")
REDACT = ("--decide", "redact", "--reason", "identifier_painted", "--by", "bm")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("a1", *RELEASE), "no pseudonym"),
        (("a1*", *RELEASE), "no pseudonym"),
        (("a1" * 17, *RELEASE), "no pseudonym"),
        (("dead", *RELEASE), "0 images begin"),
        ((SEEN, *RELEASE[:4]), "needs --decide"),
        ((SEEN, *RELEASE, "--page", "out"), "no --page"),
        ((*RELEASE,), "about which image"),
        ((BROKEN, *RELEASE), "can only be rejected"),
        ((FAILED, *RELEASE), "can only be rejected"),
        ((FAILED, *REDACT, "--box", "1,1,9,9"), "can only be rejected"),
        ((PASSED, *RELEASE), "passed already"),
        ((SEEN, *REDACT), "at least one"),
        ((SEEN, *RELEASE, "--box", "1,2,3,4"), "nothing else"),
        ((SEEN, *REDACT, "--box", "1,2,3"), "not x,y,width,height"),
        ((SEEN, *REDACT, "--box", "-1,2,3,4"), "not x,y,width,height"),
        ((SEEN, *REDACT, "--box", "1,2,0,4"), "empty"),
        ((SEEN, *REDACT, "--box", "0,0,121,200"), "120 x 200"),
        ((SEEN, *RELEASE[:2], "--reason", "not_usable", "--by", "bm"), "no reason to release"),
        ((SEEN, *RELEASE[:4], "--by", "Dr. Berta"), "no handle"),
    ],
)
def test_what_makes_no_sense_is_refused_and_not_recorded(here: Path, arguments: tuple[str, ...], why: str) -> None:
    done = ask(*arguments)
    assert isinstance(done.exception, CytolineError)
    assert why in str(done.exception)
    assert "Berta" not in str(done.exception)
    assert decided(here) == {}


def test_a_start_that_two_images_share_is_refused(here: Path) -> None:
    write_quarantine(
        here / "data/quarantine", [Held(image_id=SEEN[:30] + end, reason="unreadable") for end in ["01", "12"]]
    )
    assert "2 images begin" in str(ask(SEEN[:30], *RELEASE).exception)


def test_without_a_list_or_with_a_strange_one_it_says_what_to_do(here: Path) -> None:
    listed = here / "data/quarantine/quarantine.jsonl"
    listed.write_text('{"image_id":"Mueller, Anna","reason":"unreadable"}\n', encoding="utf-8")
    with pytest.raises(CytolineError, match="line 1") as caught:
        read_quarantine(listed.parent)
    assert "Anna" not in str(caught.value)
    listed.unlink()
    assert "dvc repro" in str(ask().exception)


# The page -------------------------------------------------------------------------------------------------------


def test_the_page_shows_each_image_and_refers_to_nothing_outside(here: Path) -> None:
    ask(SEEN, *RELEASE)
    done = ask("--page", "out/review")
    assert done.exit_code == 0, done.output
    page = here / "out/review/index.html"
    html = page.read_text(encoding="utf-8")
    assert [path.name for path in page.parent.iterdir()] == ["index.html"]
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert html.count("<section") == 3
    assert html.count("data:image/jpeg") == 2
    assert html.count("cannot be shown") == 1
    assert "must not leave this machine" in html
    assert not re.search(r"https?:|//[a-z]|<script|@import|<link|<iframe", html)
    assert all(value.startswith(("#", "data:")) for value in re.findall(r'(?:src|href)="([^"]*)', html))
    assert not re.search(r"url\(", html)
    assert not [word for word in ("Anna", "Mueller", "clinic", str(here)) if word in html]
    assert "Decided: <b>release</b>" in html


def test_the_page_gives_the_lines_to_type_and_they_work(here: Path) -> None:
    ask("--page", "out/review")
    html = (here / "out/review/index.html").read_text(encoding="utf-8")
    lines = re.findall(r"<pre>\.venv/bin/cytoline review ([^<]*)</pre>", html)
    assert len(lines) == 3 + 1 + 1, "what cannot be released is not offered for it"
    assert f"--box {','.join(map(str, bounds(((10, 20), (60, 25), (55, 90), (8, 80)))))}" in html
    for line in lines:
        done = ask(*line.replace("HANDLE", "bm").split())
        assert done.exit_code == 0, (line, done.exception)
    assert len(read_decisions(here / "data/review")) == 5


def test_regions_lie_on_the_upright_picture(here: Path) -> None:
    ask("--page", "out/review")
    html = (here / "out/review/index.html").read_text(encoding="utf-8")
    assert 'width="120" height="200"' in html, "its tag turns it by a quarter"
    assert html.count('class="region" points="10,20 60,25 55,90 8,80"') == 1
    assert bounds(((10, 20), (60, 25), (55, 90), (8, 80))) == (8, 20, 53, 71)


@pytest.mark.parametrize(("least", "step"), [(0.5, 1), (1, 1), (1.1, 2), (4.9, 5), (5.1, 10), (69, 100), (1000, 1000)])
def test_rulers_have_round_numbers(least: float, step: int) -> None:
    assert _round_step(least) == step


@pytest.mark.parametrize(
    "folder",
    [
        ".",
        "page",
        "data",
        "data/quarantine/page",
        "data/review",
        "data/clean/x",
        "models",
        "reports",
        "out/../page",
        "link",
    ],
)
def test_no_page_where_git_or_dvc_would_take_it_along(here: Path, folder: str) -> None:
    (here / "link").symlink_to(here / "data")
    done = ask("--page", folder)
    assert isinstance(done.exception, CytolineError)
    assert "private" in str(done.exception)
    assert not list(here.rglob("index.html"))


def test_a_page_may_lie_outside_or_where_git_ignores_it(here: Path, tmp_path: Path) -> None:
    refuse_published(tmp_path / "elsewhere/deep")
    refuse_published(here / "out/review")
    subprocess.run(["git", "init", "--quiet", str(tmp_path / "other")], check=True)
    with pytest.raises(CytolineError, match="does not ignore"):
        refuse_published(tmp_path / "other/page")


def test_without_git_no_page_inside_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CytolineError, match="inside the project"):
        refuse_published(tmp_path / "page")
    refuse_published(tmp_path.parent / "page")


def test_a_chain_of_nothing_is_empty(tmp_path: Path) -> None:
    assert chained([]) == ""
    (tmp_path / DECISIONS).write_text("")
    assert read_decisions(tmp_path) == []
    assert json.loads(chained([Decision.model_validate(GOOD)]))["prev"] == "0" * 64


@pytest.mark.parametrize("name", ["README.md", DECISIONS])
def test_git_takes_the_decisions(name: str) -> None:
    done = subprocess.run(
        ["git", "check-ignore", "--quiet", "--no-index", f"data/review/{name}"], cwd=PROJECT, check=False
    )
    assert done.returncode == 1
