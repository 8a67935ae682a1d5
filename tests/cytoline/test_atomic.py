"""Whole or absent: what fails half-way leaves the last good state and no litter."""

from __future__ import annotations

from pathlib import Path

import pytest

from cytoline import atomic


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "x" / "a.txt", "one")
    atomic.write_text(tmp_path / "x" / "a.txt", "two")
    assert (tmp_path / "x" / "a.txt").read_text(encoding="utf-8") == "two"
    assert names(tmp_path / "x") == ["a.txt"]


def test_a_folder_is_rebuilt_without_what_was_there(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with atomic.rebuilt_folder(tmp_path / "out") as fresh:
            (fresh / name).write_text(name, encoding="utf-8")
    assert names(tmp_path / "out") == ["new"]
    assert names(tmp_path) == ["out"]


def test_an_interrupt_between_the_two_renames_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with atomic.rebuilt_folder(tmp_path / "out") as fresh:
        (fresh / "good").write_text("good", encoding="utf-8")
    replace, calls = Path.replace, []

    def interrupted(self: Path, target: Path) -> Path:
        calls.append(self)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return replace(self, target)

    def rebuild() -> None:
        with atomic.rebuilt_folder(tmp_path / "out") as fresh:
            (fresh / "new").write_text("new", encoding="utf-8")

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rebuild()
    assert names(tmp_path / "out") == ["good"]
    assert names(tmp_path) == ["out"]


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    left, others = tmp_path / ".out.0123456789ab.tmp", tmp_path / ".out-2.0123456789ab.tmp"
    for folder in (left, others):
        folder.mkdir()
        (folder / "a.png").write_bytes(b"x")
    with atomic.rebuilt_folder(tmp_path / "out"):
        pass
    assert names(tmp_path) == [others.name, "out"]


@pytest.mark.parametrize("trouble", [ValueError, KeyboardInterrupt, OSError])
def test_trouble_half_way_leaves_the_last_good_state(tmp_path: Path, trouble: type[BaseException]) -> None:
    with atomic.rebuilt_folder(tmp_path / "out") as fresh:
        (fresh / "good").write_text("good", encoding="utf-8")

    def fail() -> None:
        with atomic.rebuilt_folder(tmp_path / "out") as fresh:
            (fresh / "half").write_text("half", encoding="utf-8")
            raise trouble

    with pytest.raises(trouble):
        fail()
    assert names(tmp_path / "out") == ["good"]
    assert names(tmp_path) == ["out"]
