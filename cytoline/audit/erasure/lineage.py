"""Models and pages that were made with the person's data, in every version that git or DVC's run-cache remembers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cytoline.audit.erasure.stores import Stores
from cytoline.audit.revision import LockedStage, Revision, commits, locked_stage, read_yaml
from cytoline.errors import CytolineError

_LEARN_FROM = frozenset({"train", "val"})
_RUN_CACHE = "run-cache"


@dataclass(frozen=True)
class Made:
    """One model that came out of the person's data."""

    path: str
    md5: str
    part: str
    """The part the person was in: a model learns from train and is chosen by val; ``test`` only measures it."""
    commits: tuple[str, ...]

    @property
    def learned(self) -> bool:
        """Whether weights may hold something of the person (an unknown part counts as yes)."""
        return self.part in _LEARN_FROM or self.part == "unknown"


@dataclass
class Lineage:
    """``pages``: md5 of reports that show the person or may; ``clean_pages``: of those that cannot."""

    models: list[Made] = field(default_factory=list)
    pages: set[str] = field(default_factory=set)
    clean_pages: set[str] = field(default_factory=set)
    now: set[str] = field(default_factory=set)
    """Paths of outs of the work tree's lock that are made of the person's data."""


def trace(seeds: Iterable[str], stores: Stores, parts: dict[str, str]) -> Lineage:
    """``seeds``: md5 of every object and folder that holds the person; ``parts``: split table -> the person's part."""
    tainted = set(seeds)
    states = list(_states(stores))
    while True:
        before = len(tainted)
        for _, stages in states:
            for stage in stages:
                if any(dep.md5 in tainted for dep in stage.deps):
                    tainted |= {out.md5 for out in stage.outs}
        if len(tainted) == before:
            break
    lineage = Lineage()
    part_of = {
        md5: parts[inner] for md5, rows in stores.listings().items() for inner in rows.values() if inner in parts
    }
    models: dict[tuple[str, str], tuple[str, set[str]]] = {}
    for commit, stages in states:
        items = (item for stage in stages for item in (*stage.deps, *stage.outs))
        part = next((part_of[item.md5] for item in items if item.md5 in part_of), "unknown")
        for out in (out for stage in stages for out in stage.outs):
            if out.path.endswith(".html"):
                (lineage.pages if out.md5 in tainted else lineage.clean_pages).add(out.md5)
            if out.md5 in tainted and out.path.startswith("models/"):
                models.setdefault((out.path, out.md5), (part, set()))[1].add(commit)
            if out.md5 in tainted and commit == "":
                lineage.now.add(out.path)
    lineage.models = [
        Made(path, md5, part, tuple(sorted(seen - {"", _RUN_CACHE})))
        for (path, md5), (part, seen) in sorted(models.items())
    ]
    lineage.clean_pages -= lineage.pages
    return lineage


def _states(stores: Stores) -> Iterable[tuple[str, list[LockedStage]]]:
    """Commit ("" for the work tree and for the run-cache, which knows none) -> the stages that ran."""
    yield "", list(Revision.work_tree().stages.values())
    for commit in commits(Path(), "dvc.lock"):
        try:
            yield commit, list(Revision.at(commit).stages.values())
        except CytolineError:  # a lock that never was one; its objects are still searched by content
            continue
    for store in stores.all:
        for name in store.runs():
            if (stage := run_entry(store.read(name))) is not None:
                yield _RUN_CACHE, [stage]


def run_entry(content: bytes) -> LockedStage | None:
    """What an entry of DVC's run-cache says."""
    try:
        loaded: Any = read_yaml(content)
        return locked_stage(_RUN_CACHE, loaded)
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        return None
