"""Where a page with private pictures may be written: nowhere that git or DVC would take it along."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from cytoline.errors import CytolineError

KEPT_BY_DVC = ("data", "models", "metrics", "reports", ".dvc")
"""Folders of the project that DVC caches and pushes, or that git shows to others, even where git ignores a part."""
_REMEDY = "name a folder outside the repository, or one that .gitignore covers, for example out/review"


def refuse_published(folder: Path, project: Path = Path()) -> None:
    """Raises ``CytolineError`` unless ``folder`` is outside every git work tree and this project, or ignored."""
    target, project = folder.resolve(), project.resolve()
    if target == project or any(target.is_relative_to(project / name) for name in KEPT_BY_DVC):
        raise CytolineError("the page shows private images, and that folder is kept by git or DVC", _REMEDY)
    if _inside_git(target):
        if not _ignored(target):
            raise CytolineError("the page shows private images, and git does not ignore that folder", _REMEDY)
    elif target.is_relative_to(project):
        raise CytolineError("the page shows private images, and that folder lies inside the project", _REMEDY)


def _inside_git(target: Path) -> bool:
    return _git(target, "rev-parse", "--is-inside-work-tree") == (0, "true")


def _ignored(target: Path) -> bool:
    return _git(target, "check-ignore", "--quiet", "--", str(target / "index.html"))[0] == 0


def _git(target: Path, *arguments: str) -> tuple[int, str]:
    """Asked from the nearest folder that is there; without git the answer is no."""
    there = next(path for path in (target, *target.parents) if path.is_dir())
    # What a hook or another tool set for its own repository says nothing about this folder.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(there), *arguments], capture_output=True, text=True, check=False, env=environment
        )
    except OSError:
        return 1, ""
    return done.returncode, done.stdout.strip()
