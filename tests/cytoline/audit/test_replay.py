"""Attacks by somebody who may commit but has not the others' keys: older states, dropped lines, exchanged keys.

Nobody here breaks a chain or a signature; every state that the attacker commits was true once, or fits in itself.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from benchmarks.audit.small_project import MODEL, PEOPLE, build, commit
from cytoline.audit.approvals import _CONTEXT, APPROVALS, Approval, approve, read_approvals, standing
from cytoline.audit.finding import SEALS
from cytoline.audit.policy import POLICY
from cytoline.audit.seal import make_seal
from cytoline.audit.signed import sign_row
from cytoline.audit.signing import PRIVATE, PROJECT, PUBLIC, key_id, make_key
from cytoline.audit.verification import verify_project
from cytoline.deid.review.chain import chained


def sign(project: Path, by: str, role: str, meaning: str) -> None:
    approve(MODEL, role, meaning, by, project / PRIVATE / f"{by}.pem", project)
    commit(project, f"{by}: {meaning}")


def person(project: Path, name: str) -> None:
    make_key(project / PRIVATE / f"{name}.pem", project / PUBLIC / f"{name}.pem")
    commit(project, f"key of {name}")


def other_key(project: Path, name: str) -> None:
    for where in (PRIVATE, PUBLIC):
        (project / where / f"{name}.pem").unlink()
    person(project, name)


def git(project: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=project, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def rejected(project: Path) -> Path:
    """Approved by two and sealed; then a third person rejects the model, which no seal covers yet."""
    person(project, "dora")
    sign(project, "dora", "developer", "rejection")
    assert standing(MODEL, project).reasons == ("dora says rejection as developer",)
    assert verify_project(project).passed
    return project


def test_a_rejection_cannot_be_dropped_from_the_log(rejected: Path) -> None:
    """The older log, signature by signature as it was; git's history alone knows of the line."""
    git(rejected, "checkout", "HEAD~1", "--", APPROVALS)
    commit(rejected, "older")
    lost = "the history holds a line of dora (rejection as developer) that is gone"
    assert standing(MODEL, rejected).reasons == (lost,)
    (only,) = verify_project(rejected).findings
    assert (only.kind, only.file, only.place, only.what) == ("approval", APPROVALS, "line 3", lost)
    # Signed again by the same person, it is not missed: a merge of two branches loses lines, too.
    sign(rejected, "dora", "developer", "rejection")
    assert verify_project(rejected).passed
    assert standing(MODEL, rejected).reasons == ("dora says rejection as developer",)


@pytest.mark.parametrize("key", ["gone", "another", "gone, with its line"])
def test_a_rejection_does_not_fall_with_its_key(key: str, rejected: Path) -> None:
    if key == "another":
        other_key(rejected, "dora")
    else:
        (rejected / PUBLIC / "dora.pem").unlink()
        if "line" in key:
            git(rejected, "checkout", "HEAD~1", "--", APPROVALS)
        commit(rejected, "without her")
    found = standing(MODEL, rejected)
    assert not found.met
    assert "dora" in found.reasons[0]
    assert [one.file for one in verify_project(rejected).findings] == [APPROVALS]


def test_what_was_never_signed_cannot_block_for_ever(project: Path) -> None:
    """A line that anybody could have committed is not missed when it is taken away again."""
    before = (project / APPROVALS).read_bytes()
    anna, ben = read_approvals(project)
    forged = ben.model_copy(update={"meaning": "rejection", "time": "2030-01-01T00:00:00Z"})
    for rubbish in (chained([anna, ben, forged]), "no json\n"):
        (project / APPROVALS).write_text(rubbish)
        commit(project, "rubbish")
        assert not standing(MODEL, project).met
        (project / APPROVALS).write_bytes(before)
        commit(project, "undone")
        assert standing(MODEL, project).met
        assert verify_project(project).passed


def test_a_line_of_the_key_that_seals_is_no_approval(project: Path) -> None:
    """`approve` refuses it; a line may be made without `approve`."""
    anna, _ = read_approvals(project)
    fields = anna.model_dump() | {"by": PROJECT, "role": "quality"}
    fields["key"] = key_id(project / PUBLIC / f"{PROJECT}.pem")
    made = sign_row(Approval, fields, [anna], _CONTEXT, project / PRIVATE / f"{PROJECT}.pem")
    (project / APPROVALS).write_text(chained([anna, made]))
    found = standing(MODEL, project)
    assert [one.standing for one in found.approvals] == [True, False]
    assert found.approvals[1].why == (f"{PROJECT} is a key that seals, not a person",)


def test_who_counts_as_a_person_is_told_where_the_policy_names_nobody(project: Path) -> None:
    """One person with two keys is two people then; only the policy can say otherwise."""
    (project / APPROVALS).unlink()
    for name, role in (("anna", "clinician"), ("anna2", "quality")):
        if name not in PEOPLE:
            person(project, name)
        sign(project, name, role, "approval")
    assert standing(MODEL, project).notes == (
        f"{POLICY} names no people: every committed key counts as a person of its own",
    )
    policy = yaml.safe_load((project / POLICY).read_text())
    policy["people"] = {"anna": {"roles": ["clinician", "quality"]}, "ben": {"roles": ["quality"]}}
    (project / POLICY).write_text(yaml.safe_dump(policy))
    commit(project, "who is who")
    found = standing(MODEL, project)
    assert not found.met
    assert found.notes == ()
    assert f"{POLICY} does not let anna2 sign as quality" in found.approvals[-1].why


def test_an_approval_of_another_project_is_none(project: Path, tmp_path: Path) -> None:
    """Same people, same keys, another model: neither the whole log nor a line of it says anything here."""
    other = build(tmp_path / "other", images=13, sealed=False)
    for name in PEOPLE:
        (other / PUBLIC / f"{name}.pem").write_bytes((project / PUBLIC / f"{name}.pem").read_bytes())
    theirs = read_approvals(other)
    for rows in (read_approvals(project), [*theirs, *read_approvals(project)], [theirs[0], read_approvals(project)[1]]):
        (other / APPROVALS).write_text(chained(rows))
        found = standing(MODEL, other)
        assert not found.met
        assert not any(one.standing for one in found.approvals)


def test_an_older_seal_cannot_take_the_place_of_a_later_one(project: Path) -> None:
    """The older chain, with the tag of the later seal moved to it, or with the later seal under the older number."""
    git(project, "commit", "-q", "--allow-empty", "-m", "x")
    make_seal(project)
    commit(project, "sealed again")
    both = (project / SEALS).read_text().splitlines(keepends=True)
    first = git(project, "cat-file", "tag", "seal/0001").partition("\n\n")[2]
    for lines, tag in ((both[:1], first), (both[1:], None), (both[::-1], None)):
        (project / SEALS).write_text("".join(lines))
        if tag is not None:
            git(project, "tag", "-f", "-a", "-m", tag, "seal/0002", "seal/0001^{}")
        commit(project, "older")
        found = verify_project(project).findings
        assert {one.file for one in found} == {SEALS}
        git(project, "revert", "--no-edit", "HEAD")
