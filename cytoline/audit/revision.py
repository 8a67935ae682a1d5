"""One state of the repository, read without touching the work tree: its files, ``dvc.lock``, and DVC's objects.

Git is asked for what git holds; DVC's objects are read from its local cache by hash, so that an answer costs
milliseconds where ``dvc`` itself takes a second to start.  What the cache lacks is said, never guessed.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from cytoline.errors import CytolineError

WORK_TREE = "work tree"
FOLDER = ".dir"
"""Ending of the hash of a folder: its object is the JSON list of names and hashes."""


@dataclass(frozen=True)
class Item:
    """A dep or an out as ``dvc.lock`` or a ``.dvc`` file records it.

    ``md5`` ends in ``.dir`` for a folder.  ``size`` is in bytes, ``files`` the number of files of a folder.
    """

    path: str
    md5: str
    size: int | None = None
    files: int | None = None


@dataclass(frozen=True)
class LockedStage:
    """One stage of ``dvc.lock``: what ran, on what, with which params, and what it left."""

    name: str
    command: str
    deps: tuple[Item, ...]
    params: Mapping[str, Any]
    """File (``params.yaml``) to key to value."""
    outs: tuple[Item, ...]


@dataclass(frozen=True)
class Revision:
    """``commit`` is a full hash, or None for the work tree as it is now."""

    name: str
    commit: str | None
    top: Path = field(default_factory=Path)

    @classmethod
    def at(cls, name: str, top: Path = Path()) -> Revision:
        """A commit, branch or tag.  Raises ``CytolineError`` where git knows no such revision."""
        found = _git(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        if found is None:
            raise CytolineError(
                f"git knows no revision {name!r} here",
                "check the name; `git fetch --tags` gets what others have pushed",
            )
        return cls(name, found.decode().strip(), top)

    @classmethod
    def work_tree(cls, top: Path = Path()) -> Revision:
        """The files as they lie there now."""
        return cls(WORK_TREE, None, top)

    def read(self, path: str) -> bytes | None:
        """A file that git tracks (of the work tree: any file); None where there is none."""
        if self.commit is None:
            file = self.top / path
            return file.read_bytes() if file.is_file() else None
        return _git(self.top, "cat-file", "blob", f"{self.commit}:{path}")

    def files(self, below: str = "") -> tuple[str, ...]:
        """Paths that git tracks, below a folder, sorted."""
        words = ["ls-files", "-z"] if self.commit is None else ["ls-tree", "-r", "-z", "--name-only", self.commit]
        listed = _git(self.top, *words, *(["--", below] if below else [])) or b""
        return tuple(sorted(name for name in listed.decode(errors="surrogateescape").split("\0") if name))

    @cached_property
    def stages(self) -> Mapping[str, LockedStage]:
        """``dvc.lock``, stage by stage; empty where there is none."""
        document = _mapping(self.read("dvc.lock"), "dvc.lock", self.name)
        try:
            return {name: locked_stage(name, entry) for name, entry in (document.get("stages") or {}).items()}
        except (KeyError, TypeError, AttributeError):
            raise _broken("dvc.lock", self.name) from None

    @cached_property
    def sources(self) -> tuple[Item, ...]:
        """What ``dvc add`` tracks: one item for each ``.dvc`` file."""
        found: list[Item] = []
        for name in self.files():
            if name.endswith(".dvc"):
                document = _mapping(self.read(name), name, self.name)
                folder = Path(name).parent
                try:
                    items = [_item(out) for out in document.get("outs") or []]
                except (KeyError, TypeError, AttributeError):
                    raise _broken(name, self.name) from None
                found += [Item((folder / one.path).as_posix(), one.md5, one.size, one.files) for one in items]
        return tuple(found)

    def out(self, path: str) -> Item | None:
        """What ``dvc.lock`` says of one out, by its path."""
        return next((out for stage in self.stages.values() for out in stage.outs if out.path == path), None)

    def producer(self, path: str) -> LockedStage | None:
        """The stage that made the out ``path``."""
        return next((s for s in self.stages.values() if any(out.path == path for out in s.outs)), None)


@dataclass(frozen=True)
class Cache:
    """DVC's local cache: objects by md5."""

    folder: Path

    @classmethod
    def of(cls, top: Path = Path()) -> Cache:
        """The cache of the repository at ``top``, wherever its configuration puts it (``cache.dir``)."""
        configured = None
        for name in ("config", "config.local"):
            configured = _cache_dir(top / ".dvc" / name) or configured
        folder = (top / ".dvc" / configured) if configured else top / ".dvc" / "cache"
        return cls(folder / "files" / "md5")

    def path(self, md5: str) -> Path:
        """Where an object lies, or would lie.  ``md5`` must be 32 hex digits, with or without ``.dir``."""
        digits = md5.removesuffix(FOLDER)
        if len(digits) != 32 or not all(digit in "0123456789abcdef" for digit in digits):
            raise CytolineError("a hash in dvc.lock is no md5", "restore dvc.lock: `git checkout -- dvc.lock`")
        return self.folder / md5[:2] / md5[2:]

    def read(self, md5: str) -> bytes | None:
        """The content of one object; None where the cache does not hold it."""
        try:
            return self.path(md5).read_bytes()
        except FileNotFoundError:
            return None

    def listing(self, md5: str) -> Mapping[str, str] | None:
        """A folder's relative names to md5; None where the cache does not hold the listing."""
        content = self.read(md5)
        if content is None:
            return None
        try:
            return {str(row["relpath"]): str(row["md5"]) for row in json.loads(content)}
        except (ValueError, KeyError, TypeError):
            raise CytolineError(
                f"the object {md5} in DVC's cache is no listing of a folder", "delete it, then `dvc fetch`"
            ) from None

    def file(self, item: Item, name: str) -> bytes | None:
        """One file of a folder that is an out; None where the folder has no such file or the cache lacks it."""
        listing = self.listing(item.md5) or {}
        return self.read(listing[name]) if name in listing else None


def commits(top: Path = Path(), *paths: str) -> tuple[str, ...]:
    """Full hashes of every commit that touched ``paths`` (all, where none), newest first.

    Of every branch and tag, and of the reflog: what a rewritten branch has left behind is still here.
    """
    reach = ("--all", "--reflog", "--full-history")
    listed = _git(top, "log", *reach, "--format=%H", *(["--", *paths] if paths else []))
    return tuple((listed or b"").decode().split())


def read_yaml(content: bytes) -> Any:
    """A YAML document of plain values.  The C loader reads a lock of 200 kB in a tenth of the time."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(content)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def locked_stage(name: str, entry: Mapping[str, Any]) -> LockedStage:
    """One entry of `stages` in dvc.lock.  Raises ``KeyError``, ``TypeError`` or ``AttributeError`` where it is none."""
    return LockedStage(
        name,
        str(entry.get("cmd", "")),
        tuple(_item(one) for one in entry.get("deps") or []),
        entry.get("params") or {},
        tuple(_item(one) for one in entry.get("outs") or []),
    )


def _item(entry: Mapping[str, Any]) -> Item:
    return Item(str(entry["path"]), str(entry.get("md5", "")), entry.get("size"), entry.get("nfiles"))


def _mapping(content: bytes | None, name: str, revision: str) -> Mapping[str, Any]:
    if content is None:
        return {}
    try:
        document = read_yaml(content)
    except (yaml.YAMLError, UnicodeDecodeError):
        raise _broken(name, revision) from None
    if not isinstance(document, dict):
        raise _broken(name, revision)
    return document


def _broken(name: str, revision: str) -> CytolineError:
    return CytolineError(f"{name} of {revision} cannot be read", f"restore it from git: `git log -- {name}`")


def _cache_dir(path: Path) -> str | None:
    """``cache.dir`` of one of DVC's configuration files (INI without a parser's surprises: DVC quotes sections)."""
    if not path.is_file():
        return None
    section = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.strip()
        if words.startswith("["):
            section = words.strip("[]").strip("'\"")
        elif section == "cache" and words.partition("=")[0].strip() == "dir":
            return words.partition("=")[2].strip()
    return None


def _git(top: Path, *words: str) -> bytes | None:
    try:
        done = subprocess.run(["git", "-C", str(top), *words], capture_output=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
