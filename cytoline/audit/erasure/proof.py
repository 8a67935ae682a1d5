"""Proof of absence: every store is read again, from the disk, for hashes, contents, codes and names."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cytoline.audit.erasure.dvc_index import site_cache
from cytoline.audit.erasure.files import MEMO, RESUME, below, own_notes, work_files
from cytoline.audit.erasure.marks import Marks
from cytoline.audit.erasure.packing import unreadable
from cytoline.audit.erasure.plan import Plan
from cytoline.audit.erasure.stores import open_stores
from cytoline.audit.erasure.tracked import rows_with, tracking_places
from cytoline.crosswalk import Crosswalk, crosswalk_path
from cytoline.progress import track

_JOURNALS = Path(".cytoline/erasure")


@dataclass
class Proof:
    """``scanned``: place -> files read; ``left``: place -> what was found there, by how."""

    scanned: Counter[str] = field(default_factory=Counter)
    left: dict[str, Counter[str]] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list, repr=False)
    """Where; for the one who has to look, never for the certificate."""
    names: int = 0
    """Names that were looked for; 0 where a resumed run could not learn them any more."""
    unsearched: tuple[str, ...] = ()
    blind: list[str] = field(default_factory=list, repr=False)
    """Files that are packed and cannot be read into."""

    @property
    def remains(self) -> int:
        """How many files still show the person."""
        return sum(sum(counts.values()) for counts in self.left.values())

    def note(self, place: str, path: str, how: str) -> None:
        """One file in which the person was found."""
        self.left.setdefault(place, Counter())[how] += 1
        self.paths.append(f"{place}: {path}")

    def as_json(self) -> dict[str, Any]:
        """Counts only."""
        return {
            "files_read": dict(sorted(self.scanned.items())),
            "left": {place: dict(sorted(counts.items())) for place, counts in sorted(self.left.items())},
            "names_searched": self.names,
            "not_searched": list(self.unsearched),
            "cannot_be_read_into": len(self.blind),
            "not_read": [".venv"] if Path(".venv").is_dir() else [],
        }


def prove(plan: Plan) -> Proof:
    """Read everything again.  Git's objects are not part of it: what they hold is declared in the certificate."""
    stores = open_stores(Path())
    places = tracking_places(plan.allowed)
    database, left = places.database, len(places.outside)
    outside = (f"MLflow, {left} places outside of the project",) if left else ()
    proof = Proof(names=len(plan.marks.searchable), unsearched=(*stores.unreachable, *places.unsearched, *outside))
    for store in stores.all:
        gone = set(plan.objects.gone)
        objects = {name: md5 for md5, names in store.objects().items() for name in names}
        names = store.names()
        for name in track(names, len(names), f"searching {store.label}"):
            proof.scanned[store.label] += 1
            if objects.get(name) in gone:
                proof.note(store.label, name, "erased object")
            else:
                _look(proof, store.label, name, store.read(name), plan.marks)
    _files(proof, "work tree", list(work_files(stores, places)), plan.marks)
    for folder in places.folders:
        _files(proof, "MLflow artifacts", list(below(folder)), plan.marks)
    _files(proof, "memo store", list(below(MEMO)), plan.marks)
    _files(proof, ".cytoline", [*own_notes(), *below(RESUME)], plan.marks)
    if database is not None:
        proof.scanned["MLflow database"] += 1
        for _ in range(rows_with(database, plan.marks)):
            proof.note("MLflow database", database.name, "value")
        _files(proof, "MLflow database", sorted(Path().glob(f"{database.name}*")), plan.marks)
    if isinstance(plan.person.names, Crosswalk) and crosswalk_path().is_file():
        _files(proof, "crosswalk", [crosswalk_path()], plan.marks)
    _outside(proof, plan.marks)
    return proof


def _files(proof: Proof, place: str, paths: list[Path], marks: Marks) -> None:
    for path in paths:
        proof.scanned[place] += 1
        content = path.read_bytes()
        if _look(proof, place, path.as_posix(), content, marks):
            continue
        if marks.coded(path.as_posix().encode()) or marks.named(str(path).encode("utf-8", "replace")):
            proof.note(place, path.as_posix(), "name")


def _look(proof: Proof, place: str, path: str, content: bytes, marks: Marks) -> bool:
    how = marks.found_in(content, names=True)
    if how is not None:
        proof.note(place, path, how)
    elif unreadable(content):
        proof.blind.append(f"{place}: {path}")
    return how is not None


def _outside(proof: Proof, marks: Marks) -> None:
    """DVC's indexes outside the project, as far as they are this user's."""
    _files(proof, "DVC's index", [path for path in below(site_cache().parent) if os.access(path, os.R_OK)], marks)
