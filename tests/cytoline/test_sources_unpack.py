"""Unpacking in workers: the same as without them, and nothing is left running when one fails."""

from __future__ import annotations

import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from cytoline.deid.dicom import Limits
from cytoline.sources import unpack as module
from cytoline.sources.context import Context
from cytoline.sources.dicom import unpack_dicom
from cytoline.sources.found import Reading
from cytoline.sources.listing import list_files
from cytoline.sources.regions import Wanted, unpack_slide
from cytoline.sources.unpack import Task, Unpacked, unpack
from tests.planted_sources import PARAMS, info
from tests.planted_unpacked import dicom, frame


def context(folder: Path, target: Path, pool: ThreadPoolExecutor | None = None) -> Context:
    target.mkdir()
    return Context("s", info("dicom"), list_files(folder), PARAMS, target, pool)


def test_workers_give_what_one_process_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POOL_FROM_BYTES", 0)
    for number in range(5):
        dicom(tmp_path / "in" / f"{number}.dcm", [frame(number), frame(number + 10)], f"P{number}")
    work = pickle.loads(pickle.dumps(partial(unpack_dicom, limits=Limits(), max_frames=9)))  # noqa: S301 - our own
    tasks = [Task(name, path, work) for name, path in list_files(tmp_path / "in").files.items()]
    one, many = Reading(), Reading()
    unpack(context(tmp_path / "in", tmp_path / "one"), tasks, one)
    with ThreadPoolExecutor(2) as pool:
        unpack(context(tmp_path / "in", tmp_path / "many", pool), tasks, many)
    assert (one.found, one.used, one.entries) == (many.found, many.used, 10)
    assert [path.read_bytes() for path in one.unpacked.values()] == [p.read_bytes() for p in many.unpacked.values()]
    assert pickle.dumps(partial(unpack_slide, wanted=Wanted(64, None, 1, 1)))


def _fails(path: Path, folder: Path) -> Unpacked:
    raise MemoryError


def _slow(path: Path, folder: Path) -> Unpacked:
    time.sleep(0.3)
    (folder.parent / "late").write_text("x")
    return Unpacked()


def test_after_an_error_nothing_writes_into_a_folder_that_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POOL_FROM_BYTES", 0)
    path = dicom(tmp_path / "in" / "a.dcm", [frame(1)], "A")
    with ThreadPoolExecutor(2) as pool:
        there = context(tmp_path / "in", tmp_path / "out", pool)
        with pytest.raises(MemoryError):
            unpack(there, [Task("a.dcm", path, _fails), *[Task("a.dcm", path, _slow)] * 9], Reading())
        assert (tmp_path / "out" / "late").exists(), "the one that ran was waited for"
        (tmp_path / "out" / "late").unlink()
        time.sleep(0.4)
        assert not (tmp_path / "out" / "late").exists(), "the others were never begun"


def test_a_folder_is_needed(tmp_path: Path) -> None:
    there = replace(context(tmp_path, tmp_path / "out"), unpack_to=None)
    with pytest.raises(RuntimeError, match="needs a folder"):
        unpack(there, [], Reading())
