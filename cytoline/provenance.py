"""Where a run comes from, in facts that name no person and no machine: git, DVC, the lock file."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

LOCK = Path("requirements.lock")
DVC_LOCK = Path("dvc.lock")

_CONTAINER = ("/.dockerenv", "/run/.containerenv")

WATCHED = ("cytoline", "stages", "configs", "params.yaml", "dvc.yaml", "requirements.lock")
"""What makes a run not reproducible from its commit if it differs.  Not ``dvc.lock``, ``metrics`` and
``reports``: a running pipeline writes these itself."""


@dataclass(frozen=True)
class GitState:
    """The commit (``unknown`` outside git) and whether anything a result depends on differs from it."""

    commit: str
    dirty: bool


def git_state() -> GitState:
    """The state of the repository around the current folder."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return GitState("unknown", True)
    changes = _git("status", "--porcelain", "--untracked-files=normal", "--", *WATCHED)
    return GitState(commit.strip(), changes is None or bool(changes.strip()))


def lock_hash(path: Path = LOCK) -> str:
    """sha256 of the lock file: the exact version of every package.  ``none`` where there is no such file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "none"


def dvc_digest(path: Path) -> str:
    """DVC's hash of a file or folder (md5; folders end in ``.dir``), at most 36 characters.

    In a ``dvc repro`` the hash that ``dvc.lock`` just recorded is used; outside it the path may have been
    changed by hand, so it is computed, in DVC's own way.
    """
    if "DVC_STAGE" in os.environ and (known := _locked_digest(path)) is not None:
        return known
    return folder_digest(path) if path.is_dir() else _md5(path)


def machine() -> dict[str, str]:
    """What computes, in words that name no machine and no person: Python, processor, GPU, container, determinism."""
    told = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _processor(),
        "cores": str(os.cpu_count() or 0),
        "container": "yes" if any(Path(mark).exists() for mark in _CONTAINER) else "not seen",
    }
    if (torch := sys.modules.get("torch")) is not None:  # it takes seconds to import, so only where it is in use
        told["threads"] = str(torch.get_num_threads())
        told["deterministic"] = str(torch.are_deterministic_algorithms_enabled()).lower()
        if torch.cuda.is_available():
            told["gpu"] = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
            told["cuda"] = str(torch.version.cuda)
            told["driver"] = _driver()
    return told


def _processor() -> str:
    """Make and model as the kernel gives them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _driver() -> str:
    import pynvml

    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return "unknown"


def repro_id() -> str | None:
    """An opaque name for the ``dvc`` process this one runs below; None outside ``dvc repro``.

    All stages of one ``dvc repro`` get the same name, two such runs never do.
    """
    import psutil

    if "DVC_STAGE" not in os.environ:
        return None
    try:
        for parent in psutil.Process().parents():
            if _is_dvc(parent.cmdline()):
                return _opaque(parent)
        return _opaque(psutil.Process().parents()[1])  # DVC was called from Python: above the stage's shell
    except (psutil.Error, IndexError):
        return None


def _opaque(process: Any) -> str:
    return hashlib.sha256(f"{process.pid}:{process.create_time()}".encode()).hexdigest()[:16]


def _is_dvc(command: list[str]) -> bool:
    names = [Path(word).name.removesuffix(".exe") for word in command[:3]]
    return "dvc" in names[:2] or (len(command) > 2 and command[1:3] == ["-m", "dvc"])


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _locked_digest(path: Path) -> str | None:
    wanted = path.as_posix()
    for out in _locked_outs() + _tracked_outs(path):
        if out.get("path") == wanted and isinstance(out.get("md5"), str):
            return str(out["md5"])
    return None


def _locked_outs() -> list[dict[str, Any]]:
    try:
        lock = yaml.safe_load(DVC_LOCK.read_text(encoding="utf-8")) or {}
        return [out for stage in lock["stages"].values() for out in stage.get("outs", [])]
    except (OSError, yaml.YAMLError, KeyError, AttributeError, TypeError):
        return []


def _tracked_outs(path: Path) -> list[dict[str, Any]]:
    """What ``dvc add`` recorded beside ``path``."""
    try:
        record = yaml.safe_load(path.with_name(path.name + ".dvc").read_text(encoding="utf-8"))
        return [{**out, "path": (path.parent / out["path"]).as_posix()} for out in record["outs"]]
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError):
        return []


def folder_digest(folder: Path) -> str:
    """DVC's hash of a folder as it is now: md5 of the JSON list of relative names with their md5, sorted by name."""
    files = sorted(item for item in folder.rglob("*") if item.is_file())
    rows = [{"md5": _md5(item), "relpath": item.relative_to(folder).as_posix()} for item in files]
    rows.sort(key=lambda row: row["relpath"])
    return hashlib.md5(json.dumps(rows, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _md5(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
