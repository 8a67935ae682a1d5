"""Facts about where a run comes from, checked against git and DVC themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cytoline import provenance


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "a.py").write_text("a = 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "x")
    return tmp_path


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_a_commit_is_clean_until_what_it_runs_changes(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD").strip()
    (repository / "dvc.lock").write_text("written by the run itself\n")
    (repository / "notes.txt").write_text("no one runs this\n")
    assert provenance.git_state() == provenance.GitState(commit, False)
    (repository / "stages" / "b.py").write_text("b = 1\n")
    assert provenance.git_state() == provenance.GitState(commit, True)
    (repository / "stages" / "b.py").unlink()
    (repository / "stages" / "a.py").write_text("a = 2\n")
    assert provenance.git_state().dirty


def test_outside_git_the_commit_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.git_state() == provenance.GitState("unknown", True)
    assert provenance.lock_hash() == "none"


def test_digests_are_dvcs_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b/2", "b/10", "b.png", "a", "ä"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 3)
    (tmp_path / "one").write_bytes(b"1\r\n")
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], check=True)
    subprocess.run([sys.executable, "-m", "dvc", "add", "-q", "data", "one"], check=True)
    computed = [provenance.dvc_digest(Path(name)) for name in ("data", "one")]
    monkeypatch.setenv("DVC_STAGE", "train")
    assert [provenance._locked_digest(Path(name)) for name in ("data", "one")] == computed
    assert max(map(len, computed)) <= 36, "MLflow's limit for a digest"
    (tmp_path / "data" / "a").write_bytes(b"changed")
    assert provenance.dvc_digest(Path("data")) == computed[0], "in a repro the lock speaks"
    monkeypatch.delenv("DVC_STAGE")
    assert provenance.dvc_digest(Path("data")) != computed[0], "outside it the folder does"


@pytest.mark.parametrize("lock", ["", "stages: 3\n", "- 1\n", "{", "stages:\n  a: null\n"])
def test_a_broken_lock_is_not_fatal(lock: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "train")
    (tmp_path / "dvc.lock").write_text(lock)
    (tmp_path / "a").write_text("a")
    assert provenance.dvc_digest(Path("a")) == provenance._md5(Path("a"))


def test_no_repro_outside_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    assert provenance.repro_id() is None


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["/v/bin/python", "/v/bin/dvc", "repro"], True),
        (["dvc", "repro"], True),
        (["C:/v/dvc.exe", "repro"], True),
        (["python", "-m", "dvc", "exp", "run"], True),
        (["/bin/sh", "-c", "python -m stages.x --dvc"], False),
        (["python", "train.py", "dvc"], False),
        ([], False),
    ],
)
def test_a_dvc_process_is_told_by_its_command(command: list[str], expected: bool) -> None:
    assert provenance._is_dvc(command) is expected
