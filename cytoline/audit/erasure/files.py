"""Files outside of DVC's stores: the work tree, MLflow's folders, ``.cytoline``, DVC's own notes about names.

Files are unlinked or replaced, never written in place: they may be hard links to DVC's cache.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cytoline.audit.erasure.marks import Marks
from cytoline.audit.erasure.memory import memo_to_drop
from cytoline.audit.erasure.objects import REFUSED, is_page, theirs
from cytoline.audit.erasure.person import Person
from cytoline.audit.erasure.prune import pruned
from cytoline.audit.erasure.stores import Stores
from cytoline.audit.erasure.tracked import Places
from cytoline.sources.params import INCOMING

CYTOLINE = Path(".cytoline")
MEMO, RESUME, KEYS, JOURNALS = CYTOLINE / "memo", CYTOLINE / "resume", CYTOLINE / "keys", CYTOLINE / "erasure"
INDEX = "lineage.sqlite"
SEALED = CYTOLINE / "sealed"
"""Lists of hashes of raw files, by which files of anybody can be known; a seal makes them anew from what is here."""
_SKIPPED = (Path(".git"), Path(".venv"))
"""At the top: git's objects are searched as its history; installed packages are declared as not read."""
_DERIVED = ("data", "metrics", "reports")


@dataclass(frozen=True)
class Change:
    """``content`` None: the file goes; else it is replaced."""

    path: Path
    content: bytes | None = field(default=None, repr=False)


@dataclass
class Files:
    """What is to be done, by place; ``attention``: files that a person has to look at."""

    by_place: dict[str, list[Change]] = field(default_factory=dict)
    attention: list[Path] = field(default_factory=list)
    memo_kept: int = 0
    shards: set[Path] = field(default_factory=set)
    """Folders of shards that go as a whole."""
    links_elsewhere: int = 0
    """Files of which the file system knows one more name that is in none of the places searched."""

    def add(self, place: str, change: Change) -> None:
        """Note one change."""
        self.by_place.setdefault(place, []).append(change)


def judge_files(person: Person, marks: Marks, stores: Stores, tainted: set[str], places: Places) -> Files:
    """``tainted``: outs of the work tree that are made of the person's data (pages among them are dropped)."""
    found = Files()
    for name, split in sorted(person.sources.items()):
        for path in sorted(split.mine):
            found.add("incoming", Change(INCOMING / name / path))
        for path, content in sorted(split.rewritten.items()):
            found.add("incoming", Change(INCOMING / name / path, content))
    known = {change.path for change in found.by_place.get("incoming", [])}
    for file in work_files(stores, places):
        if file not in known:
            _judge(file, marks, tainted, "work tree", found)
    for folder in places.folders:
        for file in below(folder):
            _judge(file, marks, set(), "MLflow artifacts", found)
    drop, found.memo_kept = memo_to_drop(MEMO, marks)
    for file in drop:
        found.add("memo store", Change(file))
    for file in below(RESUME):
        found.add("resume states", Change(file))  # weights half-way, made anew by training
    for file in own_notes():
        if file.name.startswith(INDEX) or file.is_relative_to(SEALED) or marks.found_in(file.read_bytes(), names=True):
            found.add(".cytoline", Change(file))
    return found


def work_files(stores: Stores, places: Places) -> Iterator[Path]:
    """Every file of the work tree outside of git's, DVC's, MLflow's and cytoline's own folders."""
    roots = {Path(store.root).resolve() for store in stores.all} | set(places.folders)
    skipped = {CYTOLINE.resolve(), *roots}
    database = {Path(f"{places.database}{end}").resolve() for end in ("", "-wal", "-shm", "-journal")}
    for folder, names, files in os.walk("."):
        here = Path(folder)
        names[:] = sorted(
            name for name in names if here / name not in _SKIPPED and (here / name).resolve() not in skipped
        )
        for name in sorted(files):
            path = here / name
            if path.is_file() and path.resolve() not in database:
                yield path


def own_notes() -> Iterator[Path]:
    """Files of ``.cytoline`` other than the memo store, resume states, keys and this module's journal."""
    for path in below(CYTOLINE):
        if not any(path.is_relative_to(one) for one in (MEMO, RESUME, KEYS, JOURNALS)):
            yield path


def below(folder: Path) -> Iterator[Path]:
    """Every file below a folder; none where there is no such folder."""
    for place, _, names in os.walk(folder):
        yield from (Path(place) / name for name in sorted(names) if (Path(place) / name).is_file())


def _judge(path: Path, marks: Marks, tainted: set[str], place: str, found: Files) -> None:
    if path.parent in found.shards:
        return
    content = path.read_bytes()
    named = path.name == REFUSED and marks.named(content)
    how = marks.found_in(content)
    if marks.coded(path.as_posix().encode()) and how is None:
        how = "code"
    if how is None and not named and not (path.as_posix() in tainted and is_page(content)):
        return
    if how == "in a tar" or (path.suffix == ".tar" and place == "work tree"):
        _drop_shards(path.parent, place, found)
        return
    fresh = None
    if how in (None, "code") and not is_page(content) and not marks.coded(path.name.encode()):
        fresh = pruned(path.name, content, lambda row: theirs(row, marks, named))
    managed = place != "work tree" or path.parts[0] in (*_DERIVED, ".dvc")
    if how == "packed" and path.is_relative_to(INCOMING):
        managed = False  # it may hold other people's originals
    if fresh is None and how != "whole file" and not managed:
        found.attention.append(path)
    elif fresh != content:
        found.add(place, Change(path, fresh))


def _drop_shards(folder: Path, place: str, found: Files) -> None:
    """A folder of shards without one of them is no folder of shards: all of it is made again."""
    found.shards.add(folder)
    found.by_place[place] = [c for c in found.by_place.get(place, []) if not c.path.is_relative_to(folder)]
    for path in below(folder):
        found.add(place, Change(path))


def count_links(paths: list[Path], marks: Marks) -> int:
    """Files among ``paths`` (all names that will go) that have yet another name somewhere on the file system."""
    names: Counter[tuple[int, int]] = Counter()
    links: dict[tuple[int, int], tuple[int, Path]] = {}
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        names[status.st_dev, status.st_ino] += 1
        links[status.st_dev, status.st_ino] = status.st_nlink, path
    more = [path for key, (number, path) in links.items() if number > names[key]]
    return sum(marks.found_in(path.read_bytes()) is not None for path in more)  # others' files have names that stay
