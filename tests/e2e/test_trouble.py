"""Ctrl-C and a full disk: a readable end, and the last good results are still there."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.workplace import Workplace
from tests.e2e.conftest import FirstRun

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(("stage", "seconds"), [("anonymize", 4), ("train_detector", 8)])
def test_ctrl_c_keeps_the_last_good_state(first: FirstRun, twin: Workplace, stage: str, seconds: float) -> None:
    good = (twin.root / "dvc.lock").read_bytes()
    twin.change_yaml("params.yaml", {"detector.epochs": 400})  # long enough to be interrupted
    shutil.rmtree(twin.root / ".cytoline/memo")
    with twin.start(".venv/bin/dvc", "repro", "--force", "--single-item", stage) as running:
        assert running.wait_for(f"Running stage '{stage}'"), running.text()
        time.sleep(seconds)
        running.interrupt()
        done = running.finish(timeout=60)
    assert done.code not in (0, -9), done.text
    assert "Traceback" not in done.text
    assert (twin.root / "dvc.lock").read_bytes() == good

    twin.git("checkout", "--quiet", "params.yaml")
    assert twin.dvc("checkout").code == 0
    again = twin.dvc("repro")
    assert again.stages_run() == [], again.text
    assert twin.digests("models") == first.place.digests("models")
    assert twin.digests("data") == first.place.digests("data")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = (
        sys.platform == "linux"
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False
        ).returncode
    )
    if not mounted:
        pytest.skip("needs the right to mount a small file system (root)")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_is_named_and_the_old_out_stays(first: FirstRun, twin: Workplace, small_disk: Path) -> None:
    out = small_disk / "clean"
    out.mkdir()
    (out / "manifest.jsonl").write_text("the last good state\n", encoding="utf-8")
    arguments = ["--raw", "data/raw", "--out", str(out), "--quarantine", str(small_disk / "quarantine")]
    done = twin.run(".venv/bin/python", "-m", "stages.anonymize", *arguments)
    assert done.code == 2, done.text
    assert "the disk is full" in done.text
    assert "to fix:" in done.text
    assert "Traceback" not in done.text
    assert (out / "manifest.jsonl").read_text(encoding="utf-8") == "the last good state\n"
    assert [path.name for path in small_disk.iterdir() if path.name.endswith(".tmp")] == []
