"""What the project should hold by ``dvc.lock`` and what lies there: one pass over the work tree and DVC's cache.

Where a seal knows the SHA-256 of an object, that alone is computed: it binds more than MD5 does, in less time.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from cytoline.audit.covers import listing_digest
from cytoline.audit.finding import INCOMING, Report
from cytoline.audit.hashing import Digest, Want, hash_files
from cytoline.audit.links import link_in
from cytoline.audit.locate import differs_from, differs_from_hashes
from cytoline.audit.revision import FOLDER, Cache, Item
from cytoline.audit.tables import CARD, IMAGES, MANIFEST
from cytoline.errors import CytolineError

_OBJECT = re.compile(r"[0-9a-f]{30}(\.dir)?")
_LARGEST_LISTING = 1 << 29
_LARGEST_LOOK = 1 << 30
_MOST_PLACES = 50
"""Findings whose place is looked for; of the rest only the file is named."""
_GIT = ".gitignore"
"""May lie beside figures that git keeps; no stage made it."""


@dataclass(frozen=True)
class Held:
    """Where verified content lies."""

    path: Path
    sha256: str
    size: int


@dataclass
class Inventory:
    """Paths are relative to the project, as git and DVC write them."""

    outs: dict[str, str] = field(default_factory=dict)
    """Out -> MD5, as it was looked for."""
    expected: dict[str, str] = field(default_factory=dict)
    """File -> MD5, for every file of every out whose listing is known, also where the file is not here."""
    out_of: dict[str, str] = field(default_factory=dict)
    """File -> the out that it belongs to."""
    actual: dict[str, Digest] = field(default_factory=dict)
    """File -> what lies in the work tree."""
    good: set[str] = field(default_factory=set)
    """Files of the work tree that are what ``dvc.lock`` says."""
    held: dict[str, Held] = field(default_factory=dict)
    """MD5 -> content that was found to be it, in the work tree or in the cache."""
    unlisted: set[str] = field(default_factory=set)
    """Outs whose files nobody can name here: the listing is in no cache."""


class Stocktaking:
    """One pass.  By the seal: ``known`` MD5 -> SHA-256, ``listed`` file -> MD5, ``parts`` file -> place -> hash.

    ``hashed`` are files that were read a moment ago.
    """

    def __init__(
        self,
        top: Path,
        report: Report,
        known: Mapping[str, str],
        listed: Mapping[str, str],
        parts: Mapping[str, Mapping[str, str]],
        both: bool = False,
        hashed: Mapping[Path, Digest] | None = None,
    ) -> None:
        self.top, self.report, self.both = top, report, both
        self.known, self.listed, self.parts = known, listed, parts
        self.hashed = hashed or {}
        self.cache = Cache.of(top)
        self.found = Inventory()
        self._wanted: dict[Path, Want] = {}
        self._folders: dict[str, Item] = {}
        self._places = 0

    def take(self, items: Iterable[Item]) -> Inventory:
        """Hash all there is of ``items`` and of the cache, and report what is not as recorded."""
        for item in items:
            if PurePosixPath(item.path).is_absolute() or ".." in PurePosixPath(item.path).parts:
                self.report.notes.append(f"an out lies outside of the project and was not looked at: {item.path}")
            else:
                self._plan(item)
        objects = self._plan_cache()
        digests = hash_files(self._wanted, (self.cache.folder,), self.hashed)
        self._count(digests)
        names = {
            path.relative_to(self.top).as_posix(): digest for path, digest in digests.items() if path not in objects
        }
        self.found.actual = names
        right = {
            path: digest for path, digest in digests.items() if path in objects and self._is(digest, objects[path])
        }
        for path, digest in right.items():
            self.found.held[objects[path].removesuffix(FOLDER)] = Held(path, digest.sha256, digest.size)
        self._compare()
        self._compare_folders()
        harmed = {names[one.file].same_as for one in self.report.findings if one.file in names}
        for path in objects.keys() - right.keys():
            if digests[path].same_as not in harmed:
                self.report.add(self._shown(path), digests[path].fault or "is not what its name says", kind="cache")
        return self.found

    def _plan(self, item: Item) -> None:
        target = self.top / item.path
        self.found.outs[item.path] = item.md5
        # One file may be a link into DVC's cache (`cache.type symlink`): `hash_files` looks where it leads.
        if link := link_in(
            self.top, item.path if item.md5.endswith(FOLDER) else PurePosixPath(item.path).parent.as_posix()
        ):
            self.report.add(item.path, "is no plain folder: a link leads elsewhere", link)
            return
        if not target.exists() and not target.is_symlink():
            self.report.absent.append(item.path)
        if not item.md5.endswith(FOLDER):
            self.found.expected[item.path], self.found.out_of[item.path] = item.md5, item.path
            if target.exists() or target.is_symlink():
                self._wanted[target] = self._want(item.md5, sha256=False)
            return
        listing = self._listing(item)
        present = self._walk(target)
        # Manifests name the SHA-256 of their images, cards that of every file beside them.
        files = present if listing is None else listing
        named = "" if CARD in files else f"{IMAGES}/" if MANIFEST in files else None
        if listing is None:
            self._folders[item.path] = item
            for name, path in present.items():
                if path.name == _GIT:
                    continue
                if _byte_code(name):
                    shown, place = self._masked(f"{item.path}/{name}", item.path)
                    self.report.add(shown, "is byte code, which DVC does not keep", place)
                    continue
                self._wanted[path] = Want(True, self.both or (named is not None and name.startswith(named)))
            return
        for name, md5 in listing.items():
            file = f"{item.path}/{name}"
            self.found.expected[file], self.found.out_of[file] = md5, item.path
            if target.is_dir():
                self._wanted[target / name] = self._want(md5, named is not None and name.startswith(named))
        for name in present.keys() - listing.keys():
            shown, place = self._masked(f"{item.path}/{name}", item.path)
            what = "is no plain file or folder" if present[name].is_symlink() else "is not in the listing of dvc.lock"
            self.report.add(shown, what, place)

    def _want(self, md5: str, sha256: bool) -> Want:
        return Want(sha256=True) if md5 in self.known else Want(md5=True, sha256=sha256 or self.both)

    def _listing(self, item: Item) -> Mapping[str, str] | None:
        listing = listing_of(self.cache, item)
        if listing is None:
            # The seal's list, if it is the one that the hash in dvc.lock is of.
            start = f"{item.path}/"
            known = {path.removeprefix(start): md5 for path, md5 in self.listed.items() if path.startswith(start)}
            same = listing_digest([{"md5": md5, "relpath": name} for name, md5 in known.items()]) == item.md5
            listing = known if same else None
        if listing is not None and not all(map(_plain, listing)):
            self.report.add(item.path, "its listing names files outside of it")
            return {name: md5 for name, md5 in listing.items() if _plain(name)}
        return listing

    def _walk(self, folder: Path) -> dict[str, Path]:
        """Every file below a folder, byte code too (DVC passes over it, Python does not); links are not followed."""
        if not folder.is_dir():
            return {}
        return {
            path.relative_to(folder).as_posix(): path
            for path in folder.rglob("*")
            if (path.is_symlink() or not path.is_dir())
        }

    def _plan_cache(self) -> dict[Path, str]:
        objects = {}
        for path in self.cache.folder.glob("??/*"):
            if _OBJECT.fullmatch(path.name):
                md5 = path.parent.name + path.name
                objects[path] = md5
                self._wanted[path] = self._want(md5, sha256=False)
        return objects

    def _is(self, digest: Digest, md5: str) -> bool:
        if digest.fault:
            return False
        known = self.known.get(md5)
        return digest.sha256 == known if known is not None else digest.md5 == md5.removesuffix(FOLDER)

    def _compare(self) -> None:
        reported = {finding.file for finding in self.report.findings}
        wrong: dict[str, Digest] = {}
        for path, md5 in self.found.expected.items():
            digest = self.found.actual.get(path)
            if digest is None or path in reported:
                continue
            if self._is(digest, md5):
                self.found.good.add(path)
                self.found.held[md5] = Held(self.top / path, digest.sha256, digest.size)
            else:
                wrong[path] = digest
        of = self._whose(wrong)
        for path, digest in wrong.items():
            shown, hidden = self._masked(path, self.found.out_of[path])
            what = self._swapped(path, of) or digest.fault or "is not what dvc.lock records"
            place = hidden or ("" if path in of else self._place(path, self.found.expected[path], digest))
            self.report.add(shown, what, place)

    def _whose(self, wrong: Mapping[str, Digest]) -> dict[str, str]:
        """Of wrong files those that hold what another file of the project should hold, and that file."""
        owner: dict[str, str] = {}
        for path, md5 in self.found.expected.items() if wrong else ():
            for name in (md5, self.known.get(md5, md5)):
                # Among several with the same content one that is wrong itself: the two were exchanged.
                if owner.get(name) not in wrong:
                    owner[name] = path
        found = {path: owner.get(digest.sha256) or owner.get(digest.md5) for path, digest in wrong.items()}
        return {path: other for path, other in found.items() if other is not None}

    def _swapped(self, path: str, of: Mapping[str, str]) -> str:
        other = of.get(path)
        if other is None:
            return ""
        shown = " ".join(filter(None, self._masked(other, self.found.out_of[other])))
        return f"and {shown} hold each other's content" if of.get(other) == path else f"holds the content of {shown}"

    def _place(self, path: str, md5: str, digest: Digest) -> str:
        self._places += 1
        if digest.fault or digest.size > _LARGEST_LOOK or self._places > _MOST_PLACES:
            return ""
        original, content = self.found.held.get(md5), (self.top / path).read_bytes()
        if original is not None:
            return differs_from(path, content, original.path.read_bytes())
        return differs_from_hashes(path, content, self.parts.get(path, {}))

    def _compare_folders(self) -> None:
        """Folders whose listing is in no cache (figures that git keeps): their digest is computed as DVC does."""
        for out, item in self._folders.items():
            files = {path: one for path, one in self.found.actual.items() if path.startswith(f"{out}/")}
            rows = [{"md5": one.md5, "relpath": path.removeprefix(f"{out}/")} for path, one in files.items()]
            if not files:
                self.found.unlisted.add(out)
            elif listing_digest(rows) == item.md5:
                for path, one in files.items():
                    self.found.expected[path], self.found.out_of[path] = one.md5, out
                    self.found.good.add(path)
                    self.found.held[one.md5] = Held(self.top / path, one.sha256, one.size)
            else:
                self.found.unlisted.add(out)
                # Whoever knows which of its files changed (git does, for figures) has said so already.
                if not any(finding.file.startswith(f"{out}/") for finding in self.report.findings):
                    self.report.add(out, "is not what dvc.lock records; without its listing nobody can say which file")

    def _count(self, digests: Mapping[Path, Digest]) -> None:
        sizes: dict[Any, int] = {one.same_as: one.size for one in digests.values() if not one.fault}
        self.report.files, self.report.size = len(sizes), sum(sizes.values())

    def _masked(self, path: str, out: str) -> tuple[str, str]:
        """Names of incoming files may say who is in them: they go by their place in the listing."""
        if not path.startswith(f"{INCOMING}/"):
            return path, ""
        below = sorted(name for name, owner in self.found.out_of.items() if owner == out)
        return out, f"file {below.index(path) + 1} of its listing" if path in below else "a file too many"

    def _shown(self, path: Path) -> str:
        return (
            path.relative_to(self.top).as_posix()
            if path.is_relative_to(self.top)
            else f"{path.parent.name}/{path.name}"
        )


def listing_of(cache: Cache, item: Item) -> Mapping[str, str] | None:
    """The files of a folder by its object in the cache, where that is there and is what its name says."""
    try:
        path = cache.path(item.md5)
        if not path.is_file() or path.stat().st_size > _LARGEST_LISTING:
            return None
        # The pass over the cache reports an object that is not what its name says.
        good = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() + FOLDER == item.md5
        return cache.listing(item.md5) if good else None
    except (CytolineError, OSError, RecursionError):
        return None


def _byte_code(name: str) -> bool:
    """What ``.dvcignore`` names, so that it is in no listing."""
    return name.endswith(".pyc") or "__pycache__" in PurePosixPath(name).parts


def _plain(name: str) -> bool:
    parts = PurePosixPath(name)
    return bool(name) and not parts.is_absolute() and ".." not in parts.parts
