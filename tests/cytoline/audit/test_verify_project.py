"""Verification names the file and the place of whatever was changed, and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cytoline
from benchmarks.audit.small_project import MODEL, commit
from benchmarks.audit.tampering import KINDS, measure_tampering
from cytoline.audit import leaves
from cytoline.audit.approvals import APPROVALS
from cytoline.audit.finding import DECISIONS, SEALS
from cytoline.audit.verification import verify_project
from cytoline.audit.verify import plain
from cytoline.cli import app
from cytoline.errors import CytolineError
from tests.cytoline.audit.sealed_project import WEIGHTS, broken, change, named, some_image


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


@pytest.mark.parametrize("sealed", [True, False])
def test_exchanged_images_are_named_as_such(sealed: bool, project: Path) -> None:
    """Two swaps and a copy: each file says whose content it holds."""
    images = sorted(path.relative_to(project).as_posix() for path in project.glob("data/clean/images/*"))
    content = [(project / name).read_bytes() for name in images]
    for number, other in ((0, 1), (1, 0), (2, 5)):
        (project / images[number]).write_bytes(content[other])
    if not sealed:
        shutil.rmtree(project / leaves.FOLDER)
    assert {(one.file, one.place): one.what for one in broken(project)} == {
        (images[0], ""): f"and {images[1]} hold each other's content",
        (images[1], ""): f"and {images[0]} hold each other's content",
        (images[2], ""): f"holds the content of {images[5]}",
    }


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
