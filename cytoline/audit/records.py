"""What git keeps: the lock, params, figures, decisions, approvals and code, each against the commit's own object."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cytoline.audit.finding import APPROVALS, DECISIONS, PROMOTIONS, SEALS, Report
from cytoline.audit.links import link_in
from cytoline.audit.locate import differs_from
from cytoline.audit.repository import blob_id, blobs, filtered_id, tree
from cytoline.audit.revision import Cache, Item, LockedStage, Revision
from cytoline.deid.review.chain import GENESIS
from cytoline.errors import CytolineError

LOCK = "dvc.lock"
GROWING = (APPROVALS, SEALS, DECISIONS, PROMOTIONS)
"""Chains: what was committed must stand unchanged at the beginning; more may follow."""
_FIXED = (LOCK, "dvc.yaml", "params.yaml", "requirements.lock", ".dvc/config")
_BELOW = ("metrics/", "approvals/", "data/review/")
_LARGEST = 1 << 29
_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


@dataclass
class Records:
    """The commit that is checked out, and those of its files that count as evidence."""

    commit: str
    tree: Mapping[str, str]
    """Path -> id of git's object."""
    content: dict[str, bytes] = field(default_factory=dict)
    """Path -> what lies in the work tree, of every record that was checked."""
    changed: set[str] = field(default_factory=set)
    """Records that are not what was committed."""
    committed: dict[str, bytes] = field(default_factory=dict)
    """Path -> what was committed, of those that changed."""


def read_records(top: Path, commit: str) -> Records:
    """The commit's tree; nothing is compared yet."""
    return Records(commit, tree(top, commit))


def evidence(path: str) -> bool:
    """Whether a tracked file is a record whatever ``dvc.lock`` says."""
    return path in _FIXED or path.startswith(_BELOW) or path.endswith(".dvc")


def check_records(records: Records, stages: Mapping[str, LockedStage], top: Path, report: Report) -> None:
    """Compare records, and the code that stages depend on, with the commit; report what differs and where."""
    deps = {dep.path for stage in stages.values() for dep in stage.deps}
    folders = tuple(f"{dep}/" for dep in deps if dep not in records.tree)
    for path, name in records.tree.items():
        if evidence(path) or path in deps or path.startswith(folders):
            content = _read(top, path)
            if content is None:
                records.changed.add(path)
                continue
            records.content[path] = content
            if blob_id(content, name) != name and filtered_id(top, path) != name:
                records.changed.add(path)
    changed = sorted(records.changed)
    held = blobs(top, [records.tree[path] for path in changed])
    for path, good in zip(changed, held, strict=True):
        records.committed[path] = good or b""
        _report(path, records.content.get(path), good or b"", report)
    _note_new(records, top, report)


def _report(path: str, content: bytes | None, good: bytes, report: Report) -> None:
    if content is None:
        report.add(path, "is missing (or no plain file); the commit has it")
    elif not (path in GROWING and content.startswith(good)):
        report.add(path, "is not what was committed", differs_from(path, content, good))


def _note_new(records: Records, top: Path, report: Report) -> None:
    """Approvals, keys and figures that no commit holds are no evidence yet."""
    for below in ("metrics", "approvals"):
        for path in sorted((top / below).rglob("*")):
            name = path.relative_to(top).as_posix()
            if path.is_file() and name not in records.tree and not name.endswith((".tmp", ".gitignore")):
                records.content[name] = _read(top, name) or b""
                report.notes.append(f"{name} is in no commit yet")


def _read(top: Path, path: str) -> bytes | None:
    file = top / path
    try:
        return None if link_in(top, path) or not file.is_file() or file.stat().st_size > _LARGEST else file.read_bytes()
    except OSError:
        return None


def recorded(top: Path, records: Records, report: Report) -> tuple[Mapping[str, LockedStage], list[Item]]:
    """Stages of ``dvc.lock`` and everything that DVC tracks.

    Where an entry was changed after the commit and the cache knows nothing of the new hash, the committed entry counts:
    so a changed lock is reported once, as such, and not as a change of everything that it names.
    """
    here, before = Revision.work_tree(top), Revision("the commit", records.commit, top)
    same = blob_id(_read(top, LOCK) or b"", records.tree.get(LOCK, "")) == records.tree.get(LOCK)
    new, stages = _items(here)
    if same and new is not None:
        return stages, _hashed(new, report)
    old, committed = _items(before)
    cache, merged = Cache.of(top), dict(old or {})
    for path, item in (new or {}).items():
        if path not in merged or (item.md5 != merged[path].md5 and _in_cache(cache, item)):
            merged[path] = item
    if new is None and old is None:
        report.add(LOCK, "cannot be read, here and in the commit")
    return committed or stages, _hashed(merged, report)


def _hashed(items: Mapping[str, Item], report: Report) -> list[Item]:
    """Those whose hash is one of DVC's own; data that DVC only points to (cloud addresses) has none."""
    good = []
    for item in items.values():
        if _MD5.fullmatch(item.md5):
            good.append(item)
        elif item.md5:
            report.add(LOCK, f"holds no MD5 for {item.path}")
        else:
            report.notes.append(f"{item.path} has no hash in dvc.lock, so nobody can verify it")
    return good


def _items(state: Revision) -> tuple[dict[str, Item] | None, Mapping[str, LockedStage]]:
    try:
        items = [*(out for stage in state.stages.values() for out in stage.outs), *state.sources]
        return {item.path: item for item in items}, state.stages
    except CytolineError:
        return None, {}


def _in_cache(cache: Cache, item: Item) -> bool:
    try:
        return cache.path(item.md5).is_file()
    except CytolineError:
        return False


def check_logs(contents: Mapping[str, bytes], report: Report) -> None:
    """Chains, line by line: each holds the SHA-256 of the one before it."""
    named = {finding.file for finding in report.findings}
    for path, content in sorted(contents.items()):
        line = chain_fault(content)
        if line and path not in named:
            report.add(path, "does not hold the hash of the line before it", f"line {line}")


def chain_fault(content: bytes) -> int:
    """The first line (from 1) that does not fit the one before it; 0 where all do."""
    previous = GENESIS
    lines = content.split(b"\n")
    whole = lines.pop() == b""
    for number, line in enumerate(lines, start=1):
        try:
            if json.loads(line)["prev"] != previous:
                return number
        except (ValueError, KeyError, TypeError, RecursionError):
            return number
        previous = hashlib.sha256(line + b"\n").hexdigest()
    return 0 if whole else len(lines) + 1
