"""The custodian's map: right for every name, written for one pair of eyes, never into the project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cytoline import rotation
from cytoline.deid.review.decisions import DECISIONS, REVIEW, Decision, Word, latest, read_decisions
from cytoline.deid.review.decisions import record as write_decisions
from cytoline.errors import CytolineError
from cytoline.manifest import Annotation, Record, write_manifest
from cytoline.pseudonyms import Pseudonyms
from cytoline.rotation import rotate_key
from stages.anonymize.records import Keys, clean_id

NAME = "MUELLER ANNA"


def record(number: int) -> Record:
    return Record(
        image_id=f"raw-{number}",
        file=f"raw-{number}.png",
        sha256="0" * 64,
        width=20,
        height=20,
        mpp=None,
        patient=NAME,
        slide=f"A24-{number}",
        source="clinic",
        organ="cervix",
        stain="papanicolaou",
        role="field",
        annotations=(Annotation(bbox=(1, 2, 3, 4), label="HSIL", annotator="Dr. Weber"),),
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "project/data/raw").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    write_manifest(Path("data/raw"), [record(1), record(2)])
    for name, digit in (("old", "a"), ("new", "b"), ("third", "c"), ("same", "a")):
        key = tmp_path / name
        key.write_text(digit * 64)
        key.chmod(0o600)
    return tmp_path


def test_each_old_pseudonym_leads_to_the_new_one_and_to_no_name(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = here / "custody" / "map.json"
    rotate_key(here / "old", here / "new", target)
    assert target.stat().st_mode & 0o777 == 0o600
    content = target.read_text()
    pairs = json.loads(content)["pseudonyms"]
    old, new = Pseudonyms(bytes.fromhex("a" * 64)), Pseudonyms(bytes.fromhex("b" * 64))
    assert pairs["patient"] == {old.of("patient", NAME): new.of("patient", NAME)}
    assert {kind: len(codes) for kind, codes in pairs.items()} == {"patient": 1, "slide": 2, "file": 2, "annotator": 1}
    keys = Keys(private=old, synthetic=None, phantoms=frozenset())
    assert clean_id(record(1), keys.of("clinic")) in pairs["file"]
    said = capsys.readouterr()
    for secret in (NAME, "A24-1", "Weber", "a" * 64, "b" * 64):
        assert secret not in content + said.out + said.err


def decided(image: str, word: Word = "redact", second: int = 0) -> Decision:
    boxes: dict[str, Any] = {"regions": ((1, 2, 30, 4),), "reason": "identifier_painted"}
    reason = boxes if word == "redact" else {"reason": "no_identifier" if word == "release" else "not_usable"}
    return Decision(image=image, decision=word, reviewer="b.m", time=f"2026-03-01T10:00:{second:02d}Z", **reason)


def test_what_a_person_decided_holds_under_the_new_names(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Or a picture that somebody rejected, or painted a name over, would come back with the new key."""
    old, new = Pseudonyms(bytes.fromhex("a" * 64)), Pseudonyms(bytes.fromhex("b" * 64))
    first, second = (clean_id(record(n), Keys(old, None, frozenset()).of("clinic")) for n in (1, 2))
    made = [decided(first, "release"), decided(second), decided(first, "reject", 5), decided("0" * 32)]
    write_decisions(REVIEW, *made)
    rotate_key(here / "old", here / "new", here / "map.json")
    there = read_decisions(REVIEW)
    assert there[:4] == made
    wanted = {clean_id(record(n), Keys(new, None, frozenset()).of("clinic")): n for n in (1, 2)}
    assert {row.image: (row.decision, row.regions, row.time) for row in there[4:]} == {
        name: ("reject", (), made[2].time) if n == 1 else ("redact", made[1].regions, made[1].time)
        for name, n in wanted.items()
    }
    said = capsys.readouterr().out
    assert "2; commit" in said
    assert "neither an old nor a new name here: 1\n" in said
    (here / "map.json").unlink()
    rotate_key(here / "old", here / "new", here / "map.json")
    assert read_decisions(REVIEW) == there, "a second time nothing is repeated"


def test_decisions_can_be_left_behind(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = clean_id(record(1), Keys(Pseudonyms(bytes.fromhex("a" * 64)), None, frozenset()).of("clinic"))
    write_decisions(REVIEW, decided(first))
    rotate_key(here / "old", here / "new", here / "map.json", carry=False)
    assert read_decisions(REVIEW) == [decided(first)]
    assert "no longer hold: 1" in capsys.readouterr().out


def named(digit: str, number: int = 1) -> str:
    """Picture ``number`` under the key of that digit."""
    return clean_id(record(number), Pseudonyms(bytes.fromhex(digit * 64)))


def holds(image: str) -> str:
    return latest(read_decisions(REVIEW))[image].decision


def test_what_is_decided_later_under_the_old_name_is_repeated_too(here: Path) -> None:
    """By its place in the chain: the clock of who rejected it was late."""
    write_decisions(REVIEW, decided(named("a"), "release", 9))
    rotate_key(here / "old", here / "new", here / "map.json")
    write_decisions(REVIEW, decided(named("a"), "reject", 1))
    rotate_key(here / "old", here / "new", here / "map2.json")
    assert holds(named("b")) == "reject"
    there = read_decisions(REVIEW)
    rotate_key(here / "old", here / "new", here / "map3.json")
    assert read_decisions(REVIEW) == there


def test_a_later_decision_under_the_new_name_stays(here: Path) -> None:
    write_decisions(REVIEW, decided(named("a"), "release", 9), decided(named("b"), "reject", 1))
    rotate_key(here / "old", here / "new", here / "map.json")
    assert [row.decision for row in read_decisions(REVIEW)] == ["release", "reject"]


def test_with_an_earlier_key_its_outdated_decisions_do_not_come_back(here: Path) -> None:
    write_decisions(REVIEW, decided(named("a"), "release"))
    rotate_key(here / "old", here / "new", here / "map.json")
    write_decisions(REVIEW, decided(named("b"), "reject", 5))
    with pytest.raises(CytolineError, match="--leave would let outdated decisions hold again: 1 "):
        rotate_key(here / "new", here / "old", here / "back.json", carry=False)
    assert not (here / "back.json").exists()
    rotate_key(here / "new", here / "old", here / "back.json")
    assert holds(named("a")) == "reject"


def test_what_was_carried_late_from_a_third_key_is_as_old_as_it_was(here: Path) -> None:
    """Key a was followed by b; then c was made to follow a by mistake, before it followed b."""
    write_decisions(REVIEW, decided(named("a"), "release"), decided(named("b"), "reject", 5))
    rotate_key(here / "old", here / "third", here / "wrong.json")
    assert holds(named("c")) == "release"
    there = read_decisions(REVIEW)
    rotate_key(here / "third", here / "new", here / "back.json")
    assert read_decisions(REVIEW) == there, "what b says is newer"
    rotate_key(here / "new", here / "third", here / "right.json")
    assert holds(named("c")) == "reject"


def test_decisions_that_fit_neither_key_are_refused(here: Path) -> None:
    write_decisions(REVIEW, decided(named("a")), decided(named("a", 2)))
    before = (REVIEW / DECISIONS).read_bytes()
    for carry in (True, False):
        with pytest.raises(CytolineError, match=r"none of the 2 decided pictures .* wrong --old-key"):
            rotate_key(here / "third", here / "new", here / "map.json", carry=carry)
    assert not (here / "map.json").exists()
    assert (REVIEW / DECISIONS).read_bytes() == before


def test_nothing_is_repeated_where_the_map_cannot_be_written(here: Path) -> None:
    write_decisions(REVIEW, decided(named("a")))
    (here / "file").write_text("x")
    with pytest.raises(CytolineError, match="cannot be written"):
        rotate_key(here / "old", here / "new", here / "file" / "map.json")
    assert read_decisions(REVIEW) == [decided(named("a"))]


@pytest.mark.parametrize("error", [OSError(28, "No space left"), CytolineError("line 2 is not", "restore it")])
def test_decisions_that_cannot_be_added_can_be_added_later(
    here: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    write_decisions(REVIEW, decided(named("a")))
    with monkeypatch.context() as patch:
        patch.setattr("cytoline.rotation.add_decisions", fail)
        with pytest.raises(CytolineError, match=r"\((No space left|line 2 is not)\)\n.*another --map"):
            rotate_key(here / "old", here / "new", here / "map.json")
    rotate_key(here / "old", here / "new", here / "map2.json")
    assert holds(named("b")) == "redact"
    assert (here / "map.json").read_bytes() == (here / "map2.json").read_bytes()


def test_the_review_must_be_a_folder_or_nothing(here: Path) -> None:
    write_decisions(REVIEW, decided(named("a")))
    (here / "nowhere").symlink_to(here / "missing")
    for place in (REVIEW / DECISIONS, here / "nowhere"):
        with pytest.raises(CytolineError, match="no folder"):
            rotate_key(here / "old", here / "new", here / "map.json", review=place)
    assert not (here / "map.json").exists()
    rotate_key(here / "old", here / "new", here / "map.json", review=here / "missing")


def test_it_is_said_what_a_new_key_costs() -> None:
    """Whoever reads the help, the module or the README learns it before, not after."""
    readme = Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")
    for text, wanted in (
        (rotation.__doc__, "links the two names of"),
        (rotate_key.__doc__, "draws the split anew for everybody"),
        (readme, "links the two names of"),
        (readme, "draws the split anew for everybody"),
    ):
        assert wanted in " ".join((text or "").split())


def test_it_is_never_written_into_the_project_or_over_a_file(here: Path) -> None:
    for place in (Path("map.json"), here / "project/data/../map.json"):
        with pytest.raises(CytolineError, match="inside the repository"):
            rotate_key(here / "old", here / "new", place)
    (here / "there").write_text("x")
    with pytest.raises(CytolineError, match="there already"):
        rotate_key(here / "old", here / "new", here / "there")
    with pytest.raises(CytolineError, match="the same key"):
        rotate_key(here / "old", here / "same", here / "map.json")
    assert not Path("map.json").exists()
