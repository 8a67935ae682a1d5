"""Verification names the file and the place of whatever was changed, and nothing else; seals survive nobody's edits."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cytoline
from benchmarks.audit.small_project import MODEL, commit
from benchmarks.audit.tampering import KINDS, changed_byte, measure_tampering
from cytoline.audit import leaves
from cytoline.audit.approvals import APPROVALS
from cytoline.audit.finding import DECISIONS, PROMOTIONS, SEALS, Finding
from cytoline.audit.seal import make_seal
from cytoline.audit.seals import read_seals
from cytoline.audit.signing import PRIVATE, PROJECT, PUBLIC, make_key
from cytoline.audit.verification import verify_project
from cytoline.audit.verify import plain
from cytoline.cli import app
from cytoline.deid.review.chain import chained
from cytoline.errors import CytolineError
from cytoline.gate.promotions import Promotion, append

WEIGHTS = f"{MODEL}/weights.safetensors"


def change(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def broken(project: Path) -> list[Finding]:
    return verify_project(project).findings


def named(project: Path) -> list[tuple[str, str, str]]:
    return [(one.kind, one.file, one.place) for one in broken(project)]


def git(project: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=project, check=True, capture_output=True, text=True).stdout


def some_image(project: Path) -> str:
    return sorted(path.relative_to(project).as_posix() for path in project.glob("data/clean/images/*"))[3]


def test_what_nobody_touched_is_whole(sealed_project: Path) -> None:
    report = verify_project(sealed_project)
    assert (report.findings, report.notes, report.absent, report.seals) == ([], [], [], 1)
    assert report.files > 30


def test_every_kind_of_file_is_found_and_named(project: Path) -> None:
    assert measure_tampering(project, 1, seed=3) == dict.fromkeys(KINDS, (1, 1, 1))


@pytest.mark.parametrize(
    ("name", "at", "kind", "place"),
    [
        (WEIGHTS, -5, "model", "tensor layer7.weight"),
        (WEIGHTS, 20, "model", "header"),
        ("data/clean/manifest.jsonl", -2, "manifest", "row 12"),
        ("data/split/split.jsonl", 5, "manifest", "row 1"),
        ("data/clean/audit.jsonl", -3, "log", "line 12"),
        (DECISIONS, -3, "log", "line 8"),
        (APPROVALS, -3, "approval", "line 2"),
        (SEALS, -3, "seal", "line 1"),
        ("metrics/plots/roc.csv", 6, "metric", "line 2"),
        ("dvc.lock", 30, "lock", "line 3 (stage anonymize)"),
        ("make.py", 3, "code", "line 2"),
        ("params.yaml", 0, "code", "line 1"),
    ],
)
def test_the_place_is_named(name: str, at: int, kind: str, place: str, project: Path) -> None:
    change(project / name, at)
    assert named(project) == [(kind, name, place)]


@pytest.mark.parametrize("cached", ["links", "no cache"])
def test_the_place_is_named_where_no_original_is_left(cached: str, project: Path) -> None:
    """The list of the seal knows the hash of every part."""
    if cached == "links":
        link_to_cache(project)
    else:
        shutil.rmtree(project / ".dvc/cache")
    harm = {WEIGHTS: -5, "data/clean/manifest.jsonl": -2, "data/clean/audit.jsonl": -3}
    for name, at in harm.items():
        change(project / name, at)
    assert sorted(named(project)) == [
        ("log", "data/clean/audit.jsonl", "line 12"),
        ("manifest", "data/clean/manifest.jsonl", "row 12"),
        ("model", WEIGHTS, "tensor layer7.weight"),
    ]


def link_to_cache(project: Path) -> None:
    """What DVC does with ``cache.type = hardlink``: work tree and cache are one file."""
    by_content = {p.read_bytes(): p for p in project.glob(".dvc/cache/files/md5/*/*") if p.suffix != ".dir"}
    for path in [*project.glob("data/clean/**/*"), *project.glob("data/split/*"), *project.glob("models/**/*")]:
        if path.is_file():
            original = by_content[path.read_bytes()]
            path.unlink()
            os.link(original, path)


def test_linked_files_are_read_once(project: Path) -> None:
    before = verify_project(project)
    link_to_cache(project)
    after = verify_project(project)
    assert after.passed
    assert after.files < before.files * 0.7


def test_changed_code_of_the_gate_and_of_this_verification_is_noted(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(Path(cytoline.__file__).parent / "gate", project / "cytoline/gate")
    commit(project, "with its own code")
    installed = "the cytoline that verifies now is not the one of the commit: "
    assert all(note.startswith(installed) for note in verify_project(project).notes), "others are installed, none here"
    monkeypatch.setattr(cytoline, "__file__", str(project / "cytoline/__init__.py"))
    assert verify_project(project).notes == []
    with (project / "cytoline/gate/judge.py").open("a") as code:
        code.write("# all is well\n")
    (project / "cytoline/gate/sneaky.py").write_text("")
    (project / "cytoline/gate/noise.py").unlink()
    report = verify_project(project)
    names = ", ".join(f"cytoline/gate/{name}.py" for name in ("judge", "noise", "sneaky"))
    assert (report.passed, report.notes) == (True, [f"cytoline's own code is not what the commit holds: {names}"])


def test_entries_of_the_lock_are_named_by_their_stage(project: Path) -> None:
    lock = (project / "dvc.lock").read_text()
    start = lock.index("- path: data/split\n", lock.index("  split:\n"))
    change(project / "dvc.lock", lock.index("md5: ", lock.index("hash: md5", start)) + 9)
    (only,) = broken(project)
    assert only.place.endswith("(stage split, data/split)")


def test_data_that_came_or_went_is_named(project: Path) -> None:
    image = some_image(project)
    (project / image).unlink()
    (project / "data/clean/images/other.png").write_bytes(b"x")
    assert sorted(named(project)) == [
        ("image", image, ""),
        ("image", "data/clean/images/other.png", ""),
    ]
    (project / image).symlink_to("/etc/hostname")
    assert "is no plain file" in [one.what for one in broken(project) if one.file == image]


EXTRA = ["data/clean/__pycache__/x.png", "data/clean/images/evil.pyc", "metrics/plots/a.pyc", f"{MODEL}/.gitignore"]


@pytest.mark.parametrize("below", ["plain", "__pycache__"])
def test_no_file_hides_in_an_out(below: str, project: Path, tmp_path: Path) -> None:
    """Not as byte code, which DVC passes over, nor because the whole project lies below such a folder."""
    (tmp_path / below).mkdir()
    there = project.rename(tmp_path / below / "project")
    extra = [*EXTRA, "data/clean/images/other.png"]
    for name in extra:
        (there / name).parent.mkdir(exist_ok=True)
        (there / name).write_bytes(b"x")
    assert {one.file for one in broken(there)} == set(extra)


@pytest.mark.parametrize("moved", ["data/clean", "data", "models", "data/clean/images", "metrics", "approvals"])
def test_a_link_that_stands_for_a_folder_is_named(moved: str, project: Path, tmp_path: Path) -> None:
    """What lies behind it is the very same content, today."""
    (project / moved).rename(tmp_path / "elsewhere")
    (project / moved).symlink_to(tmp_path / "elsewhere")
    found = broken(project)
    assert found
    assert {one.file.split("/")[0] for one in found} == {moved.partition("/")[0]}
    assert all("link" in one.what or "plain" in one.what for one in found)


def test_data_that_is_elsewhere_is_no_fault_unless_all_is_wanted(project: Path) -> None:
    shutil.rmtree(project / "data/clean")
    report = verify_project(project)
    assert report.passed
    assert report.absent == ["data/clean"]
    assert [one.file for one in verify_project(project, complete=True).findings] == ["data/clean"]


def test_a_damaged_object_of_the_cache_is_named(project: Path) -> None:
    path = sorted(project.glob(".dvc/cache/files/md5/*/*"))[5]
    change(path, 3)
    assert [(one.kind, one.file) for one in broken(project)] == [("cache", path.relative_to(project).as_posix())]


def test_a_manifest_that_was_wrong_from_the_start_is_named(project: Path) -> None:
    """Somebody who also rewrites the listing and dvc.lock, and commits, still does not fit the images."""
    manifest = project / "data/clean/manifest.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    rows[4]["sha256"] = "0" * 64
    manifest.write_text("".join(json.dumps(row, sort_keys=True, separators=(",", ":")) + "\n" for row in rows))
    subprocess.run([sys.executable, "-m", "dvc", "commit", "-fq", "anonymize"], cwd=project, check=True)
    commit(project, "forged")
    found = named(project)
    assert ("manifest", "data/clean/manifest.jsonl", "row 5") in found
    assert "committed since seal/0001 and not sealed yet: dvc.lock" in verify_project(project).notes


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


HOSTILE_LOCKS = {
    "words": "stages: 7\n",
    "bomb": "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nstages: [*b,*b,*b,*b,*b,*b]\n",
    "bytes": "\ud800\udfff",
    "outside": "stages:\n  s:\n    cmd: x\n    outs:\n    - path: ../../etc\n      md5: " + "0" * 32 + "\n",
    "absolute": "stages:\n  s:\n    cmd: x\n    outs:\n    - path: /etc/passwd\n      md5: " + "0" * 32 + "\n",
    "no hash": "stages:\n  s:\n    cmd: x\n    outs:\n    - path: data\n      md5: ../../../../etc/passwd\n",
}


@pytest.mark.parametrize("what", HOSTILE_LOCKS)
def test_a_hostile_lock_is_reported_and_nothing_else_happens(what: str, project: Path) -> None:
    (project / "dvc.lock").write_bytes(HOSTILE_LOCKS[what].encode("utf-8", "surrogatepass"))
    assert {one.file for one in broken(project)} == {"dvc.lock"}


def test_a_listing_that_leads_outside_is_not_followed(project: Path) -> None:
    content = json.dumps([{"md5": "0" * 32, "relpath": "../../../outside"}]).encode()
    md5 = hashlib.md5(content).hexdigest()
    target = project / f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}.dir"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    lock = (project / "dvc.lock").read_text()
    old = lock[lock.index("md5: ", lock.index("outs:")) :].split("\n")[0]
    (project / "dvc.lock").write_text(lock.replace(old, f"md5: {md5}.dir"))
    commit(project, "forged")
    assert ("data", "data/clean", "") in {(one.kind, one.file, one.place) for one in broken(project)}


def test_names_cannot_steer_a_terminal() -> None:
    assert plain("a\x1b[31m\nb\u202e\udcff") == "a\\x1b[31m\\nb\\u202e\\udcff"


def test_the_commands(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    run = CliRunner().invoke
    done = run(app, ["audit", "verify"])
    assert done.exit_code == 0
    assert "nothing is broken" in done.output
    change(project / WEIGHTS, -5)
    done = run(app, ["audit", "verify", "--json"])
    answer = json.loads(done.output)
    assert done.exit_code == 1
    assert answer["passed"] is False
    assert answer["findings"][0] == {
        "kind": "model",
        "file": WEIGHTS,
        "place": "tensor layer7.weight",
        "what": "is not what dvc.lock records",
    }
    assert run(app, ["audit", "verify"]).exit_code == 1
    with pytest.raises(CytolineError):
        run(app, ["audit", "seal"], catch_exceptions=False)
