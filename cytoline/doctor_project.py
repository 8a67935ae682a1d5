"""What ``cytoline doctor`` checks about the work tree: git, DVC, where data may go, the key, the MLflow store."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import sqlite3
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import yaml

from cytoline import pseudonyms
from cytoline.errors import CytolineError

Status = Literal["ok", "warn", "fail"]
OK: Status = "ok"
WARN: Status = "warn"
FAIL: Status = "fail"

STORE = Path("mlflow.db")
INCOMING = Path("data/incoming")

_GIT_SECONDS = 5
_SERVER_SECONDS = 1.5
_SECURE = 'remote "secure"'


@dataclass(frozen=True)
class Finding:
    """The result of one check; ``to_do`` is empty where all is well."""

    status: Status
    found: str
    to_do: str = ""


def check_git() -> Finding:
    """A commit to go with every model."""
    if shutil.which("git") is None and _without_git():
        return Finding(OK, "none, and DVC does without (core.no_scm); no audit trail is made here")
    if shutil.which("git") is None:
        return Finding(FAIL, "git is not installed", "install git; DVC and the audit trail need it")
    try:
        inside = _git("rev-parse", "--is-inside-work-tree")
        commit = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain")
    except subprocess.TimeoutExpired:
        return Finding(WARN, "git does not answer", "look for a lock: `ls .git/*.lock`")
    if inside is None:
        return Finding(FAIL, "this folder is no git repository", "clone cytoline with git, or `git init` and commit")
    if commit is None:
        return Finding(WARN, "there is no commit yet", "commit, so that a model can name the code that made it")
    if changed:
        count = len(changed.splitlines())
        return Finding(
            WARN,
            f"commit {commit}, {count} files changed since",
            "commit before you train a model to keep: its runs are tagged as dirty until then",
        )
    return Finding(OK, f"commit {commit}, nothing changed since")


def _without_git() -> bool:
    """Whether DVC was told that there is no git here, as in a container image."""
    settings = configparser.ConfigParser()
    try:
        settings.read([".dvc/config", ".dvc/config.local"], encoding="utf-8")
        return settings.getboolean("core", "no_scm", fallback=False)
    except (configparser.Error, ValueError):
        return False


def _git(*arguments: str) -> str | None:
    done = subprocess.run(
        ["git", *arguments], capture_output=True, text=True, timeout=_GIT_SECONDS, check=False, errors="replace"
    )
    return done.stdout.strip() if done.returncode == 0 else None


def check_dvc(root: Path = Path()) -> Finding:
    """DVC is set up, no stage is frozen, nobody holds its lock; how much of the pipeline is built."""
    if not (root / ".dvc").is_dir() or not (root / "dvc.yaml").is_file():
        return Finding(FAIL, "no .dvc folder or no dvc.yaml here", "run this at the top of the repository")
    stages = _stages(root / "dvc.yaml")
    if stages is None:
        return Finding(FAIL, "dvc.yaml is not valid", "correct it: `dvc stage list` says where")
    if frozen := sorted(name for name, stage in stages.items() if isinstance(stage, dict) and stage.get("frozen")):
        return Finding(WARN, f"frozen stages, never rebuilt: {', '.join(frozen)}", f"`dvc unfreeze {' '.join(frozen)}`")
    if running := _running(root / ".dvc" / "tmp" / "rwlock"):
        return Finding(WARN, f"in use by process {running}", "wait until that dvc command ends")
    built = _stages(root / "dvc.lock")
    if (root / "dvc.lock").exists() and _cut_off(built, stages, root):
        # DVC does not write it atomically: Ctrl-C between two stages, or a full disk, can leave half of it.
        remedy = "`git checkout -- dvc.lock`, then `dvc repro`: what had run comes back from DVC's cache"
        return Finding(FAIL, "dvc.lock is not valid: something stopped DVC while it wrote the file", remedy)
    built = built or {}
    done = [name for name in stages if any(key.split("@")[0] == name for key in built)]
    if not done:
        return Finding(OK, f"{len(stages)} stages, none built yet")
    absent = [path for path in _outs(built) if not (root / path).exists()]
    if absent:
        missing = f"{len(absent)} of their results are not here (`dvc repro` makes them, `dvc pull` fetches them)"
        return Finding(OK, f"{len(done)} of {len(stages)} stages recorded; {missing}")
    return Finding(OK, f"{len(done)} of {len(stages)} stages built (`dvc status` says which are out of date)")


def _cut_off(built: dict[str, Any] | None, stages: dict[str, Any], root: Path) -> bool:
    """Whether dvc.lock cannot be read, or lacks what the last commit has of a stage that dvc.yaml still has."""
    if built is None:
        return True
    try:
        committed = yaml.safe_load(_git("-C", str(root), "show", "HEAD:./dvc.lock") or "{}").get("stages") or {}
    except (OSError, subprocess.TimeoutExpired, yaml.YAMLError, AttributeError):
        return False  # an image has no git
    kept = {name: stage for name, stage in committed.items() if name.split("@")[0] in stages}
    return any("outs" in stage and "outs" not in (built.get(name) or {}) for name, stage in kept.items())


def _outs(built: dict[str, Any]) -> list[str]:
    """Paths that dvc.lock names as results."""
    outs = [out for stage in built.values() if isinstance(stage, dict) for out in stage.get("outs") or ()]
    return [str(out["path"]) for out in outs if isinstance(out, dict) and "path" in out]


def _stages(path: Path) -> dict[str, Any] | None:
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        stages = loaded["stages"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return None
    return stages if isinstance(stages, dict) else None


def _running(lock: Path) -> int | None:
    """The first living process that DVC's read-write lock names."""
    try:
        entries = json.loads(lock.read_text(encoding="utf-8") or "{}")
        holders = [entry for item in entries.values() for entry in (item.get("write"), *item.get("read", [])) if entry]
        numbers = [int(holder["pid"]) for holder in holders]
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return None
    return next((number for number in numbers if _alive(number)), None)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def check_secure_remote(root: Path = Path()) -> Finding:
    """A place for incoming images that may identify people, apart from where clean data goes."""
    own = [root / ".dvc" / "config", root / ".dvc" / "config.local"]
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "dvc" / "config"
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read([home, *own], encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return Finding(FAIL, "DVC's configuration is not valid", "correct .dvc/config: `dvc config --list` says where")
    # DVC writes ['remote "secure"'] with the outer quotes.
    remotes = {section.strip("'"): parser[section].get("url", "") for section in parser.sections()}
    if _SECURE in remotes:
        twins = [name for name, url in remotes.items() if url == remotes[_SECURE] and name != _SECURE]
        if twins:
            return Finding(
                FAIL,
                f"`secure` is the same place as {', '.join(twins)}",
                "give incoming images a place of their own: `dvc remote modify secure url ...`",
            )
        return Finding(OK, "configured")
    if not _real_sources(root / INCOMING):
        return Finding(OK, "none; not needed for the phantom")
    return Finding(
        WARN,
        "none: incoming images exist on this machine only",
        "`dvc remote add secure URL` with a store that only people who may see patients' names can read; "
        "keep a backup until then",
    )


def check_key(root: Path = Path(), environ: Mapping[str, str] = os.environ) -> Finding:
    """The key of the pseudonyms: there, private, and outside the repository."""
    try:
        key = pseudonyms.load_key(pseudonyms.key_path(environ), root)
    except CytolineError as error:
        missing = not pseudonyms.key_path(environ).exists()
        if missing and not _real_sources(root / INCOMING):
            return Finding(OK, "none; not needed for the phantom")
        return Finding(FAIL, error.cause, error.remedy)
    return Finding(OK, f"key {pseudonyms.Pseudonyms(key).key_id}, private")


def _real_sources(incoming: Path) -> bool:
    """Whether there is any source that is not rendered; a broken source.yaml counts as real."""
    for path in incoming.glob("*/source.yaml"):
        try:
            kind = yaml.safe_load(path.read_text(encoding="utf-8"))["kind"]
        except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
            return True
        if kind != "phantom":
            return True
    return False


def check_mlflow(environ: Mapping[str, str] = os.environ, root: Path = Path()) -> Finding:
    """The store of the runs answers.  Training goes on without it, so this never fails."""
    address = environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{STORE}"
    parts = urlsplit(address)
    if parts.scheme in {"http", "https"}:
        return _check_server(address, f"{parts.scheme}://{parts.hostname}:{parts.port or parts.scheme}")
    if parts.scheme == "sqlite":
        return _check_file(root / parts.path.removeprefix("/"))
    if parts.scheme in {"", "file"}:
        return Finding(
            WARN,
            "MLFLOW_TRACKING_URI names a folder, which this MLflow refuses",
            "unset it (the default is sqlite:///mlflow.db) or name a server",
        )
    return Finding(OK, f"{parts.scheme} store (not tried)")


def _check_server(address: str, shown: str) -> Finding:
    request = urllib.request.Request(address.rstrip("/") + "/health")
    try:
        with urllib.request.urlopen(request, timeout=_SERVER_SECONDS):
            return Finding(OK, f"{shown} answers")
    except urllib.error.HTTPError as error:
        if error.code in {401, 403}:
            return Finding(OK, f"{shown} answers and wants a login (MLFLOW_TRACKING_USERNAME, _PASSWORD)")
        reason = f"answers with HTTP {error.code}"
    except (OSError, ValueError) as error:
        reason = f"does not answer ({type(getattr(error, 'reason', error)).__name__})"
    return Finding(
        WARN,
        f"{shown} {reason}",
        "start the server, correct MLFLOW_TRACKING_URI, or unset it to use mlflow.db; training goes on without",
    )


def _check_file(path: Path) -> Finding:
    if not path.exists():
        if os.access(path.absolute().parent, os.W_OK):
            return Finding(OK, f"{path.name} is made by the first training")
        return Finding(WARN, f"{path.name} cannot be made here", "make the folder writable; training goes on without")
    try:
        with sqlite3.connect(f"file:{path.absolute()}?mode=ro", uri=True, timeout=_SERVER_SECONDS) as store:
            runs = store.execute("select count(*) from runs").fetchone()[0]
    except sqlite3.Error as error:
        return Finding(
            WARN,
            f"{path.name} cannot be read ({type(error).__name__})",
            f"move {path.name} away; the next training makes a new one",
        )
    return Finding(OK, f"{path.name}, {runs} runs (`mlflow ui --backend-store-uri sqlite:///{path.name}` shows them)")
