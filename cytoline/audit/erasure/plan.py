"""The plan: everything that an erasure would do, before anything is done."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cytoline.audit.erasure.dvc_index import indexes_with
from cytoline.audit.erasure.files import Files, count_links, judge_files
from cytoline.audit.erasure.history import History, search_history
from cytoline.audit.erasure.journal import Journal, reference_of
from cytoline.audit.erasure.lineage import Made
from cytoline.audit.erasure.marks import Marks
from cytoline.audit.erasure.objects import Objects, entries_of_runs, judge_objects
from cytoline.audit.erasure.person import Person, find_person, refuse_early
from cytoline.audit.erasure.stores import Store, Stores, open_stores
from cytoline.audit.erasure.tracked import Places, agreed, rows_with, tracking_places, versions_of
from cytoline.crosswalk import Crosswalk
from cytoline.errors import CytolineError
from cytoline.sources.params import INCOMING


@dataclass
class Plan:
    """Everything found.  ``as_json`` holds no name and no path of an original."""

    person: Person = field(repr=False)
    marks: Marks = field(repr=False)
    stores: Stores = field(repr=False)
    objects: Objects
    files: Files
    history: History
    journal: Journal
    withdraw: bool
    places: Places
    allowed: tuple[Path, ...]
    """Folders outside of the project that may be changed."""
    database_rows: int
    unsearched: tuple[str, ...]
    versions: list[tuple[str, str, str]] = field(default_factory=list)
    """Registered versions of models that learned from the person."""

    indexes: tuple[Path, ...] = ()
    """DVC's indexes of other projects that show the person and are left alone."""

    @property
    def database(self) -> Path | None:
        """MLflow's, where it may be changed."""
        return self.places.database

    @property
    def outside(self) -> tuple[Path, ...]:
        """What is left alone because it is outside of the project and nobody agreed to it."""
        return (*self.places.outside, *self.indexes)

    @property
    def models(self) -> list[Made]:
        """Every model that saw the person."""
        return self.objects.lineage.models

    @property
    def images(self) -> int:
        """How many images of the person there are, raw and clean."""
        return max(len(self.person.images), self.journal.images)

    @property
    def empty(self) -> bool:
        """Nothing of the person is here, but for what git's history holds."""
        return not (self.objects.gone or self.files.by_place or self.database_rows or self.crosswalk or self.stray())

    @property
    def crosswalk(self) -> bool:
        """Whether a crosswalk has to forget the person."""
        return isinstance(self.person.names, Crosswalk) and bool(self.person.raw)

    def in_store(self, store: Store) -> list[str]:
        """Names of everything that goes from one store of DVC's objects."""
        objects = store.objects()
        names = [name for md5 in sorted(self.objects.gone) for name in objects.get(md5, [])]
        return names + self.objects.runs.get(store.label, []) + self.stray(store)

    def stray(self, only: Store | None = None) -> list[str]:
        """Files in stores that are no objects (left by an interrupt) and show the person."""
        return [
            name
            for store in self.stores.all
            if only is None or store is only
            for name in store.others()
            if self.marks.found_in(store.read(name), names=True)
        ]

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "reference": self.journal.reference,
            "images": self.images,
            "sources": {name: len(split.mine) for name, split in sorted(self.person.sources.items())},
            "rewritten": sum(len(split.rewritten) for split in self.person.sources.values()),
            "places": {place: len(changes) for place, changes in sorted(self.files.by_place.items())},
            "stores": {store.label: len(self.in_store(store)) for store in self.stores.all},
            "objects": dict(sorted(Counter(self.objects.gone.values()).items())),
            "kept_without_the_person": len(self.objects.replaced),
            "shared_with_other_patients": len(self.objects.shared),
            "database_values": self.database_rows,
            "crosswalk": self.crosswalk,
            "models": [
                {"path": one.path, "digest": one.md5, "part": one.part, "learned": one.learned, "commits": one.commits}
                for one in self.models
            ],
            "versions": [f"{name}/{version}" for name, version, _ in self.versions],
            "withdraw_models": self.withdraw,
            "rebuild": sorted(self.objects.lineage.now),
            "history": {path: sum(counts.values()) for path, counts in sorted(self.shown_history().items())},
            "attention": len(self.files.attention),
            "links_elsewhere": self.files.links_elsewhere,
            "unsearched": list(self.unsearched),
            "outside": [str(path) for path in self.outside],
            "versions_not_read": len(self.person.unread),
        }

    def shown_history(self) -> dict[str, Counter[Any]]:
        """``history.files`` with incoming paths, which may name people, taken together."""
        shown: dict[str, Counter[Any]] = {}
        for path, counts in self.history.files.items():
            hidden = Path(path).is_relative_to(INCOMING) or self.marks.named(path.encode("utf-8", "surrogateescape"))
            shown.setdefault(INCOMING.as_posix() if hidden else path, Counter()).update(counts)
        return shown


def make_plan(pseudonym: str, withdraw: bool, allowed: tuple[Path, ...] = ()) -> Plan:
    """Read everything; change nothing.  ``allowed``: folders outside of the project that may be changed."""
    refuse_early(pseudonym)
    places = tracking_places(allowed)
    stores = open_stores(Path())
    journal = Journal.load(reference_of(pseudonym))
    person = find_person(pseudonym, stores)
    person.codes.update(journal.codes)
    person.digests.update(journal.digests)
    _require_sources(person)
    marks = person.marks()
    objects = judge_objects(person, marks, stores, Path())
    _recall(journal, objects)
    learned = {one.md5 for one in objects.lineage.models if one.learned}
    if withdraw:
        _withdraw_objects(learned, stores, objects)
    objects.runs = entries_of_runs(stores, objects.gone)
    files = judge_files(person, marks, stores, objects.lineage.now, places)
    database = places.database
    plan = Plan(
        person=person,
        marks=marks,
        stores=stores,
        objects=objects,
        files=files,
        history=search_history(marks),
        journal=journal,
        withdraw=withdraw,
        places=places,
        allowed=allowed,
        indexes=tuple(one for one in indexes_with(marks) if not agreed(one, allowed)),
        database_rows=rows_with(database, marks) if database is not None else 0,
        unsearched=(*stores.unreachable, *places.unsearched),
        versions=versions_of(learned, database),
    )
    paths = [change.path for changes in files.by_place.values() for change in changes]
    paths += [Path(stores.cache.root) / name for name in plan.in_store(stores.cache)]
    files.links_elsewhere = count_links(paths, marks)
    return plan


def _recall(journal: Journal, objects: Objects) -> None:
    """What an interrupted run had found and may have taken away already."""
    for md5, why in journal.gone.items():
        objects.gone.setdefault(md5, why)
    objects.private.update(journal.private)
    objects.shared.update(journal.shared)
    objects.replaced = {**journal.replaced, **objects.replaced}
    lineage = objects.lineage
    known = {(one.path, one.md5): one for one in lineage.models}
    known |= {(path, md5): Made(path, md5, part, tuple(seen)) for path, md5, part, seen in journal.models}
    lineage.models = [known[key] for key in sorted(known)]
    lineage.now.update(journal.rebuild)


def _require_sources(person: Person) -> None:
    """A source that only DVC's cache holds cannot be recorded anew without its files."""
    from cytoline.audit.revision import Revision

    for item in Revision.work_tree().sources:
        split = person.versions.get(item.md5)
        if split is not None and split.mine and not Path(item.path).is_dir():
            raise CytolineError(
                f"{item.path} holds files of this person and is not checked out", f"`dvc pull {item.path}.dvc` first"
            )


def _withdraw_objects(digests: set[str], stores: Stores, objects: Objects) -> None:
    """Weights go with every file of their folder that no other folder has."""
    listings = stores.listings()
    kept = {inner for md5, rows in listings.items() if md5 not in digests for inner in rows.values()}
    for md5 in digests & set(listings):
        objects.gone[md5] = "withdrawn model"
        for inner in set(listings[md5].values()) - kept:
            objects.gone[inner] = "withdrawn model"
