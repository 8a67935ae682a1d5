"""Where a path of the project leads through a link: what lies behind one can be exchanged without a trace here."""

from __future__ import annotations

from pathlib import Path, PurePosixPath


def link_in(top: Path, path: str) -> str:
    """The first part of ``path``, itself included, that is a symbolic link below ``top``; empty where none is."""
    parts = PurePosixPath(path)
    steps = [*reversed(parts.parents[:-1]), parts]
    return next((step.as_posix() for step in steps if (top / step).is_symlink()), "")
