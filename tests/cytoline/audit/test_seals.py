"""Seals, their lists and tags, and the logs that they cover: nobody's edits pass unseen."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.audit.small_project import MODEL, commit
from benchmarks.audit.tampering import changed_byte
from cytoline.audit import leaves
from cytoline.audit.approvals import APPROVALS
from cytoline.audit.finding import DECISIONS, PROMOTIONS, SEALS, Report
from cytoline.audit.lists import from_cache
from cytoline.audit.seal import make_seal
from cytoline.audit.seals import check_seals, read_seals
from cytoline.audit.signing import PRIVATE, PROJECT, PUBLIC, make_key
from cytoline.audit.verification import verify_project
from cytoline.deid.review.chain import chained
from cytoline.errors import CytolineError
from cytoline.gate.promotions import Promotion, append
from tests.cytoline.audit.sealed_project import WEIGHTS, broken, change, git, named, some_image


@pytest.mark.parametrize("name", [DECISIONS, APPROVALS])
def test_a_log_that_was_rewritten_and_committed_does_not_fit_its_seal(name: str, project: Path) -> None:
    """The last line, which no later line covers; a whole chain that fits in itself."""
    path = project / name
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    commit(project, "shorter")
    (only,) = broken(project)
    assert (only.file, only.what) == (name, "does not begin with what seal/0001 covers")


def test_a_log_may_grow(project: Path) -> None:
    with (project / DECISIONS).open("a") as log:
        log.write("{}\n")
    assert named(project) == [("log", DECISIONS, "line 9")]


def promote(project: Path, version: int) -> None:
    """A line of the log of champions, committed."""
    none = dict.fromkeys(("previous", "baseline", "rules", "gate", "approvals"))
    words = {"action": "promote", "model": "m", "digest": "0" * 32, "commit": "0" * 40, "time": "2026-03-01T10:00:00Z"}
    append(Promotion.model_validate({**none, **words, "version": version}), project)
    commit(project, f"promoted {version}")


PROMOTION_HARM: dict[str, tuple[Callable[[str], str], str]] = {
    "no json": (lambda _: "not json at all\n", "line 1"),
    "another version": (lambda text: text.replace('"version":1', '"version":7', 1), "line 1 or 2"),
    "half a line": (lambda text: text[:-20], "line 3"),
    "another field": (lambda text: text.replace('"model":"m"', '"model":"m","x":1', 1), "line 1"),
}


@pytest.mark.parametrize("harm", PROMOTION_HARM)
def test_promotions_that_were_changed_and_committed_are_named(harm: str, project: Path) -> None:
    for version in (1, 2, 3):
        promote(project, version)
    assert broken(project) == []
    change_text, place = PROMOTION_HARM[harm]
    (project / PROMOTIONS).write_text(change_text((project / PROMOTIONS).read_text()))
    commit(project, "changed")
    assert named(project) == [("approval", PROMOTIONS, place)]


@pytest.mark.parametrize("older", [False, True])
def test_promotions_that_were_rewritten_do_not_fit_their_seal(
    older: bool, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole chain that fits in itself.  Seals made before promotions were sealed still hold, by their commit."""
    promote(project, 1)
    promote(project, 2)
    now = leaves.git_tree
    with monkeypatch.context() as then:
        if older:
            then.setattr(leaves, "git_tree", lambda path: "" if path == PROMOTIONS else now(path))
        make_seal(project)
    commit(project, "sealed")
    leaf = f'"path":"{PROMOTIONS}"'
    assert any(leaf in one.read_text() for one in (project / leaves.FOLDER).iterdir()) is not older
    for _ in range(2):
        assert (broken(project), verify_project(project).notes) == ([], [])
        shutil.rmtree(project / leaves.FOLDER)  # made anew, with the same roots
    promote(project, 3)
    assert broken(project) == []
    (project / PROMOTIONS).unlink()
    promote(project, 1)
    (only,) = broken(project)
    assert (only.file, only.what) == (PROMOTIONS, "does not begin with what seal/0002 covers")


SEAL_HARM: dict[str, Callable[[Path], object]] = {
    "no line": lambda project: (project / SEALS).write_text(""),
    "no file": lambda project: (project / SEALS).unlink(),
    "no tag": lambda project: git(project, "tag", "-d", "seal/0001"),
    "another tag": lambda project: git(
        project, "tag", "-f", "-a", "-m", "head " + "0" * 64, "seal/0001", "seal/0001^{}"
    ),
    "a light tag": lambda project: git(project, "tag", "-f", "seal/0001"),
    "a tag too many": lambda project: git(project, "tag", "-a", "-m", "x", "seal/0002"),
    "another key": lambda project: other_key(project),
    "no line, tag or file": lambda project: unsealed(project),
    "a forged line": lambda project: forged_line(project),
}


def other_key(project: Path) -> None:
    for where in (PRIVATE, PUBLIC):
        (project / where / f"{PROJECT}.pem").unlink()
    make_key(project / PRIVATE / f"{PROJECT}.pem", project / PUBLIC / f"{PROJECT}.pem")
    commit(project, "another key")


def unsealed(project: Path) -> None:
    """As if nothing had ever been sealed; only the history knows better."""
    git(project, "tag", "-d", "seal/0001")
    (project / SEALS).unlink()
    commit(project, "no seals")


def forged_line(project: Path) -> None:
    """A chain that fits, with a signature that does not."""
    (seal,) = read_seals(project)
    (project / SEALS).write_text(
        chained([seal.model_copy(update={"commit": git(project, "rev-parse", "HEAD").strip()})])
    )
    commit(project, "forged")


@pytest.mark.parametrize("harm", SEAL_HARM)
def test_a_harmed_seal_is_found(harm: str, project: Path) -> None:
    SEAL_HARM[harm](project)
    found = broken(project)
    assert found
    assert {one.file for one in found} == {SEALS}


def test_history_that_was_rewritten_does_not_fit_the_seal(project: Path) -> None:
    change(project / "params.yaml", -2)
    git(project, "tag", "-d", "seal/0001")
    git(project, "checkout", "-q", "--orphan", "new")
    commit(project, "as if nothing had been")
    git(project, "branch", "-D", "main")
    git(project, "reflog", "expire", "--expire=now", "--all")
    git(project, "gc", "-q", "--prune=now")
    assert "history was rewritten" in " ".join(one.what for one in broken(project))


def test_another_key_than_the_trusted_one_is_found(project: Path, tmp_path: Path) -> None:
    make_key(tmp_path / "a.pem", tmp_path / "a.pub")
    assert [one.file for one in verify_project(project, tmp_path / "a.pub").findings] == [SEALS]
    assert verify_project(project, project / PUBLIC / f"{PROJECT}.pem").passed


def test_the_last_seal_and_its_tag_cannot_be_taken_away(project: Path) -> None:
    (project / "params.yaml").write_text("images: 12\nseed: 0\nnote: 1\n")
    commit(project, "note")
    make_seal(project)
    commit(project, "sealed again")
    git(project, "tag", "-d", "seal/0002")
    (project / SEALS).write_text((project / SEALS).read_text().splitlines(keepends=True)[0])
    commit(project, "one seal less")
    assert named(project) == [("seal", SEALS, "line 2")]


def test_who_trusts_a_key_wants_a_seal(project: Path) -> None:
    """Also where no history tells of one."""
    key = project / PUBLIC / f"{PROJECT}.pem"
    unsealed(project)
    git(project, "checkout", "-q", "--orphan", "new")
    commit(project, "as if nothing had been")
    assert verify_project(project).notes == ["nothing was sealed yet: `cytoline audit seal`"]
    report = verify_project(project, key)
    assert [one.what for one in report.findings] == ["no seal is here that the key you trust could have signed"]
    assert report.notes == []


def test_lists_are_a_cache_that_nobody_can_forge(project: Path) -> None:
    lists = sorted((project / leaves.FOLDER).iterdir())
    shutil.rmtree(project / leaves.FOLDER)
    assert verify_project(project).passed
    assert sorted((project / leaves.FOLDER).iterdir()) == lists, "made anew, with the same roots"
    # One who changes an image and the list alike gains nothing: the list no longer has its root.
    image = project / some_image(project)
    before = next(path for path in lists if image.name in path.read_text())
    with changed_byte(image, random.Random(0)):
        row = next(row for row in before.read_text().splitlines() if image.name in row)
        forged = {**json.loads(row), "sha256": hashlib.sha256(image.read_bytes()).hexdigest()}
        before.write_text(before.read_text().replace(row, json.dumps(forged)))
        assert [one.file for one in broken(project)] == [image.relative_to(project).as_posix()]
    assert verify_project(project).passed


def test_a_fresh_clone_needs_no_md5(project: Path) -> None:
    """Roots bind MD5 to SHA-256: where they are made anew from SHA-256 and DVC's listings, all is as it was sealed."""
    shutil.rmtree(project / leaves.FOLDER)
    report = Report("")
    sealed = check_seals(project, report, None)
    assert sealed is not None
    assert not sealed.complete
    hashed = from_cache(project, sealed)
    assert hashed
    assert {(bool(one.sha256), one.md5) for one in hashed.values()} == {(True, "")}
    assert sealed.complete
    assert sealed.known[hashlib.md5((project / WEIGHTS).read_bytes()).hexdigest()]


@pytest.mark.parametrize("where", ["work tree", "cache", "both"])
def test_a_fresh_clone_names_what_was_changed(where: str, project: Path) -> None:
    """The quick way concludes nothing from other content; the slow one names it."""
    shutil.rmtree(project / leaves.FOLDER)
    md5 = hashlib.md5((project / WEIGHTS).read_bytes()).hexdigest()
    item = f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}"
    wanted = set()
    if where != "cache":
        change(project / WEIGHTS, -5)
        wanted.add(("model", WEIGHTS, "tensor layer7.weight" if where == "work tree" else ""))
    if where != "work tree":
        change(project / item, -5)
        wanted.add(("cache", item, ""))
    assert set(named(project)) == wanted


def test_a_clone_on_another_machine_verifies(project: Path, tmp_path: Path) -> None:
    git(project, "clone", "-q", str(project), str(tmp_path / "clone"))
    report = verify_project(tmp_path / "clone")
    assert report.passed
    assert report.absent == ["data/clean", "data/split", MODEL]
    assert report.notes == [
        f"the roots of seal/0001 cannot be recomputed here, parts are missing: data/clean, data/split, {MODEL}"
    ]


def test_a_project_moves_on_and_is_sealed_again(project: Path) -> None:
    (project / "params.yaml").write_text("images: 12\nseed: 0\nnote: 1\n")
    with pytest.raises(CytolineError, match=r"links are broken, the first in params\.yaml"):
        make_seal(project)
    commit(project, "note")
    assert verify_project(project).notes == ["committed since seal/0001 and not sealed yet: params.yaml"]
    second = make_seal(project)
    assert verify_project(project).passed, "before the line is committed, too: the tag holds it"
    commit(project, "sealed again")
    assert second.number == 2
    assert (verify_project(project).findings, verify_project(project).notes) == ([], [])
    change(project / SEALS, 30)
    assert next((one.file, one.place) for one in broken(project)) == (SEALS, "line 1")


def test_a_seal_needs_everything_committed(project: Path) -> None:
    make_key(project / PRIVATE / "eve.pem", project / PUBLIC / "eve.pem")
    before = (project / SEALS).read_bytes()
    with pytest.raises(CytolineError, match=r"eve\.pem is not committed"):
        make_seal(project)
    assert (project / SEALS).read_bytes() == before


def test_a_tag_that_cannot_be_set_leaves_no_line(project: Path) -> None:
    commit_file = project / ".git/refs/tags/seal/0002.lock"
    commit_file.parent.mkdir(parents=True, exist_ok=True)
    commit_file.write_text("")
    before = (project / SEALS).read_bytes()
    with pytest.raises(CytolineError, match="did not set the tag"):
        make_seal(project)
    assert (project / SEALS).read_bytes() == before


def test_private_data_may_be_absent_when_sealed(project: Path) -> None:
    """data/raw is never pushed: elsewhere its out is sealed by the hash in dvc.lock alone."""
    kept = project / "data/clean"
    shutil.rmtree(project / ".dvc/cache")
    kept.rename(project.parent / "clean")
    second = make_seal(project)
    assert second.absent == ("data/clean",)
    commit(project, "sealed")
    shutil.rmtree(project / leaves.FOLDER)
    assert verify_project(project).passed
    (project.parent / "clean").rename(kept)
    assert verify_project(project).passed


def test_seals_hold_nothing_but_hashes(sealed_project: Path) -> None:
    text = (sealed_project / SEALS).read_text() + git(sealed_project, "cat-file", "tag", "seal/0001")
    row = json.loads((sealed_project / "data/clean/manifest.jsonl").read_text().splitlines()[0])
    for secret in (row["image_id"], row["patient"], row["slide"], row["sha256"], ".png"):
        assert secret not in text
    assert git(sealed_project, "ls-files", ".cytoline") == ""
