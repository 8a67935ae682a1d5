"""What is released: one model at one state of the repository, its ancestors in order, the contents behind the hashes.

Everything is read by hash, from DVC's cache or from a file of the work tree that has that hash; nothing else enters.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from cytoline.audit.resolve import check_ref
from cytoline.audit.revision import FOLDER, Cache, Item, LockedStage, Revision
from cytoline.errors import CytolineError

MODEL_CARD = "model_card.json"
WEIGHTS = "weights.safetensors"
_METRICS = "metrics"


@dataclass(frozen=True)
class Release:
    """``path`` and ``item`` are the model's out; ``revision`` is the state whose ``dvc.lock`` records it."""

    path: str
    item: Item
    revision: Revision
    cache: Cache
    ended: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    """Stage to start and end of its run (ISO 8601) where MLflow knows them."""

    @property
    def commit(self) -> str | None:
        """Full hash, or None: not committed."""
        return self.revision.commit

    @cached_property
    def time(self) -> datetime:
        """When that state was committed; now, where it was not."""
        if self.commit is None:
            return datetime.now(UTC).replace(microsecond=0)
        words = ["git", "-C", str(self.revision.top), "show", "-s", "--format=%ct", self.commit]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
        return datetime.fromtimestamp(int(done.stdout.strip()), UTC)

    @cached_property
    def card(self) -> Mapping[str, Any]:
        """The model's own card."""
        content = self.content(self.item, MODEL_CARD)
        try:
            card = json.loads(content or b"")
        except ValueError:
            card = None
        if not isinstance(card, dict) or not isinstance(card.get("files"), dict) or not card.get("name"):
            raise CytolineError(
                f"{self.path} has no readable {MODEL_CARD}",
                f"`dvc checkout {self.path}`, or train it again with `dvc repro`",
            )
        return card

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.card["name"])

    @property
    def weights_sha256(self) -> str:
        """sha256 of the weights as the card states it (compared when the file is copied)."""
        return str(self.card["files"].get(WEIGHTS, ""))

    @cached_property
    def stages(self) -> tuple[LockedStage, ...]:
        """The stages that led to the model, from the source on, then those that measured just this model."""
        made = _ancestors(self.revision, self.path)
        return (*made, *(one for one in self.judges if one.name not in {stage.name for stage in made}))

    @cached_property
    def judges(self) -> tuple[LockedStage, ...]:
        """Stages that wrote metrics from this very model (same hash)."""
        return tuple(
            stage
            for stage in self.revision.stages.values()
            if any(dep.path == self.path and dep.md5 == self.item.md5 for dep in stage.deps)
            and any(PurePosixPath(out.path).parts[0] == _METRICS for out in stage.outs)
        )

    def content(self, item: Item, name: str | None = None) -> bytes | None:
        """A file out, or the file ``name`` of a folder out; None where neither cache nor work tree has these bytes."""
        wanted = item.md5 if name is None else (self.listing(item) or {}).get(name)
        if wanted is None or wanted.endswith(FOLDER):
            return None
        place = item.path if name is None else f"{item.path}/{name}"
        for found in self._copies(wanted, place):
            if found is not None and _md5(found) == wanted:
                return found
        return None

    def _copies(self, md5: str, place: str) -> Iterator[bytes | None]:
        yield self.cache.read(md5)
        yield _file(self.revision.top / place)
        yield self.revision.read(place)

    def listing(self, item: Item) -> Mapping[str, str] | None:
        """Relative names of a folder out with their md5; from the cache, else from a work tree that has the hash."""
        return self.cache.listing(item.md5) or _listed(self.revision, item)

    def out(self, path: str) -> Item | None:
        """An ancestor's out by its path."""
        return next((out for stage in self.stages for out in stage.outs if out.path == path), None)

    def metrics(self) -> Iterator[tuple[str, bytes]]:
        """Path and content of every file of metrics of this model."""
        for item in (out for stage in self.judges for out in stage.outs):
            names: Sequence[str | None] = [None]
            if item.md5.endswith(FOLDER):
                names = sorted(self.listing(item) or {})
            for name in names:
                content = self.content(item, name)
                if content is None:
                    raise CytolineError(
                        f"{item.path} is not what dvc.lock of {self.revision.name} records",
                        "`dvc status`, then `dvc repro` and commit metrics together with dvc.lock",
                    )
                yield item.path if name is None else f"{item.path}/{name}", content


def find(ref: str, top: Path = Path()) -> Release:
    """The model that ``ref`` names.  Raises ``CytolineError`` where nothing does.

    A path is looked up here; a sha256 or a name of the registry is asked of ``cytoline.audit.model.facts_of``, as are
    the times of the run.
    """
    check_ref(ref)
    path = ref.removeprefix("./").rstrip("/")
    named = Revision.work_tree(top).out(path) is None  # not a path: a hash, or a name of the registry
    facts = _facts(ref, top, needed=named)
    commit, digest = (_recorded(facts), facts.digest) if named else (None, None)
    path = facts.path if named else path
    for revision in _states(top, commit):
        item = revision.out(path)
        if item is not None and digest in (None, item.md5):
            return Release(path, item, revision, Cache.of(top), _times(facts))
    raise CytolineError(f"dvc.lock knows no model {ref!r}", "`dvc repro` makes it; try `models/classifier`")


def _states(top: Path, commit: str | None) -> Iterator[Revision]:
    """Where to look: the commit that was named, or HEAD if its lock is the one of the work tree, or the work tree."""
    here = Revision.work_tree(top)
    if commit is not None:
        yield Revision.at(commit, top)
        return
    try:
        head = Revision.at("HEAD", top)
    except CytolineError:
        head = None
    if head is not None and head.read("dvc.lock") == here.read("dvc.lock"):
        yield head
    yield here


def _facts(ref: str, top: Path, needed: bool) -> Any:
    """``ModelFacts`` of the model; None where they are not needed and cannot be had."""
    try:
        from cytoline.audit.model import facts_of  # type: ignore[import-not-found, import-untyped, unused-ignore]

        return facts_of(ref, top)
    except ImportError:
        if needed:
            remedy = "give its path, for example `models/classifier`"
            raise CytolineError(f"dvc.lock knows no model {ref!r}", remedy) from None
    except CytolineError:
        if needed:
            raise
    return None


def _recorded(facts: Any) -> str | None:
    """The first commit whose lock holds the model; None: only the work tree does."""
    found: str | None = facts.recorded if hasattr(facts, "recorded") else facts.commit
    return found


def _times(facts: Any) -> Mapping[str, tuple[str | None, str | None]]:
    if facts is None or facts.run is None or not facts.stages:
        return {}
    return {facts.stages[-1].name: (facts.run.started, facts.run.ended)}


def _ancestors(revision: Revision, path: str) -> tuple[LockedStage, ...]:
    """Stages upstream of an out and its own, each behind all that it reads from."""
    order: dict[str, LockedStage] = {}
    makers = {out.path: stage for stage in revision.stages.values() for out in stage.outs}

    def visit(stage: LockedStage, above: Sequence[str]) -> None:
        if stage.name in order or stage.name in above:
            return
        for dep in stage.deps:
            maker = next((makers[name] for name in _prefixes(dep.path) if name in makers), None)
            if maker is not None:
                visit(maker, (*above, stage.name))
        order[stage.name] = stage

    last = revision.producer(path)
    if last is not None:
        visit(last, ())
    return tuple(order.values())


def _prefixes(path: str) -> Iterator[str]:
    pure = PurePosixPath(path)
    yield from (str(one) for one in (pure, *pure.parents) if str(one) != ".")


def _listed(revision: Revision, item: Item) -> Mapping[str, str] | None:
    """DVC's rule: md5 of the JSON list of names with their md5, sorted by name."""
    folder = revision.top / item.path
    if not item.md5.endswith(FOLDER) or not folder.is_dir():
        return None
    files = {one.relative_to(folder).as_posix(): _md5(one.read_bytes()) for one in folder.rglob("*") if one.is_file()}
    rows = [{"md5": files[name], "relpath": name} for name in sorted(files)]
    return files if _md5(json.dumps(rows, sort_keys=True).encode()) + FOLDER == item.md5 else None


def _file(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
