"""Writes that are whole or absent: a temporary name beside the target, then one rename."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HEX = 12
"""Random digits in a temporary name."""


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` (any bytes) in one step; parents are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` as UTF-8 with ``\\n`` line ends."""
    write_bytes(path, text.encode("utf-8"))


@contextmanager
def rebuilt_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder that takes the place of ``path`` when the block ends without an error.

    On an error or an interrupt the old ``path`` stays as it was and the half-made folder is removed; one that a
    killed process left is removed by the next that makes the same folder.
    """
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * _HEX}.tmp"):
        _remove(left)
    temporary, old = _beside(path), _beside(path)
    try:
        temporary.mkdir()  # inside: an interrupt right behind it must clean up, too
        yield temporary
        if path.exists() or path.is_symlink():
            path.replace(old)
        temporary.replace(path)
    finally:
        if old.exists() and not path.exists():
            old.replace(path)  # interrupted between the two renames
        _remove(old)
        _remove(temporary)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(_HEX // 2)}.tmp")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
