"""Harm done to the small project of ``benchmarks.audit``, and what verification says of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.audit.small_project import MODEL
from cytoline.audit.finding import Finding
from cytoline.audit.verification import verify_project

WEIGHTS = f"{MODEL}/weights.safetensors"


def change(path: Path, at: int) -> None:
    """One bit of one byte."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def broken(project: Path) -> list[Finding]:
    """All that verification finds."""
    return verify_project(project).findings


def named(project: Path) -> list[tuple[str, str, str]]:
    """Kind, file and place of each."""
    return [(one.kind, one.file, one.place) for one in broken(project)]


def git(project: Path, *words: str) -> str:
    """What git says."""
    return subprocess.run(["git", *words], cwd=project, check=True, capture_output=True, text=True).stdout


def some_image(project: Path) -> str:
    """The name of one."""
    return sorted(path.relative_to(project).as_posix() for path in project.glob("data/clean/images/*"))[3]
