"""What an approval of a model binds: the model, its data, its figures, its environment and how it was made, by hash.

Read from the work tree where the model is the one that lies there, else from git and DVC's cache at its commit.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cytoline.audit.policy import POLICY
from cytoline.audit.resolve import check_ref
from cytoline.audit.revision import FOLDER, Cache, Item, LockedStage, Revision
from cytoline.errors import CytolineError

WEIGHTS = "weights.safetensors"  # cytoline.models says the same, and loads PyTorch
LOCK = "requirements.lock"
METRICS = "metrics"
DATA = {"data/clean": "manifest.jsonl", "data/split": "split.jsonl"}
"""Out to the table in it that says which images, patients and parts there were."""
GONE = "missing"
"""In the place of a hash: it is not here to be read."""


def resolve(ref: str, top: Path = Path()) -> tuple[str, Revision]:
    """The path of a model, and the state of the repository that holds this very version of it.

    ``ref`` is a path, a hash, or a name in the registry (``cytoline-classifier@champion``).
    """
    check_ref(ref)
    here = Revision.work_tree(top)
    path = ref.removeprefix("./").rstrip("/")
    if here.out(path) is not None:
        return path, here
    try:
        facts_of: Any = importlib.import_module("cytoline.audit.model").facts_of
    except ImportError:
        raise CytolineError(
            "dvc.lock knows no such model", "give its path, for example `models/classifier`; `dvc repro` makes it"
        ) from None
    facts = facts_of(ref, top)
    item = here.out(facts.path)
    if item is not None and item.md5.removesuffix(FOLDER) == str(facts.digest).removesuffix(FOLDER):
        return str(facts.path), here
    # Not the commit of its code, whose dvc.lock still names the model before it.
    if facts.recorded is None:
        raise CytolineError("no commit holds this version of the model", "approve one whose dvc.lock was committed")
    return str(facts.path), Revision.at(facts.recorded, top)


def covered(path: str, state: Revision) -> dict[str, str]:
    """Path (or ``dvc.lock#STAGE``) to ``md5:...`` or ``sha256:...``, or ``missing``, of all that an approval binds."""
    cache = Cache.of(state.top)
    item = state.out(path)
    if item is None:
        raise CytolineError(f"dvc.lock of {state.name} has no {path}", "`dvc repro` makes it")
    covers = {path: _folder(item, state), f"{path}/{WEIGHTS}": _weights(item, state, cache)}
    for out, table in DATA.items():
        data = state.out(out)
        if data is not None:
            covers[out] = f"md5:{data.md5}"
            covers[f"{out}/{table}"] = _table(data, table, state, cache)
    for name in _figures(state):
        covers[name] = _sha256(state.read(name))
    for stage in _stages(path, state.stages):
        covers[f"dvc.lock#{stage.name}"] = _entry(stage)
    covers[LOCK] = _sha256(state.read(LOCK))
    # The rules that hold are those of now, also for a model of an older commit.
    covers[POLICY] = _sha256(Revision.work_tree(state.top).read(POLICY))
    return dict(sorted(covers.items()))


def refuse_unfit(path: str, state: Revision, covers: Mapping[str, str]) -> None:
    """What is not whole, or does not belong together, cannot be approved."""
    item = state.out(path)
    missing = sorted(name for name, value in covers.items() if value == GONE)
    if missing:
        raise CytolineError(f"{missing[0]} is not here, so nobody can have looked at it", "`dvc pull`, `dvc repro`")
    if item is None or covers[path] != f"md5:{item.md5}":
        raise CytolineError(f"{path} is not what dvc.lock records", f"`dvc checkout {path}`, or `dvc repro`")
    judged = [stage for stage in state.stages.values() if _judges(stage) and any(d.path == path for d in stage.deps)]
    if any(dep.path == path and dep.md5 != item.md5 for stage in judged for dep in stage.deps):
        raise CytolineError(f"the figures in {METRICS}/ are those of another {path}", "`dvc repro evaluate`")


def _folder(item: Item, state: Revision) -> str:
    """The digest of what lies there, computed as DVC does; of a commit, what its dvc.lock says."""
    folder = state.top / item.path
    if state.commit is not None or not folder.is_dir():
        return f"md5:{item.md5}"
    rows = [
        {"md5": hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest(), "relpath": name}
        for name, file in ((file.relative_to(folder).as_posix(), file) for file in folder.rglob("*"))
        if file.is_file() and name != ".gitignore"
    ]
    return f"md5:{listing_digest(rows)}"


def listing_digest(rows: list[dict[str, str]]) -> str:
    """DVC's hash of a folder: the MD5 of the JSON list of its files, sorted by their paths."""
    rows = sorted(rows, key=lambda row: row["relpath"])
    return hashlib.md5(json.dumps(rows, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + FOLDER


def _weights(item: Item, state: Revision, cache: Cache) -> str:
    file = state.top / item.path / WEIGHTS
    if state.commit is None and file.is_file():
        return _sha256(file.read_bytes())
    return _sha256(cache.file(item, WEIGHTS))


def _table(item: Item, name: str, state: Revision, cache: Cache) -> str:
    file = state.top / item.path / name
    if state.commit is None and file.is_file():
        return f"md5:{hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()}"
    listed = (cache.listing(item.md5) or {}).get(name)
    return f"md5:{listed}" if listed else GONE


def _figures(state: Revision) -> list[str]:
    """Figures and curves.  Of the work tree also those that were not committed yet."""
    named = set(state.files(METRICS))
    if state.commit is None:
        folder = state.top / METRICS
        named |= {file.relative_to(state.top).as_posix() for file in folder.rglob("*") if file.is_file()}
    return sorted(named)


def _stages(path: str, stages: Mapping[str, LockedStage]) -> list[LockedStage]:
    """Every stage from the sources to the one that makes ``path``, and the ones that judge it, in dvc.lock's order."""
    wanted: set[str] = set()
    todo = [path]
    while todo:
        one = todo.pop()
        for stage in stages.values():
            if stage.name not in wanted and any(_touch(out.path, one) for out in stage.outs):
                wanted.add(stage.name)
                todo += [dep.path for dep in stage.deps]
    judges = {stage.name for stage in stages.values() if _judges(stage) and any(d.path == path for d in stage.deps)}
    return [stage for stage in stages.values() if stage.name in wanted | judges]


def _judges(stage: LockedStage) -> bool:
    return any(out.path.startswith(f"{METRICS}/") for out in stage.outs)


def _touch(out: str, dep: str) -> bool:
    return out == dep or dep.startswith(f"{out}/") or out.startswith(f"{dep}/")


def _entry(stage: LockedStage) -> str:
    plain = {
        "cmd": stage.command,
        "deps": [[dep.path, dep.md5] for dep in stage.deps],
        "params": stage.params,
        "outs": [[out.path, out.md5] for out in stage.outs],
    }
    return _sha256(json.dumps(plain, sort_keys=True, default=str).encode())


def _sha256(content: bytes | None) -> str:
    return GONE if content is None else f"sha256:{hashlib.sha256(content).hexdigest()}"
