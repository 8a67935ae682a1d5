"""``cytoline audit model``: how one model came to be, each fact from the place that proves it.

Stages, inputs and params come from ``dvc.lock``, code and packages from git, patients from the manifest that the lock
names, the run from MLflow.  Where two of them contradict each other both are said (``notes``); what is not there
is said as missing.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from cytoline.audit.ancestry import Ancestry, Locks
from cytoline.audit.code import Code
from cytoline.audit.facts import ModelFacts, PartFacts, RunFacts, StageFacts, Version
from cytoline.audit.index import open_index
from cytoline.audit.recording import CARD
from cytoline.audit.registry import open_store
from cytoline.audit.resolve import Named, resolve
from cytoline.audit.revision import WORK_TREE, Cache, Revision

REQUIREMENTS = "requirements.lock"
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)")
_PLAIN = ("stage", "repro", "tracking")
"""What a run says of itself that is no fact about its machine."""


def facts_of(ref: str, top: Path = Path()) -> ModelFacts:
    """All that is known of the model ``ref``: a path (``models/classifier``, ``REVISION:models/classifier``), a sha256
    of weights, a DVC hash of the folder, ``name@alias`` or ``name/version``.

    Raises ``CytolineError`` where no revision that git knows holds such a model.
    """
    with closing(open_index(top)) as index:
        return _Gathering(index, top).facts(resolve(index, ref, top), ref)


class _Gathering:
    """One answer on its way."""

    def __init__(self, index: sqlite3.Connection, top: Path) -> None:
        self._index = index
        self._top = top
        self._cache = Cache.of(top)
        self._locks = Locks(top)
        self.missing: list[str] = []
        self.notes: list[str] = []

    def facts(self, model: Named, ref: str) -> ModelFacts:
        ancestry = Ancestry(self._index, self._locks)
        stages = ancestry.stages(model.path, model.digest, model.first)
        self.missing += ancestry.missing
        registry, run = self._registry(model)
        recorded = None if model.first == WORK_TREE else model.first
        commit = (run.commit if run else None) or recorded
        dirty = self._dirty(stages, commit, run)
        card = self._card(model)
        lock, packages = self._packages(commit, stages)
        self._lies_there(model, ref)
        return ModelFacts(
            name=model.name,
            path=model.path,
            digest=model.digest,
            weights_sha256=model.weights_sha256,
            commit=commit,
            dirty=dirty,
            recorded=recorded,
            lock_sha256=lock,
            python=self._python(card, run),
            packages=packages,
            stages=stages,
            seed=_seed(stages, card),
            splits=self._splits(model),
            sources=self._sources(model),
            metrics=self._metrics(model),
            card=card,
            registry=registry,
            run=run,
            notes=tuple(self.notes),
            missing=tuple(self.missing),
        )

    def _registry(self, model: Named) -> tuple[tuple[Version, ...], RunFacts | None]:
        store = open_store(self._top)
        rows = self._index.execute(
            "SELECT name, version, aliases, run_id, claimed FROM versions WHERE digest = ? ORDER BY version",
            (model.digest,),
        ).fetchall()
        for name, version, _, _, claimed in rows:
            if claimed != model.digest:
                self.notes.append(
                    f"the tag of {name}/{version} in MLflow gives the digest {claimed}, but the weights among its "
                    f"artifacts are those of {model.digest}"
                )
        if isinstance(store, str):
            self.missing.append(store)
            return (), None
        versions = tuple(
            Version(name=name, version=version, aliases=tuple(aliases.split()), run_id=run_id)
            for name, version, aliases, run_id, _ in rows
        )
        if not versions:
            self.missing.append("MLflow's registry has no version of this model")
        run_id = next((one.run_id for one in reversed(versions) if one.run_id), None)
        run = store.run(run_id) if run_id else None
        if versions and run is None:
            self.missing.append("MLflow has no run of this model")
        if run is not None and not any(key not in _PLAIN and not key.startswith("system/") for key in run.system):
            self.missing.append("processor, driver, container and determinism: the run does not record them")
        return versions, run

    def _dirty(self, stages: tuple[StageFacts, ...], commit: str | None, run: RunFacts | None) -> bool | None:
        """By the hashes: whether the code and params that ran are those of ``commit``."""
        if commit is None:
            self.missing.append("no commit records this model: its code may differ from every commit")
            return None
        with Code(self._top, commit) as code:
            if not code.known():
                self.missing.append(f"git does not know the commit {commit[:12]}, with which the run says it trained")
                return None if run is None else run.dirty
            differing = code.differing(stages)
        if differing:
            shown = ", ".join(differing[:5]) + (f" and {len(differing) - 5} more" if len(differing) > 5 else "")
            self.notes.append(f"what ran differs from commit {commit[:12]} in: {shown}")
        if run is not None and run.dirty is False and differing:
            self.notes.append("MLflow's run says that its code was that of the commit; the hashes in dvc.lock deny it")
        return bool(differing) or bool(run and run.dirty)

    def _card(self, model: Named) -> Mapping[str, Any] | None:
        listing = self._cache.listing(model.digest)
        content = None if listing is None or CARD not in listing else self._cache.read(listing[CARD])
        if content is None:
            self.missing.append(f"the files of the model ({model.digest}) are not in DVC's cache: no card, no weights")
            return None
        try:
            card = json.loads(content)
        except (ValueError, RecursionError):
            card = None
        if not isinstance(card, dict):
            self.missing.append("the model's card is no JSON object")
            return None
        return card

    def _packages(self, commit: str | None, stages: tuple[StageFacts, ...]) -> tuple[str | None, Mapping[str, str]]:
        wanted = {item.md5 for stage in stages[-1:] for item in stage.code if item.path == REQUIREMENTS}
        revision = Revision.work_tree(self._top) if commit is None else Revision(commit, commit, self._top)
        content = revision.read(REQUIREMENTS)
        if content is None:
            self.missing.append(f"{revision.name[:12]} has no {REQUIREMENTS}: the packages are unknown")
            return None, {}
        if wanted and hashlib.md5(content, usedforsecurity=False).hexdigest() not in wanted:
            self.missing.append(f"the {REQUIREMENTS} that was used is not that of {revision.name[:12]}")
            return None, {}
        return hashlib.sha256(content).hexdigest(), pinned(content)

    def _python(self, card: Mapping[str, Any] | None, run: RunFacts | None) -> str | None:
        told = (run.system.get("python") if run else None) or ((card or {}).get("versions") or {}).get("python")
        if told is None:
            self.missing.append("the version of Python: neither the run nor the card names it")
        return None if told is None else str(told)

    def _splits(self, model: Named) -> Mapping[str, PartFacts]:
        rows = self._index.execute(
            "SELECT part, count(DISTINCT patient), count(*) FROM splits WHERE split_md5 = ? GROUP BY part",
            (model.split_md5,),
        ).fetchall()
        if not rows:
            self._absent("split", model.split_md5)
        return {part: PartFacts(patients=patients, images=images) for part, patients, images in rows}

    def _sources(self, model: Named) -> tuple[str, ...]:
        rows = self._index.execute("SELECT DISTINCT source FROM images WHERE manifest_md5 = ?", (model.clean_md5,))
        found = tuple(sorted(row[0] for row in rows))
        if not found:
            self._absent("manifest of the images", model.clean_md5)
        return found

    def _absent(self, what: str, md5: str | None) -> None:
        why = self._index.execute("SELECT why FROM lacking WHERE md5 = ?", (md5,)).fetchone()
        if md5 is None:
            self.missing.append(f"the {what}: dvc.lock does not say which it was")
        else:
            self.missing.append(f"the {what} ({md5}) {'holds nothing' if why is None else why[0]}")

    def _metrics(self, model: Named) -> Mapping[str, float]:
        """Of the first revision whose metrics were computed with this very model."""
        rows = self._index.execute(
            'SELECT d."commit", o.path, o.md5 FROM deps d JOIN outs o ON o."commit" = d."commit" AND o.stage = d.stage '
            'JOIN revisions r ON r."commit" = d."commit" WHERE d.md5 = ? AND d.path = ? AND o.path LIKE ? '
            'ORDER BY d."commit" = ?, r.time, r.seq, o.path',
            (model.digest, model.path, "metrics/%.json", WORK_TREE),
        ).fetchall()
        figures: dict[str, float] = {}
        for commit, path, md5 in rows:
            if commit != rows[0][0]:
                break
            content = self._locks.at(commit).read(path)
            if content is None or hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
                content = self._cache.read(md5)
            if content is None:
                self.missing.append(
                    f"{path} as {commit[:12]} records it ({md5[:12]}) is neither in git nor in the cache"
                )
            else:
                figures |= leaves(Path(path).stem, content)
        if not rows:
            self.missing.append("no revision records metrics of this model")
        return figures

    def _lies_there(self, model: Named, ref: str) -> None:
        """Where the model is asked for by path, whether the weights in the work tree are the recorded ones."""
        file = self._top / model.path / "weights.safetensors"
        if ref.rstrip("/").removeprefix("./") != model.path or not file.is_file() or model.weights_sha256 is None:
            return
        with file.open("rb") as handle:
            if hashlib.file_digest(handle, "sha256").hexdigest() != model.weights_sha256:
                self.notes.append(f"{model.path}/weights.safetensors in the work tree is not what dvc.lock records")


def pinned(lock: bytes) -> dict[str, str]:
    """Package to version, of a lock file."""
    lines = lock.decode("utf-8", errors="replace").splitlines()
    return {found[1]: found[2] for line in lines if (found := _PINNED.match(line))}


def leaves(prefix: str, content: bytes) -> dict[str, float]:
    """Every number of a JSON file of metrics, by its address (``classifier.per_class.HSIL.sensitivity``)."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    found: dict[str, float] = {}
    waiting: list[tuple[str, Any]] = [(prefix, document)]
    while waiting:
        address, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{address}.{key}", one) for key, one in value.items()]
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[address] = float(value)
    return dict(sorted(found.items()))


def _seed(stages: tuple[StageFacts, ...], card: Mapping[str, Any] | None) -> int | None:
    told = [stage.params["seed"] for stage in stages[-1:] if "seed" in stage.params] or [(card or {}).get("seed")]
    return told[0] if isinstance(told[0], int) else None
