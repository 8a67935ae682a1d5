"""Every file of a source folder, and which of them may not be touched."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from cytoline.errors import CytolineError
from cytoline.sources.found import Reason, Refusal
from cytoline.sources.schema import SOURCE_FILE

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".tif", ".tiff", ".bmp", ".webp", ".heic", ".heif"})

NOTICES = re.compile(r"^(licen[cs]e|copying|notice|readme|citation)\b", re.IGNORECASE)
"""Papers that belong with the images and are kept with them."""

_DVC_OBJECT = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")


@dataclass(frozen=True)
class Listing:
    """Files below ``root`` by their relative POSIX path, sorted; ``source.yaml`` itself is not among them."""

    root: Path
    files: dict[str, Path]
    refused: tuple[Refusal, ...]

    @property
    def seen(self) -> int:
        """How many files (and links) there are in all."""
        return len(self.files) + len(self.refused)

    @cached_property
    def images(self) -> list[str]:
        """Files whose name says image."""
        return [name for name in self.files if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES]

    @cached_property
    def image_set(self) -> frozenset[str]:
        """``images`` for looking up."""
        return frozenset(self.images)

    @cached_property
    def notices(self) -> list[str]:
        """Licences, read-mes and the like."""
        return [name for name in self.files if NOTICES.match(PurePosixPath(name).name) and name not in self.image_set]

    @cached_property
    def _composed(self) -> dict[str, str]:
        return {unicodedata.normalize("NFC", name): name for name in self.files}

    def find(self, name: str) -> str | None:
        """The listed file that ``name`` means; accents written in two ways are the same."""
        return name if name in self.files else self._composed.get(unicodedata.normalize("NFC", name))

    def joined(self, pictures: Mapping[str, Path]) -> Listing:
        """This listing with pictures that were taken out of its files and lie elsewhere."""
        return replace(self, files=dict(sorted({**self.files, **pictures}.items())))

    def below(self, folder: str | None, names: list[str]) -> list[str]:
        """Those of ``names`` that lie below ``folder`` (all where it is None)."""
        if folder is None:
            return names
        return [name for name in names if PurePosixPath(name).is_relative_to(PurePosixPath(folder))]


def list_files(root: Path) -> Listing:
    """Walk ``root`` without following links.  Raises ``CytolineError`` where a folder may not be read."""
    files: dict[str, Path] = {}
    refused = []
    real_root = root.resolve()
    for path in _walk(root):
        name = path.relative_to(root).as_posix()
        if name == SOURCE_FILE:
            continue
        reason = _objection(path, name, real_root)
        if reason is None:
            files[name] = path
        else:
            refused.append(Refusal("file", printable(name), reason))
    return Listing(root, dict(sorted(files.items())), tuple(sorted(refused, key=lambda item: item.file)))


def printable(name: str) -> str:
    """A name in valid UTF-8: bytes that are none become ``\\xNN``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _walk(root: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise CytolineError(
            f"a folder inside {root} cannot be listed ({error.strerror})", "give yourself the right to read it"
        ) from None

    for folder, subfolders, names in os.walk(root, onerror=refuse):
        links = [name for name in subfolders if (Path(folder) / name).is_symlink()]
        yield from (Path(folder) / name for name in [*names, *links])


def _objection(path: Path, name: str, root: Path) -> Reason | None:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "name_not_utf8"
    if path.is_symlink() and (reason := _link_objection(path, root)):
        return reason
    try:
        mode = path.stat().st_mode
    except OSError:
        return "no_permission"
    if not stat.S_ISREG(mode):
        return "special_file"
    return None if os.access(path, os.R_OK) else "no_permission"


def _link_objection(path: Path, root: Path) -> Reason | None:
    """Links may point to files of the same source, or to DVC's cache (``cache.type symlink``)."""
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return "broken_link"
    if not target.is_relative_to(root) and not (_DVC_OBJECT.search(target.as_posix()) and target.is_file()):
        return "link_out"
    return "link_to_folder" if target.is_dir() else None
