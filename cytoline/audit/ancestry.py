"""The chain of stages behind one out, from the first source to the stage that made it.

A lock may be partly newer than itself (somebody ran one stage alone): where an input's hash is not the one that the
same lock gives its maker, the revision that did make it is looked up, and where git knows none that is said.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cytoline.audit.facts import StageFacts
from cytoline.audit.recording import is_data
from cytoline.audit.revision import WORK_TREE, LockedStage, Revision


class Locks:
    """``dvc.lock`` of any revision, each read once."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._read: dict[str, Revision] = {}

    def at(self, commit: str) -> Revision:
        """The revision of a full hash, or of the work tree."""
        if commit not in self._read:
            work_tree = commit == WORK_TREE
            self._read[commit] = Revision.work_tree(self._top) if work_tree else Revision(commit, commit, self._top)
        return self._read[commit]


class Ancestry:
    """Finds the stages behind outs."""

    def __init__(self, index: sqlite3.Connection, locks: Locks) -> None:
        self._index = index
        self._locks = locks
        self.missing: list[str] = []
        self._found: dict[tuple[str, str], StageFacts] = {}
        self._order: list[StageFacts] = []

    def stages(self, path: str, md5: str, commit: str) -> tuple[StageFacts, ...]:
        """From source to the stage that made ``path`` as ``commit`` records it."""
        self._visit(path, md5, commit, frozenset())
        return tuple(self._order)

    def _visit(self, path: str, md5: str, commit: str, below: frozenset[tuple[str, str]]) -> None:
        if (path, md5) in self._found or (path, md5) in below:
            return
        maker, where = self._maker(path, md5, commit)
        if maker is None:
            self.missing.append(f"no revision that git knows records how {path} ({md5[:12]}) was made")
            return
        facts = stage_facts(maker, None if where == WORK_TREE else where)
        for item in facts.data:
            if self._made(item.path):
                self._visit(item.path, item.md5, where, below | {(path, md5)})
        if not any(facts == known for known in self._order):
            self._order.append(facts)
        self._found[path, md5] = facts

    def _maker(self, path: str, md5: str, commit: str) -> tuple[LockedStage | None, str]:
        others = self._index.execute(
            'SELECT o."commit" FROM outs o JOIN revisions r ON r."commit" = o."commit" '
            "WHERE o.md5 = ? AND o.path = ? ORDER BY r.time, r.seq LIMIT 1",
            (md5, path),
        )
        for candidate in [commit, *(str(row[0]) for row in others)]:
            maker = self._locks.at(candidate).producer(path)
            if maker is not None and any(out.path == path and out.md5 == md5 for out in maker.outs):
                return maker, candidate
        return None, commit

    def _made(self, path: str) -> bool:
        return (
            self._index.execute("SELECT 1 FROM outs WHERE path = ? AND stage <> '' LIMIT 1", (path,)).fetchone()
            is not None
        )


def stage_facts(stage: LockedStage, recorded: str | None) -> StageFacts:
    """A stage of ``dvc.lock`` with its inputs told apart into code and data."""
    return StageFacts(
        name=stage.name,
        command=stage.command,
        code=tuple(dep for dep in stage.deps if not is_data(dep.path)),
        data=tuple(dep for dep in stage.deps if is_data(dep.path)),
        params=flat(stage.params),
        outs=stage.outs,
        recorded=recorded,
    )


def flat(params: Mapping[str, Any]) -> dict[str, Any]:
    """Params of all files in one mapping, as ``dvc.lock`` names them."""
    return {
        str(key): value for values in params.values() if isinstance(values, Mapping) for key, value in values.items()
    }
