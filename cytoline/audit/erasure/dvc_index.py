"""DVC's indexes outside of the project, which know every file by its name; DVC makes them anew.

They lie beside those of this user's other projects.  A project that was moved or copied has left one behind, which is
known by what it holds; it may as well be another project's, so it is not touched unasked.
"""

from __future__ import annotations

import os
from pathlib import Path

from cytoline.audit.erasure.files import below
from cytoline.audit.erasure.marks import Marks


def site_cache() -> Path:
    """Where DVC keeps the index of this project."""
    from dvc.repo import Repo

    with Repo() as repo:
        return Path(repo.site_cache_dir)


def indexes_with(marks: Marks) -> list[Path]:
    """Other projects' indexes that show the person."""
    own = site_cache()
    return [one for one in sorted(own.parent.glob("*/")) if one != own and _shows(one, marks)]


def _shows(folder: Path, marks: Marks) -> bool:
    paths = (path for path in below(folder) if os.access(path, os.R_OK))
    return any(marks.found_in(path.read_bytes(), names=True) is not None for path in paths)
