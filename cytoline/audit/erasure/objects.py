"""Which of DVC's objects hold the person, and what takes the place of those that also hold other people's originals.

An object cannot be changed: its name is its hash.  One that holds the person goes; a folder's listing, a manifest or an
annotation file that names other people as well is kept without the person under its new hash, so that the files
of the others stay within reach.  Shards and pages are not: they can be made again from what stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from cytoline.audit.erasure.lineage import Lineage, run_entry, trace
from cytoline.audit.erasure.marks import How, Marks
from cytoline.audit.erasure.person import Person, source_names
from cytoline.audit.erasure.prune import pruned
from cytoline.audit.erasure.stores import FOLDER, Stores, folder_object
from cytoline.progress import track
from cytoline.sources.schema import SOURCE_FILE

REFUSED = "refused.jsonl"
"""Collect's list of what it left out: it holds names of files and no codes."""

Why = How | str


@dataclass
class Objects:
    """``gone``: md5 -> why; ``fresh``: md5 -> content of what takes a place; ``replaced``: old md5 -> new md5."""

    gone: dict[str, Why] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    """Those of ``gone`` that may identify somebody: originals and lists of them."""
    fresh: dict[str, bytes] = field(default_factory=dict, repr=False)
    replaced: dict[str, str] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)
    """Objects that are another patient's as well, byte for byte, and stay."""
    lineage: Lineage = field(default_factory=Lineage)
    runs: dict[str, list[str]] = field(default_factory=dict)
    """Store -> entries of the run-cache that tell of objects that are gone."""
    unknown_pages: set[str] = field(default_factory=set)
    """Pages that no version accounts for, in stores that may be shared with other projects."""


def judge_objects(person: Person, marks: Marks, stores: Stores, top: Path) -> Objects:
    """Read every object of every store once, and decide."""
    found = Objects()
    pages: set[str] = set()
    logs = {md5 for rows in stores.listings().values() for path, md5 in rows.items() if _last(path) == REFUSED}
    rows_of = stores.listings()
    originals = {inner for md5 in source_names() for inner in rows_of.get(md5, {}).values()}
    places = stores.md5s()
    files = sorted(md5 for md5 in places if not md5.endswith(FOLDER))
    for md5 in track(files, len(files), "reading DVC objects"):
        store, name = places[md5]
        content = store.read(name)
        how = marks.found_in(content)
        if how is None and md5 in logs and marks.named(content):
            how = "name"
        if how == "packed" and md5 in originals:
            continue  # it may hold other people's originals; the proof names it, and a person has to look
        if how is not None:
            found.gone[md5] = how
        if is_page(content):
            pages.add(md5)
        if hashlib.sha256(content).hexdigest() in marks.digests & marks.others:
            found.shared.add(md5)
    _of_sources(person, stores, found)
    _folders(marks, stores, found)
    _pages(person, stores, found, pages, top)
    _replace(person, marks, stores, found)
    return found


def entries_of_runs(stores: Stores, gone: Container[str]) -> dict[str, list[str]]:
    """Store -> entries of DVC's run-cache that tell of objects that go: nothing can be restored from them."""
    found: dict[str, list[str]] = {}
    for store in stores.all:
        for name in store.runs():
            stage = run_entry(store.read(name))
            items = [item.md5 for item in (*stage.deps, *stage.outs)] if stage is not None else []
            if any(md5 in gone for md5 in items):
                found.setdefault(store.label, []).append(name)
    return found


def is_page(content: bytes) -> bool:
    """An HTML file."""
    return content[:64].lstrip().lower().startswith((b"<!doctype html", b"<html"))


def _of_sources(person: Person, stores: Stores, found: Objects) -> None:
    for md5, split in person.versions.items():
        rows = stores.listings()[md5]
        for path in split.mine | set(split.rewritten):
            inner = rows.get(path)
            if inner is not None and inner not in found.shared:
                found.gone.setdefault(inner, "incoming")
                found.private.add(inner)


def _folders(marks: Marks, stores: Stores, found: Objects) -> None:
    """A listing goes if it lists what goes, or names an image of the person (whose file may be gone already)."""
    for md5, rows in stores.listings().items():
        coded = any(marks.coded(path.encode()) for path in rows)
        if coded or any(inner in found.gone for inner in rows.values()):
            found.gone[md5] = "listing"
        if md5 in found.gone and (SOURCE_FILE in rows or REFUSED in rows):
            found.private |= {md5, *(inner for inner in rows.values() if inner in found.gone)}


def _pages(person: Person, stores: Stores, found: Objects, pages: set[str], top: Path) -> None:
    """Pages show pictures coded anew, which no search finds: those go whose version held the person."""
    for md5, split in person.versions.items():
        if split.mine:
            found.gone.setdefault(md5, "listing")
            found.private.add(md5)
    found.lineage = trace(found.gone, stores, person.parts)
    own = Path(stores.cache.root).resolve().is_relative_to(top.resolve())
    unaccounted = pages - found.lineage.pages - found.lineage.clean_pages - set(found.gone)
    local = {md5 for md5 in unaccounted if own and md5 in stores.cache.objects()}
    for md5 in (pages & found.lineage.pages) | local:
        found.gone.setdefault(md5, "page")
    found.unknown_pages = unaccounted - local


def _replace(person: Person, marks: Marks, stores: Stores, found: Objects) -> None:
    """Folders of whole files (no shards) get a listing, manifests and annotations without the person."""
    places = stores.md5s()
    for md5 in sorted(md5 for md5 in found.gone if md5 in stores.listings()):
        rows = dict(stores.listings()[md5])
        split = person.versions.get(md5)
        if any(path.endswith(".tar") for path in rows):
            continue
        for path, inner in list(rows.items()):
            fresh = split.rewritten.get(path) if split is not None else None
            if (split is not None and path in split.mine) or marks.coded(path.encode()):
                del rows[path]
            elif fresh is None and inner not in found.gone:
                continue
            else:
                if fresh is None and inner in places:
                    store, name = places[inner]
                    private = _last(path) == REFUSED
                    fresh = pruned(path, store.read(name), lambda row, p=private: theirs(row, marks, p))  # type: ignore[misc]
                if fresh is None:
                    del rows[path]
                else:
                    rows[path] = _keep(found, fresh)
        if rows:
            new, content = folder_object(rows)
            found.fresh[new] = content
            found.replaced[md5] = new


def theirs(row: bytes, marks: Marks, names: bool) -> bool:
    """Whether a row is the person's; ``names``: go by names, too."""
    return marks.coded(row) or (names and marks.named(row))


def _keep(found: Objects, content: bytes) -> str:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    found.fresh[md5] = content
    return md5


def _last(path: str) -> str:
    return PurePosixPath(path).name
