"""``cytoline audit subject``: everything that saw one patient, over all revisions that git knows.

Images, splits and patches are looked up by the pseudonym itself.  A model or a file of figures "saw" the patient where
the images stand behind it: where its stage, or one before it, read a data set version that holds them.  Its role
follows from the split behind it.  Originals (``data/raw``, ``data/incoming``) name people, not pseudonyms; only the
owner of the key can follow them, and they are not in the index.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from cytoline.audit.facts import DatasetFacts, ImageFacts, PatchFacts, Role, SeenBy, SplitFacts, SubjectFacts, Version
from cytoline.audit.index import lacking, open_index
from cytoline.audit.recording import CLEAN, IMAGES, MODELS, PATCHES, SPLIT, is_model
from cytoline.audit.revision import WORK_TREE, Cache
from cytoline.audit.view import date
from cytoline.errors import CytolineError
from cytoline.shards import shard_name, shard_number

Recorded = tuple[str, str | None, str | None, int]
"""Path, first commit and its time (None: the work tree alone), number of commits."""

_PSEUDONYM = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_ROLES: Mapping[str, Role] = {"train": "learned from", "val": "chosen on", "test": "held out"}
_MEASURED: Mapping[str, Role] = {"train": "derived from", "val": "derived from", "test": "measured on"}
_RANK: tuple[Role, ...] = ("learned from", "chosen on", "measured on", "held out", "derived from", "unknown")


def subject_of(patient: str, top: Path = Path()) -> SubjectFacts:
    """Everything that saw ``patient`` (a pseudonym).  Raises ``CytolineError`` for what is no pseudonym."""
    if not _PSEUDONYM.fullmatch(patient):
        raise CytolineError(
            "that is no pseudonym", "give the code that data/clean/manifest.jsonl has under `patient`, never a name"
        )
    with closing(open_index(top)) as index:
        return _Search(index, top, patient).facts()


class _Search:
    """One search."""

    def __init__(self, index: sqlite3.Connection, top: Path, patient: str) -> None:
        self._index = index
        self._cache = Cache.of(top)
        self._patient = patient
        self._versions = self._registered()
        self._history = self._read_history()
        self._splits_behind = self._read_splits_behind()

    def facts(self) -> SubjectFacts:
        images, holding = self._images()
        splits = self._splits()
        part_of = {one.md5: _first_part(one.parts) for one in splits}
        seen = self._seen(holding, part_of)
        (revisions,) = self._index.execute("SELECT count(*) FROM revisions").fetchone()
        return SubjectFacts(
            patient=self._patient,
            images=images,
            datasets=self._datasets(holding),
            splits=splits,
            patches=self._patches(),
            models=tuple(one for one in seen if is_model(one.path)),
            metrics=tuple(one for one in seen if one.path.startswith("metrics/")),
            others=tuple(one for one in seen if not one.path.startswith((MODELS, "metrics/", *IMAGES, *PATCHES))),
            revisions=revisions,
            missing=self._missing(),
        )

    def _images(self) -> tuple[tuple[ImageFacts, ...], dict[str, int]]:
        """The images, and how many of them each data set version holds."""
        rows = self._index.execute(
            "SELECT image_id, slide, source, sha256, file, file_md5, manifest_md5 FROM images WHERE patient = ? "
            "ORDER BY image_id, sha256, manifest_md5",
            (self._patient,),
        ).fetchall()
        together: dict[tuple[str, ...], list[str]] = {}
        holding: dict[str, int] = {}
        for *image, dataset in rows:
            together.setdefault(tuple(image), []).append(dataset)
            holding[dataset] = holding.get(dataset, 0) + 1
        found = []
        for (image_id, slide, source, sha256, file, md5), datasets in together.items():
            cached = bool(md5) and self._cache.path(md5).is_file()
            found.append(
                ImageFacts(
                    image_id=image_id,
                    slide=slide,
                    source=source,
                    sha256=sha256,
                    file=file,
                    file_md5=md5,
                    cached=cached,
                    datasets=tuple(datasets),
                )
            )
        return tuple(found), holding

    def _datasets(self, holding: Mapping[str, int]) -> tuple[DatasetFacts, ...]:
        found = []
        for md5, images in holding.items():
            for path, first, time, commits in self._recorded(md5):
                found.append(
                    DatasetFacts(path=path, md5=md5, images=images, first_commit=first, time=time, commits=commits)
                )
        return tuple(sorted(found, key=lambda one: (one.path, one.time or "~")))

    def _splits(self) -> tuple[SplitFacts, ...]:
        parts: dict[str, dict[str, int]] = {}
        rows = self._index.execute(
            "SELECT split_md5, part, count(*) FROM splits WHERE patient = ? GROUP BY split_md5, part", (self._patient,)
        )
        for md5, part, images in rows:
            parts.setdefault(md5, {})[part] = images
        found = []
        for md5, counts in parts.items():
            for _, first, _, commits in self._recorded(md5, SPLIT):
                found.append(SplitFacts(md5=md5, parts=counts, first_commit=first, commits=commits))
        return tuple(found)

    def _patches(self) -> tuple[PatchFacts, ...]:
        together: dict[str, list[str]] = {}
        images: dict[str, int] = {}
        rows = self._index.execute(
            "SELECT patches_md5, image_id, names FROM patches WHERE patient = ? ORDER BY image_id", (self._patient,)
        )
        for md5, image, names in rows:
            together.setdefault(md5, []).extend(image + name for name in names.split())
            images[md5] = images.get(md5, 0) + 1
        found = []
        for md5, names in together.items():
            count = self._shards(md5)
            shards = sorted({shard_name(shard_number(f"{name}.png", count)) for name in names}) if count else []
            for path, *_ in self._recorded(md5):
                found.append(
                    PatchFacts(
                        path=path,
                        md5=md5,
                        images=images[md5],
                        patches=len(names),
                        shards=tuple(shards),
                        names=tuple(names),
                    )
                )
        return tuple(sorted(found, key=lambda one: (one.path, one.md5)))

    def _shards(self, md5: str) -> int:
        """How many shards a folder has; 0 where its listing is gone."""
        listing = self._cache.listing(md5) or {}
        return sum(name.startswith("shard-") for name in listing)

    def _seen(self, holding: Mapping[str, int], part_of: Mapping[str, str]) -> tuple[SeenBy, ...]:
        """Whatever was made, directly or not, from a version of data/clean, or by a split, that holds the patient."""
        rows: set[tuple[str, str]] = set()
        for kind, known in (("clean", holding), ("split", part_of)):
            for ancestor in known:
                rows |= set(
                    self._index.execute(
                        "SELECT path, md5 FROM ancestors WHERE kind = ? AND ancestor = ?", (kind, ancestor)
                    ).fetchall()
                )
        names = dict(self._index.execute("SELECT digest, name FROM models"))
        found = []
        for path, md5 in rows:
            if path in (CLEAN, SPLIT):
                continue
            role = self._role(path, md5, part_of)
            for _, first, time, commits in self._recorded(md5, path):
                found.append(
                    SeenBy(
                        path=path,
                        md5=md5,
                        name=names.get(md5),
                        role=role,
                        first_commit=first,
                        time=time,
                        commits=commits,
                        registry=tuple(self._versions.get(md5, ())),
                    )
                )
        return tuple(sorted(found, key=lambda one: (one.path, one.time or "~", one.md5)))

    def _role(self, path: str, md5: str, part_of: Mapping[str, str]) -> Role:
        """The nearest use to learning, over every split behind it."""
        words: Mapping[str, Role] = _ROLES if is_model(path) else _MEASURED if path.startswith("metrics/") else {}
        unknown: Role = "unknown" if words else "derived from"
        roles = {words.get(part_of.get(split, ""), unknown) for split in self._splits_behind.get((md5, path), [])} or {
            unknown
        }
        return min(roles, key=_RANK.index)

    def _recorded(self, md5: str, path: str | None = None) -> list[Recorded]:
        """Where an out stands in history."""
        return [one for out, one in self._history.get(md5, {}).items() if path in (None, out)]

    def _read_history(self) -> dict[str, dict[str, Recorded]]:
        """Hash and path of every out to where it stands: one pass is quicker than a question for each."""
        found: dict[str, dict[str, Recorded]] = {}
        rows = self._index.execute(
            'SELECT o.md5, o.path, o."commit", r.time FROM outs o JOIN revisions r ON r."commit" = o."commit" '
            'ORDER BY o."commit" = ?, r.time, r.seq',
            (WORK_TREE,),
        )
        for md5, path, commit, time in rows:
            paths = found.setdefault(md5, {})
            first = paths.get(path)
            if first is not None:
                paths[path] = (*first[:3], first[3] + (commit != WORK_TREE))
            elif commit == WORK_TREE:
                paths[path] = (path, None, None, 0)
            else:
                paths[path] = (path, commit, date(time), 1)
        return found

    def _read_splits_behind(self) -> dict[tuple[str, str], list[str]]:
        found: dict[tuple[str, str], list[str]] = {}
        for md5, path, ancestor in self._index.execute(
            "SELECT md5, path, ancestor FROM ancestors WHERE kind = 'split'"
        ):
            found.setdefault((md5, path), []).append(ancestor)
        return found

    def _registered(self) -> dict[str, list[Version]]:
        found: dict[str, list[Version]] = {}
        rows = self._index.execute(
            "SELECT digest, name, version, aliases, run_id FROM versions WHERE digest IS NOT NULL"
        )
        for digest, name, version, aliases, run_id in rows:
            one = Version(name=name, version=version, aliases=tuple(aliases.split()), run_id=run_id)
            found.setdefault(digest, []).append(one)
        return found

    def _missing(self) -> tuple[str, ...]:
        """What could not be searched, so that nobody takes silence for absence."""
        words = []
        for md5, path, why in lacking(self._index):
            if is_model(path):
                continue  # whom a model saw is told by the data behind it, not by its files
            (models,) = self._index.execute(
                "SELECT count(DISTINCT md5) FROM ancestors WHERE ancestor = ? AND path LIKE 'models/%'", (md5,)
            ).fetchone()
            also = f", also for the {models} models made from it" if models else ""
            words.append(f"{path} {md5}: {why}; whether it holds this patient is unknown{also}")
        (why,) = self._index.execute(
            "SELECT coalesce(max(value), '') FROM meta WHERE key = 'registry missing'"
        ).fetchone()
        return (*words, *([why] if why else []))


def _first_part(parts: Mapping[str, int]) -> str:
    return next((part for part in ("train", "val", "test") if part in parts), "")
