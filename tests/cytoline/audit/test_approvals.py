"""Approvals: bound to what was approved, to a person and a key, and to their place in the chain."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from benchmarks.audit.small_project import MODEL, commit
from cytoline.audit.approvals import APPROVALS, Standing, approve, read_approvals, standing
from cytoline.audit.package.export import export
from cytoline.audit.policy import POLICY, parse_policy
from cytoline.audit.resolve import check_ref, resolve
from cytoline.audit.signing import PRIVATE, PUBLIC, make_key
from cytoline.cli import app
from cytoline.deid.review.chain import chained
from cytoline.errors import CytolineError


def flip(path: Path, at: int = -3) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def sign(project: Path, by: str, role: str, meaning: str = "approval") -> None:
    approve(MODEL, role, meaning, by, project / PRIVATE / f"{by}.pem", project)


def person(project: Path, name: str) -> None:
    make_key(project / PRIVATE / f"{name}.pem", project / PUBLIC / f"{name}.pem")


def rules(project: Path, **promotion: object) -> None:
    policy = yaml.safe_load((project / POLICY).read_text())
    policy["promotion"] |= promotion
    (project / POLICY).write_text(yaml.safe_dump(policy))


def whys(found: Standing) -> set[str]:
    return {why for one in found.approvals for why in one.why}


def test_two_people_in_the_two_roles_meet_the_policy(sealed_project: Path) -> None:
    found = standing(MODEL, sealed_project)
    assert found.met
    assert found.reasons == ()
    assert all(one.standing for one in found.approvals)
    assert [(one.by, one.role, one.meaning) for one in found.approvals] == [
        ("anna", "clinician", "approval"),
        ("ben", "quality", "approval"),
    ]
    covers = read_approvals(sealed_project)[0].covers
    for name in (MODEL, f"{MODEL}/weights.safetensors", "data/clean/manifest.jsonl", "data/split/split.jsonl"):
        assert name in covers
    for name in ("metrics/classifier.json", "requirements.lock", POLICY, "dvc.lock#train", "dvc.lock#evaluate"):
        assert name in covers
    # What DVC computed of the folder is what we computed of it.
    assert f"md5: {covers[MODEL].removeprefix('md5:')}\n" in (sealed_project / "dvc.lock").read_text()


@pytest.mark.parametrize(
    "name",
    [
        f"{MODEL}/weights.safetensors",
        "data/clean/manifest.jsonl",
        "data/split/split.jsonl",
        "metrics/classifier.json",
        "metrics/plots/roc.csv",
        "requirements.lock",
        POLICY,
    ],
)
def test_an_approval_falls_with_anything_it_covers(name: str, project: Path) -> None:
    if name == POLICY:
        (project / POLICY).write_text((project / POLICY).read_text() + "# looser\n")
    else:
        flip(project / name)
    found = standing(MODEL, project)
    assert not found.met
    assert not any(one.standing for one in found.approvals)
    assert f"{name} has changed" in whys(found)
    assert "no approval by the role clinician stands" in found.reasons


def test_an_approval_falls_with_the_stage_that_made_the_model(project: Path) -> None:
    lock = project / "dvc.lock"
    lock.write_text(lock.read_text().replace("seed: 0", "seed: 1"))
    assert whys(standing(MODEL, project)) == {"dvc.lock#train has changed"}


@pytest.mark.parametrize(
    ("ref", "why"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("..", "leads upwards"),
        ("models/../../x", "leads upwards"),
        ("HEAD:../x", "leads upwards"),
        ("models/\x1b[31mx", "cannot be shown"),
        ("models/x\udcff", "cannot be shown"),
        ("x" * 100_000, "longer than 500"),
    ],
)
def test_what_can_be_no_reference_is_refused_the_same_everywhere(ref: str, why: str, project: Path) -> None:
    with pytest.raises(CytolineError, match=f"no model is named.*{why}") as error:
        resolve(sqlite3.connect(":memory:"), ref)
    assert error.value.cause.isprintable()
    for command in (lambda: standing(ref, project), lambda: export(ref, project / "out", None, project)):
        with pytest.raises(CytolineError) as other:
            command()
        assert other.value.cause == error.value.cause


@pytest.mark.parametrize("revision", ["HEAD", "HEAD~1", "main", "a..b"])
def test_a_reference_may_name_a_revision(revision: str) -> None:
    check_ref(f"{revision}:models/classifier")


def test_a_new_figure_was_not_approved(project: Path) -> None:
    (project / "metrics/better.json").write_text("{}")
    assert whys(standing(MODEL, project)) == {"metrics/better.json is not covered"}


def test_one_key_under_two_names_is_one_person(project: Path) -> None:
    for where in (PRIVATE, PUBLIC):
        shutil.copy2(project / where / "anna.pem", project / where / "carl.pem")
    (project / APPROVALS).unlink()
    sign(project, "anna", "clinician")
    sign(project, "carl", "quality")
    found = standing(MODEL, project)
    assert all(one.standing for one in found.approvals)
    assert not found.met
    assert found.reasons[0].startswith("1 of 2 people")


def test_one_person_in_two_roles_is_one_person(project: Path) -> None:
    (project / APPROVALS).unlink()
    sign(project, "anna", "clinician")
    sign(project, "anna", "quality")
    assert standing(MODEL, project).reasons[0].startswith("1 of 2 people")


def test_a_bystander_does_not_make_four_eyes(project: Path) -> None:
    (project / APPROVALS).unlink()
    sign(project, "anna", "clinician")
    sign(project, "anna", "quality")
    sign(project, "ben", "developer", "authorship")
    assert not standing(MODEL, project).met


def test_a_rejection_blocks_until_the_same_person_signs_again(project: Path) -> None:
    person(project, "dora")
    sign(project, "dora", "developer", "rejection")
    assert standing(MODEL, project).reasons == ("dora says rejection as developer",)
    sign(project, "anna", "developer")
    assert not standing(MODEL, project).met
    sign(project, "dora", "developer")
    found = standing(MODEL, project)
    assert found.met
    assert "dora signed again as developer" in whys(found)


def test_the_policy_can_say_who_signs_as_what_and_with_which_key(project: Path) -> None:
    policy = yaml.safe_load((project / POLICY).read_text())
    key = read_approvals(project)[0].key
    policy["people"] = {"anna": {"roles": ["clinician"], "key": "0" * 64}, "ben": {"roles": ["quality"]}}
    (project / POLICY).write_text(yaml.safe_dump(policy))
    with pytest.raises(CytolineError, match="another key for anna"):
        sign(project, "anna", "clinician")
    with pytest.raises(CytolineError, match="does not let ben sign as clinician"):
        sign(project, "ben", "clinician")
    policy["people"]["anna"]["key"] = key
    (project / POLICY).write_text(yaml.safe_dump(policy))
    sign(project, "anna", "clinician")
    sign(project, "ben", "quality")
    assert standing(MODEL, project).met


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("anna", "boss", "approval"), "no role"),
        (("anna", "clinician", "applause"), "no such meaning"),
        (("project", "clinician", "approval"), "not a person"),
        (("nobody", "clinician", "approval"), "no public key"),
        (("../anna", "clinician", "approval"), "no handle"),
    ],
)
def test_what_no_policy_knows_is_refused(words: tuple[str, str, str], message: str, project: Path) -> None:
    before = (project / APPROVALS).read_bytes()
    with pytest.raises(CytolineError, match=message):
        sign(project, *words)
    with pytest.raises(CytolineError, match="not the one of"):
        approve(MODEL, "quality", "approval", "ben", project / PRIVATE / "anna.pem", project)
    assert (project / APPROVALS).read_bytes() == before


def test_what_is_not_whole_cannot_be_approved(project: Path) -> None:
    flip(project / MODEL / "weights.safetensors")
    with pytest.raises(CytolineError, match=r"not what dvc.lock records"):
        sign(project, "anna", "clinician")
    with pytest.raises(CytolineError, match="holds a model"):
        approve("models/other", "clinician", "approval", "anna", project / PRIVATE / "anna.pem", project)


def test_figures_of_another_model_cannot_be_approved(project: Path) -> None:
    lock = yaml.safe_load((project / "dvc.lock").read_text())
    dep = next(dep for dep in lock["stages"]["evaluate"]["deps"] if dep["path"] == MODEL)
    dep["md5"] = "0" * 32 + ".dir"
    (project / "dvc.lock").write_text(yaml.safe_dump(lock))
    with pytest.raises(CytolineError, match="figures in metrics/ are those of another"):
        sign(project, "anna", "clinician")


def test_nobody_can_move_or_borrow_a_signature(project: Path) -> None:
    """A chain that fits but was made by somebody without the keys."""
    anna, ben = read_approvals(project)
    for rows in (
        [ben, anna],
        [ben],
        [anna.model_copy(update={"role": "quality"})],
        [ben.model_copy(update={"by": "anna"})],
    ):
        (project / APPROVALS).write_text(chained(rows))
        found = standing(MODEL, project)
        assert not found.met
        assert not all(one.standing for one in found.approvals)


def test_a_broken_chain_meets_no_policy(project: Path) -> None:
    flip(project / APPROVALS, 40)
    found = standing(MODEL, project)
    assert not found.met
    assert found.approvals == ()
    assert "approvals.jsonl: line 1" in found.reasons[0]


HOSTILE = {
    "a key twice": "roles: [a1]\nroles: [b1]\n",
    "an unknown word": "roles: [a1]\nmeanings: [m1]\npromotion: {needs: [{role: b1, meaning: m1}]}\n",
    "no list": "roles: 7\nmeanings: [m1]\npromotion: {needs: []}\n",
    "nobody needed": "roles: [a1]\nmeanings: [m1]\npromotion: {needs: [], people: 0}\n",
    "another field": "roles: [a1]\nmeanings: [m1]\npromotion: {needs: []}\nskip: true\n",
    "an object": "!!python/object/apply:os.system ['true']\n",
    "no text": "\ud800",
    "too much": "#" * 100_000,
    "depth": "[" * 30_000,
    "nothing": "",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_policy_that_is_none_is_refused(what: str) -> None:
    with pytest.raises(CytolineError, match=r"policy\.yaml"):
        parse_policy(HOSTILE[what].encode("utf-8", "surrogatepass"))


def test_the_commands(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    run = CliRunner().invoke
    assert run(app, ["audit", "approvals", MODEL]).exit_code == 0
    done = run(app, ["audit", "keygen", "eve"])
    assert done.exit_code == 0
    assert (project / PUBLIC / "eve.pem").is_file()
    assert not subprocess.run(["git", "ls-files", "-o", "--exclude-standard", ".cytoline"], capture_output=True).stdout
    done = run(app, ["approve", MODEL, "--role", "quality", "--meaning", "rejection", "--by", "eve"])
    assert done.exit_code == 0
    assert "rejection" in done.output
    commit(project, "rejected")
    done = run(app, ["audit", "approvals", MODEL, "--json"])
    answer = json.loads(done.output)
    assert done.exit_code == 1
    assert answer["met"] is False
    assert [one["by"] for one in answer["approvals"]] == ["anna", "ben", "eve"]
    assert answer["reasons"] == ["eve says rejection as quality"]
