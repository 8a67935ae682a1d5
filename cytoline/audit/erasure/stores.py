"""Places that hold DVC's objects: the cache and every configured remote, in one form.

Remotes are opened by DVC's own file systems, so that whatever DVC can push to can be searched and emptied.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cytoline.errors import CytolineError

_OBJECT = re.compile(r"^(?:files/md5/)?([0-9a-f]{2})/([0-9a-f]{30}(?:\.dir)?)$")
_RUN = re.compile(r"^runs/[0-9a-f]{2}/[0-9a-f]{64}/[0-9a-f]{64}$")
FOLDER = ".dir"


@dataclass
class Store:
    """Files below ``root`` of a file system; ``label`` is what people are shown."""

    label: str
    fs: Any = field(repr=False)
    root: str = field(repr=False)
    _names: list[str] | None = field(default=None, repr=False)

    def names(self) -> list[str]:
        """Every file, relative to the root."""
        if self._names is None:
            there = self.fs.exists(self.root)
            found = [self.fs.relpath(path, self.root) for path in self.fs.find(self.root)] if there else []
            self._names = sorted(name.replace("\\", "/") for name in found)
        return self._names

    def read(self, name: str) -> bytes:
        """The content of a file."""
        with self.fs.open(self._path(name), "rb") as handle:
            return bytes(handle.read())

    def has(self, name: str) -> bool:
        """Whether the file is there now."""
        return bool(self.fs.exists(self._path(name)))

    def delete(self, name: str) -> None:
        """Take a file away; fine if it is gone already."""
        if self.has(name):
            self.fs.remove(self._path(name))
        self._names = None

    def add(self, name: str, content: bytes) -> None:
        """Keep a file, whole or not at all."""
        path = self._path(name)
        if self.has(name):
            return
        self.fs.makedirs(self.fs.parent(path), exist_ok=True)
        self.fs.pipe_file(path + ".tmp", content)
        self.fs.mv(path + ".tmp", path)
        self._names = None

    def objects(self) -> dict[str, list[str]]:
        """md5 (a folder's ends in ``.dir``) -> names; two where an older DVC's layout is there, too."""
        found: dict[str, list[str]] = {}
        for name in self.names():
            if match := _OBJECT.match(name):
                found.setdefault(match.group(1) + match.group(2), []).append(name)
        return found

    def runs(self) -> list[str]:
        """Entries of DVC's run-cache."""
        return [name for name in self.names() if _RUN.match(name)]

    def others(self) -> list[str]:
        """Files that are neither objects nor entries of the run-cache (left by an interrupt, or put there by hand)."""
        return [name for name in self.names() if not _OBJECT.match(name) and not _RUN.match(name)]

    def _path(self, name: str) -> str:
        return str(self.fs.join(self.root, *name.split("/")))


@dataclass
class Stores:
    """The cache first, then the remotes; one reading of all their objects."""

    all: list[Store]
    unreachable: tuple[str, ...] = ()
    """Remotes that could not be listed, and why; nothing can be proved about them."""
    _listings: dict[str, dict[str, str]] | None = field(default=None, repr=False)

    @property
    def cache(self) -> Store:
        """The local cache."""
        return self.all[0]

    def md5s(self) -> dict[str, tuple[Store, str]]:
        """Every object and one place to read it from."""
        places: dict[str, tuple[Store, str]] = {}
        for store in self.all:
            for md5, names in store.objects().items():
                places.setdefault(md5, (store, names[0]))
        return places

    def listings(self) -> Mapping[str, dict[str, str]]:
        """Every folder's names -> md5; what is no listing in spite of its name is left out."""
        if self._listings is None:
            places = self.md5s()
            read = ((md5, _listing(*places[md5])) for md5 in sorted(places) if md5.endswith(FOLDER))
            self._listings = {md5: rows for md5, rows in read if rows is not None}
        return self._listings

    def named(self, name: str) -> Iterator[tuple[str, bytes]]:
        """md5 and content of every object that some folder calls ``name`` (its last part)."""
        places = self.md5s()
        wanted = {
            md5
            for rows in self.listings().values()
            for path, md5 in rows.items()
            if path.rpartition("/")[2] == name and md5 in places
        }
        for md5 in sorted(wanted):
            store, place = places[md5]
            yield md5, store.read(place)


def open_stores(top: Path) -> Stores:
    """The cache and the remotes of the repository at ``top``.

    Raises ``CytolineError`` where it is no DVC repository.
    """
    from dvc.exceptions import DvcException
    from dvc.fs import LocalFileSystem, get_cloud_fs
    from dvc.repo import Repo

    try:
        repo = Repo(str(top.absolute()))
    except DvcException:
        raise CytolineError("this is no DVC repository", "run it in the project's folder") from None
    with repo:
        cache = Path(repo.cache.local.path)
        root = cache.parent.parent if cache.parts[-2:] == ("files", "md5") else cache
        stores, unreachable = [Store("DVC cache", LocalFileSystem(), str(root))], []
        for name, settings in repo.config["remote"].items():
            if settings.get("version_aware") or settings.get("worktree"):
                unreachable.append(f"remote {name}: keeps versions of its own (version_aware), which are not searched")
                continue
            try:
                kind, config, path = get_cloud_fs(repo.config, name=name)
                store = Store(f"remote {name}", kind(**config), path)
                store.names()
                stores.append(store)
            except Exception as error:  # whatever a cloud's library raises: the remote cannot be searched
                unreachable.append(f"remote {name}: cannot be listed ({type(error).__name__})")
    return Stores(stores, tuple(unreachable))


def folder_object(rows: Mapping[str, str]) -> tuple[str, bytes]:
    """md5 and content of the object of a folder, in DVC's own form."""
    listed = [{"md5": md5, "relpath": path} for path, md5 in sorted(rows.items())]
    content = json.dumps(listed, sort_keys=True).encode()
    return hashlib.md5(content, usedforsecurity=False).hexdigest() + FOLDER, content


def place_of(md5: str) -> str:
    """Where an object lies in a store."""
    return f"files/md5/{md5[:2]}/{md5[2:]}"


def _listing(store: Store, name: str) -> dict[str, str] | None:
    try:
        rows = json.loads(store.read(name))
        return {str(row["relpath"]): str(row["md5"]) for row in rows}
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
