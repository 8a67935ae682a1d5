"""The doctor finds each kind of trouble, says what to do, and never falls ill itself."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import typer
from rich.console import Console

from cytoline import doctor, doctor_project
from cytoline.doctor_project import FAIL, OK, WARN, Finding

REPOSITORY = Path(__file__).parents[2]


def _source(root: Path, kind: str) -> None:
    folder = root / "data/incoming" / kind
    folder.mkdir(parents=True)
    (folder / "source.yaml").write_text(f"kind: {kind}\n", encoding="utf-8")


def test_this_machine_can_run_the_pipeline() -> None:
    assert doctor.check_python().status == OK
    assert doctor.check_mmcv().status == OK
    assert doctor.check_opencv().status == OK
    assert doctor.check_processor().status in {OK, WARN}


def test_the_command_prints_a_table_and_no_traceback(tmp_path: Path) -> None:
    """Away from any repository: problems, each with a remedy, and exit code 1."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "cytoline.doctor"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    for name in doctor.CHECKS:
        assert name in done.stdout
    assert done.stdout.count("to do:") >= 3
    assert list(tmp_path.iterdir()) == []


def test_packages_are_compared_with_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("# comment\npydantic==0.1\nno-such-package==1.0\nwinonly==1 ; sys_platform == 'win32'\n")
    finding = doctor.check_packages(lock)
    assert finding.status == FAIL
    assert "2 of 2 differ" in finding.found
    assert "no-such-package absent" in finding.found
    lock.write_text(f"pydantic=={doctor._version('pydantic')}\n")
    assert doctor.check_packages(lock).status == OK
    assert doctor.check_packages(tmp_path / "none").status == FAIL


def test_what_only_a_gpu_needs_may_be_left_out_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("nvidia-no-such==1.0\ncuda-no-such==1.0\n")
    monkeypatch.setattr(doctor, "GPU", tmp_path / "absent")
    assert doctor.check_packages(lock).status == OK
    monkeypatch.setattr(doctor, "GPU", tmp_path)
    assert doctor.check_packages(lock).status == FAIL


def test_what_reads_a_gpu_is_needed_on_every_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`cytoline.compute` imports it to see that there is no GPU."""
    monkeypatch.setattr(doctor, "GPU", tmp_path / "absent")
    monkeypatch.setattr(doctor, "_version", lambda _name: None)
    (tmp_path / "requirements.lock").write_text("nvidia-ml-py==1.0\n")
    assert doctor.check_packages(tmp_path / "requirements.lock").status == FAIL


def test_a_full_disk_fails_and_a_crowded_one_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    for free, status in ((1, FAIL), (5, WARN), (50, OK)):
        usage = shutil._ntuple_diskusage(100, 0, free * 10**9)
        monkeypatch.setattr(shutil, "disk_usage", lambda _folder, usage=usage: usage)
        assert doctor.check_disk().status == status


@pytest.fixture
def work_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


def _git(*arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=b", *arguments], check=True, capture_output=True)


def test_an_image_without_git_is_told_so_and_not_scolded(work_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(work_tree))
    assert doctor_project.check_git().status == FAIL
    (work_tree / ".dvc").mkdir()
    (work_tree / ".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    assert doctor_project.check_git().status == OK
    (work_tree / "dvc.yaml").write_text("stages: {b: {cmd: y}}")
    (work_tree / "dvc.lock").write_text("stages: {b: {cmd: y, outs: [{path: y}]}}")
    assert doctor_project.check_dvc(work_tree).status == OK


def test_git_from_nothing_to_clean(work_tree: Path) -> None:
    assert doctor_project.check_git().status == FAIL
    _git("init")
    assert "no commit" in doctor_project.check_git().found
    (work_tree / "a").touch()
    _git("add", "a")
    _git("commit", "-m", "a")
    assert doctor_project.check_git().status == OK
    (work_tree / "b").touch()
    assert "1 files changed" in doctor_project.check_git().found


def test_dvc_missing_frozen_in_use_and_built(tmp_path: Path) -> None:
    assert doctor_project.check_dvc(tmp_path).status == FAIL
    lock = tmp_path / ".dvc/tmp/rwlock"
    lock.parent.mkdir(parents=True)
    (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: x, frozen: true}, b: {cmd: y}}")
    assert doctor_project.check_dvc(tmp_path).to_do == "`dvc unfreeze a`"
    (tmp_path / "dvc.yaml").write_text("stages: {a: {foreach: [1], do: {cmd: x}}, b: {cmd: y}}")
    assert "none built" in doctor_project.check_dvc(tmp_path).found
    (tmp_path / "dvc.lock").write_text("stages: {a@1: {cmd: x}}")
    assert "1 of 2" in doctor_project.check_dvc(tmp_path).found
    (tmp_path / "dvc.lock").write_text("stages: {a@1: {cmd: x, outs: [{path: x}, {path: y}]}}")
    (tmp_path / "x").mkdir()
    assert "1 of 2 stages recorded; 1 of their results are not here" in doctor_project.check_dvc(tmp_path).found
    (tmp_path / "y").write_text("")
    assert "1 of 2 stages built" in doctor_project.check_dvc(tmp_path).found
    (tmp_path / "dvc.lock").write_text("stages: {a@1: {cmd: x}}\n    size")
    broken = doctor_project.check_dvc(tmp_path)
    assert (broken.status, broken.to_do.split(",")[0]) == (FAIL, "`git checkout -- dvc.lock`")
    (tmp_path / "dvc.lock").write_text("stages: {a@1: {cmd: x, outs: [{path: x}]}, b: {cmd: y, outs: [{path: y}]}}")
    for words in (["init"], ["add", "dvc.lock"], ["commit", "-m", "x"]):
        _git("-C", str(tmp_path), *words)
    assert doctor_project.check_dvc(tmp_path).status == OK
    for half in (
        "stages: {a@1: {cmd: x, outs: [{path: x}]}}",
        "stages: {a@1: {cmd: x, outs: [{path: x}]}, b: {cmd: y}}",
    ):
        (tmp_path / "dvc.lock").write_text(half)
        assert doctor_project.check_dvc(tmp_path).status == FAIL
    (tmp_path / "dvc.lock").write_text("stages: {b: {cmd: y, outs: [{path: y}]}}")
    (tmp_path / "dvc.yaml").write_text("stages: {b: {cmd: y}}")
    assert doctor_project.check_dvc(tmp_path).status == OK, "a stage was taken out on purpose"
    (tmp_path / "dvc.yaml").write_text("stages: {a: {foreach: [1], do: {cmd: x}}, b: {cmd: y}}")
    (tmp_path / "dvc.lock").write_text("stages: {a@1: {cmd: x, outs: [{path: x}]}, b: {cmd: z, outs: [{path: y}]}}")
    lock.write_text(json.dumps({"data": {"write": {"pid": os.getpid(), "cmd": "dvc repro"}}}))
    assert str(os.getpid()) in doctor_project.check_dvc(tmp_path).found
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    lock.write_text(json.dumps({"data": {"read": [{"pid": ended.pid, "cmd": "dvc repro"}]}}))
    assert doctor_project.check_dvc(tmp_path).status == OK
    (tmp_path / "dvc.yaml").write_text("stages: [")
    assert doctor_project.check_dvc(tmp_path).status == FAIL


def test_a_secure_remote_is_wanted_once_there_are_real_images(work_tree: Path) -> None:
    config = work_tree / ".dvc/config"
    config.parent.mkdir()
    config.write_text("['remote \"open\"']\n    url = /srv/open\n")
    _source(work_tree, "phantom")
    assert doctor_project.check_secure_remote(work_tree).status == OK
    _source(work_tree, "fields-coco")
    assert doctor_project.check_secure_remote(work_tree).status == WARN
    local = work_tree / ".dvc/config.local"
    local.write_text("['remote \"secure\"']\n    url = /srv/open\n")
    assert "open" in doctor_project.check_secure_remote(work_tree).found
    local.write_text("['remote \"secure\"']\n    url = /srv/closed%20room\n")
    assert doctor_project.check_secure_remote(work_tree).status == OK


def test_a_key_is_wanted_once_there_are_real_images(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    _source(root, "phantom")
    key = tmp_path / "pseudonym.key"
    environ = {"CYTOLINE_KEY_FILE": str(key)}
    assert doctor_project.check_key(root, environ).status == OK
    _source(root, "fields-voc")
    assert doctor_project.check_key(root, environ).status == FAIL
    key.write_text("ab" * 32)
    key.chmod(0o644)
    assert "0644" in doctor_project.check_key(root, environ).found
    key.chmod(0o600)
    finding = doctor_project.check_key(root, environ)
    assert finding.status == OK
    assert "abab" not in finding.found
    inside = root / "pseudonym.key"
    shutil.copy2(key, inside)
    assert doctor_project.check_key(root, {"CYTOLINE_KEY_FILE": str(inside)}).status == FAIL


class _Server(BaseHTTPRequestHandler):
    code = 200
    wait = 0.0

    def do_GET(self) -> None:
        time.sleep(self.wait)
        self.send_response(self.code)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_an_mlflow_server_up_locked_hanging_and_down(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor_project.check_mlflow({"MLFLOW_TRACKING_URI": server}).status == OK
    monkeypatch.setattr(_Server, "code", 401)
    assert "login" in doctor_project.check_mlflow({"MLFLOW_TRACKING_URI": server}).found
    monkeypatch.setattr(_Server, "code", 500)
    assert "500" in doctor_project.check_mlflow({"MLFLOW_TRACKING_URI": server}).found
    monkeypatch.setattr(_Server, "wait", 1.0)
    monkeypatch.setattr(doctor_project, "_SERVER_SECONDS", 0.2)
    started = time.monotonic()
    assert doctor_project.check_mlflow({"MLFLOW_TRACKING_URI": server}).status == WARN
    assert time.monotonic() - started < 0.9
    finding = doctor_project.check_mlflow({"MLFLOW_TRACKING_URI": "http://name:secret@127.0.0.1:1"})
    assert finding.status == WARN
    assert "secret" not in finding.found + finding.to_do


def test_the_mlflow_file_new_good_and_broken(tmp_path: Path) -> None:
    assert doctor_project.check_mlflow({}, tmp_path).status == OK
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        store.execute("create table runs (id)")
        store.execute("insert into runs values (1)")
    assert "1 runs" in doctor_project.check_mlflow({}, tmp_path).found
    address = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    assert "1 runs" in doctor_project.check_mlflow(address).found
    (tmp_path / "mlflow.db").write_bytes(b"not a database, whatever its name says" * 9)
    assert doctor_project.check_mlflow({}, tmp_path).status == WARN
    assert doctor_project.check_mlflow({"MLFLOW_TRACKING_URI": "file:///mlruns"}).status == WARN


def test_a_check_that_breaks_is_a_finding_not_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Finding:
        raise ZeroDivisionError("details that may name someone")

    monkeypatch.setattr(doctor, "CHECKS", {"arithmetic": broken})
    with pytest.raises(typer.Exit) as caught:
        doctor.doctor()
    assert caught.value.exit_code == 1
    assert "someone" not in doctor._guarded(broken).found


def test_warnings_alone_do_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        doctor, "CHECKS", {"a": lambda: Finding(WARN, "[odd] name", "do [this]"), "b": doctor.check_python}
    )
    doctor.doctor()
    console = Console(record=True, width=100)
    doctor.show([("a", Finding(WARN, "[odd] name", "do [this]"))], console)
    text = console.export_text()
    assert "[odd] name" in text
    assert "to do: do [this]" in text
