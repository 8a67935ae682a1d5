"""What one revision records: its outs, what they were made from, and which data set and split stand behind each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from cytoline.audit.revision import Item, LockedStage, Revision
from cytoline.errors import CytolineError

CLEAN, SPLIT, AUGMENTED = "data/clean", "data/split", "data/augmented"
IMAGES = (CLEAN, AUGMENTED)
PATCHES = ("data/patches", "data/upscaled")
MODELS = "models/"
CARD = "model_card.json"
GONE = "not in DVC's cache"
KINDS = {CLEAN: "clean", SPLIT: "split"}

Earlier = Callable[[str, str], Mapping[str, list[str]]]
"""Path and md5 of an out to the data sets behind it, by kind, as another revision knows them."""


@dataclass(frozen=True)
class Out:
    """One out with the hashes of the data sets (``clean``) and splits (``split``) behind it, nearest first."""

    stage: str
    path: str
    md5: str
    size: int | None
    ancestors: Mapping[str, list[str]]

    def nearest(self, kind: str) -> str | None:
        """The one that the stage itself, or the nearest before it, read."""
        found = self.ancestors.get(kind)
        return found[0] if found else None


@dataclass(frozen=True)
class Record:
    """``dvc.lock`` and the ``.dvc`` files of one revision."""

    commit: str
    stages: Mapping[str, LockedStage]
    sources: tuple[Item, ...]
    broken: str | None = None
    deps: list[tuple[str, str, str, str]] = field(default_factory=list)
    """Commit, stage, path, md5; data only."""


class _Stored(Revision):
    """A revision whose files are at hand."""

    content: Mapping[str, bytes]

    def read(self, path: str) -> bytes | None:
        """From memory."""
        return self.content.get(path)

    def files(self, below: str = "") -> tuple[str, ...]:
        """All that are at hand."""
        return tuple(name for name in self.content if name.startswith(below))


def read(commit: str, lock: bytes, sources: Mapping[str, bytes]) -> Record:
    """What one commit records.  A lock that cannot be read is said, not raised: others still can."""
    revision = _Stored(commit[:12], commit)
    object.__setattr__(revision, "content", {**sources, "dvc.lock": lock} if lock else dict(sources))
    try:
        stages, tracked = revision.stages, revision.sources
    except CytolineError as error:
        return Record(commit, {}, (), error.cause)
    made = {out.path for stage in stages.values() for out in stage.outs}
    deps = [
        (commit, stage.name, dep.path, dep.md5)
        for stage in stages.values()
        for dep in stage.deps
        if dep.path in made or is_data(dep.path)
    ]
    return Record(commit, stages, tracked, None, deps)


def is_data(path: str) -> bool:
    """Whether a dep is data or a model, and not code or configuration."""
    return path.startswith(("data/", "metrics/", MODELS))


def is_model(path: str) -> bool:
    """Whether an out is a model folder."""
    return path.startswith(MODELS)


def with_ancestors(record: Record, earlier: Earlier) -> Iterator[Out]:
    """Every out, and every source that ``dvc add`` tracks (stage ``""``), after those it was made from."""
    for item in record.sources:
        if item.md5:
            yield Out("", item.path, item.md5, item.size, {})
    makers = {out.path: stage for stage in record.stages.values() for out in stage.outs}
    known: dict[str, dict[str, list[str]]] = {}

    def behind(stage: LockedStage, below: frozenset[str]) -> dict[str, list[str]]:
        if stage.name not in known:
            direct = {KINDS[dep.path]: [dep.md5] for dep in stage.deps if dep.path in KINDS}
            found: dict[str, list[str]] = {kind: list(md5s) for kind, md5s in direct.items()}
            for dep in stage.deps:
                maker = makers.get(dep.path)
                agrees = maker is not None and any(out.path == dep.path and out.md5 == dep.md5 for out in maker.outs)
                if maker is not None and agrees and maker.name not in below:
                    more: Mapping[str, list[str]] = behind(maker, below | {stage.name})
                else:  # made by a revision before this one, and not again
                    more = earlier(dep.path, dep.md5)
                for kind, md5s in more.items():
                    row = found.setdefault(kind, [])
                    row += [md5 for md5 in md5s if md5 not in row]
            known[stage.name] = found
        return known[stage.name]

    done: set[str] = set()
    for stage in record.stages.values():
        for out in _first(stage, makers, done):
            ancestors = dict(behind(makers[out.path], frozenset({makers[out.path].name})))
            if out.path in KINDS:
                ancestors[KINDS[out.path]] = [out.md5, *ancestors.get(KINDS[out.path], [])]
            yield Out(makers[out.path].name, out.path, out.md5, out.size, ancestors)


def name_of(card: bytes | None) -> str | None:
    """The name in a model card; None where it has none that can be shown."""
    try:
        name = json.loads(card or b"{}").get("name")
    except (ValueError, AttributeError, RecursionError):
        return None
    return name if isinstance(name, str) and name.isprintable() and len(name) <= 128 else None


def _first(stage: LockedStage, makers: Mapping[str, LockedStage], done: set[str]) -> Iterator[Item]:
    """The outs of a stage, after those of every stage before it."""
    if stage.name in done:
        return
    done.add(stage.name)
    for dep in stage.deps:
        if dep.path in makers:
            yield from _first(makers[dep.path], makers, done)
    for out in stage.outs:
        if out.md5 and makers.get(out.path) is stage:
            yield out
