"""The project's key is replaced by a seal that hands over; every other way to another key is found."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.audit.small_project import MODEL, commit
from cytoline.audit.approvals import approve
from cytoline.audit.finding import SEALS
from cytoline.audit.seal import make_seal
from cytoline.audit.seals import CONTEXT, Seal, read_seals, who_seals
from cytoline.audit.signed import sign_row
from cytoline.audit.signing import PRIVATE, PUBLIC, key_id, make_key
from cytoline.audit.verification import verify_project
from cytoline.cli import app
from cytoline.deid.review.chain import chained
from cytoline.errors import CytolineError
from tests.cytoline.audit.sealed_project import broken, git


def key(project: Path, name: str) -> str:
    made = make_key(project / PRIVATE / f"{name}.pem", project / PUBLIC / f"{name}.pem")
    commit(project, f"key {name}")
    return made


def seal(project: Path, **how: str) -> Seal:
    git(project, "-c", "user.name=x", "-c", "user.email=x@invalid", "commit", "-q", "--allow-empty", "-m", "x")
    made = make_seal(project, **how)  # type: ignore[arg-type]
    commit(project, "sealed")
    return made


def test_the_old_key_signs_the_new_one(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (project / SEALS).read_bytes()
    monkeypatch.chdir(project)
    assert CliRunner().invoke(app, ["audit", "keygen", "project-2"]).exit_code == 0
    commit(project, "the next key")
    done = CliRunner().invoke(app, ["audit", "seal", "--successor", "project-2"])
    old, new = (key_id(project / PUBLIC / f"{name}.pem") for name in ("project", "project-2"))
    assert done.exit_code == 0, done.output
    assert new in done.output
    commit(project, "handed over")
    assert who_seals(read_seals(project), project) == "project-2", "packages are signed with it, too"
    assert seal(project).key == new
    assert [(line.key, line.successor) for line in read_seals(project)] == [(old, None), (old, new), (new, None)]
    assert (project / SEALS).read_bytes().startswith(before)
    assert b"successor" not in before, "old lines look as they did, or their signatures would not hold"
    assert broken(project) == []

    # Whoever knows only the old key learns where it handed over; the new one has signed the last seal itself.
    report = verify_project(project, project / PUBLIC / "project.pem")
    assert report.passed
    assert report.notes == [f"the key that you trust handed over in {SEALS}, line 2; now {new} seals"]
    assert verify_project(project, project / PUBLIC / "project-2.pem").notes == []

    (project / PUBLIC / "project.pem").unlink()
    commit(project, "the old one away")
    assert {one.file for one in broken(project)} == {SEALS}, "the old seals need it"


def test_who_trusts_only_the_new_key_wants_a_seal_of_its_own(project: Path) -> None:
    """Else anybody could make a chain that ends with a key which somebody trusts."""
    key(project, "project-2")
    seal(project, successor="project-2")
    report = verify_project(project, project / PUBLIC / "project-2.pem")
    assert [one.what for one in report.findings] == ["no seal was signed with the key that you trust"]


def test_another_key_cannot_seal(project: Path) -> None:
    """Neither through the command nor past it, whatever lies in approvals/keys."""
    key(project, "project-2")
    mine = project / PRIVATE / "project-2.pem"
    with pytest.raises(CytolineError, match="not the one of"):
        make_seal(project, mine)
    (first,) = read_seals(project)
    fields = first.model_dump() | {"number": 2, "key": key_id(project / PUBLIC / "project-2.pem")}
    forged = sign_row(Seal, fields, [first], CONTEXT, mine)
    text = chained([first, forged])
    (project / SEALS).write_text(text)
    head = hashlib.sha256(text.splitlines(keepends=True)[-1].encode()).hexdigest()
    who = ("-c", "user.name=x", "-c", "user.email=x@invalid")
    git(project, *who, "tag", "-a", "-m", f"head {head}", "seal/0002", first.commit)
    commit(project, "forged")
    assert [(one.file, one.place, one.what) for one in broken(project)] == [
        (SEALS, "line 2", "was signed with a key that no seal before it hands over to")
    ]


def test_a_key_replaced_in_place_is_told_the_right_way(project: Path) -> None:
    for where in (PRIVATE, PUBLIC):
        (project / where / "project.pem").unlink()
    key(project, "project")
    with pytest.raises(CytolineError) as error:
        make_seal(project)
    assert "--successor" in error.value.remedy


@pytest.mark.parametrize(
    ("name", "message"), [("anna", "no name for a key"), ("project", "seals now"), ("../project-2", "no handle")]
)
def test_who_cannot_succeed(name: str, message: str, project: Path) -> None:
    before = (project / SEALS).read_bytes()
    with pytest.raises(CytolineError, match=message):
        make_seal(project, successor=name)
    assert (project / SEALS).read_bytes() == before


def test_a_key_that_seals_approves_nothing(project: Path) -> None:
    key(project, "project-2")
    with pytest.raises(CytolineError, match="not a person"):
        approve(MODEL, "quality", "approval", "project-2", project / PRIVATE / "project-2.pem", project)


def test_the_id_of_the_new_key_is_part_of_what_is_signed(project: Path) -> None:
    key(project, "project-2")
    made = seal(project, successor="project-2")
    lines = [json.loads(line) for line in (project / SEALS).read_text().splitlines()]
    assert lines[1]["successor"] == made.successor
    changed = made.model_copy(update={"successor": "0" * 64})
    (project / SEALS).write_text(chained([read_seals(project)[0], changed]))
    assert "the signature is not that of approvals/keys/project.pem" in {one.what for one in broken(project)}
