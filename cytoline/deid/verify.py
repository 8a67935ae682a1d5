"""Does a folder hold anything that could identify a person?  Asked of the files alone, by means of their own.

Three checks of each file that share no code with what writes files: an account of every byte, exiftool's tags within
an allow-list, a search for known identifiers.  Then the names of files and folders, and writing and barcodes in the
pixels.
"""

from __future__ import annotations

import errno
import mmap
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from cytoline.deid import dicom, exiftool
from cytoline.deid.accounting import account
from cytoline.deid.finding import Finding
from cytoline.deid.folder import is_dicom, unlistable
from cytoline.deid.marks import find_marks
from cytoline.deid.needles import Needles
from cytoline.deid.params import AnonymizeParams
from cytoline.deid.vocabulary import Vocabulary
from cytoline.deid.written import MOST_BYTES, WRITTEN, check_written, words_in
from cytoline.images import RGB, UnreadableImage, read_image
from cytoline.progress import track

CODED_NAME = re.compile(r"[0-9a-f]{32}(\.(jpg|png|tif|tiff|dcm))?")
"""A pseudonym, with the ending of a format that we write."""
FOLDERS = frozenset({"images"})
KNOWN_ENDINGS = frozenset(
    {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".svs", ".ndpi", ".bmp", ".webp", ".heic", ".dcm", ".txt"}
)
"""Others can be the end of a name."""


@dataclass(frozen=True)
class Checked:
    """One file and what was found in it."""

    path: Path
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Thoroughness:
    """Which of the costly checks are made, and which words are allowed."""

    pixels: bool = True
    names: bool = True
    vocabulary: Vocabulary = field(default_factory=Vocabulary)


def verify_folder(
    root: Path, identifiers: Iterable[str], params: AnonymizeParams, thoroughness: Thoroughness, pool: Executor
) -> list[Checked]:
    """Every file below ``root`` (or the one file), in the order of their paths."""
    files = list(_files(root))
    needles = Needles(identifiers)
    jobs = [
        pool.submit(
            check_file,
            path,
            needles,
            params if thoroughness.pixels and not _is_written(path) else None,
            thoroughness.vocabulary,
        )
        for path in files
    ]
    found = [set(job.result()) for job in track(jobs, len(jobs), "checking files")]
    images = [path for path in files if not path.is_symlink() and not _is_written(path)]
    seen = exiftool.check(images) if exiftool.available() else {}
    checked = []
    for path, findings in zip(files, found, strict=True):
        findings |= set(seen.get(path, ()))
        if thoroughness.names:
            findings |= set(check_name(path, root))
        checked.append(Checked(path, tuple(sorted(findings))))
    return checked + [Checked(folder, attached) for folder in _folders(root) if (attached := check_folder(folder))]


def check_folder(folder: Path) -> tuple[Finding, ...]:
    """What is attached to a folder itself; its name is judged with each file in it."""
    return tuple(Finding("folder:attributes", item.why) for item in _extended_attributes(folder))


def check_file(
    path: Path, needles: Needles, params: AnonymizeParams | None, vocabulary: Vocabulary
) -> tuple[Finding, ...]:
    """One file's bytes and, with ``params``, its pixels; nothing that it holds can raise."""
    if path.is_symlink() or not path.is_file():
        return (Finding("file:link", "unsupported"),)
    try:
        return _check_readable(path, needles, params, vocabulary)
    except OSError:  # its message names the file
        return (Finding("file", "unsupported"),)


def _check_readable(
    path: Path, needles: Needles, params: AnonymizeParams | None, vocabulary: Vocabulary
) -> tuple[Finding, ...]:
    found = set(_extended_attributes(path))
    if path.stat().st_size == 0:
        return tuple(sorted(found | {Finding("file", "damaged")}))
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found |= set(check_written(path, vocabulary) if _is_written(path) else account(content))
        if needles and _holds(path, content, needles):
            found.add(Finding("bytes", "identifier"))
    if params is not None:
        found |= set(check_pixels(path, params))
    return tuple(sorted(found))


def _holds(path: Path, content: mmap.mmap, needles: Needles) -> bool:
    if not _is_written(path) or len(content) > MOST_BYTES:
        return needles.inside(content)
    try:
        return needles.in_text(words_in(path), content)
    except UnicodeDecodeError:  # a finding already
        return needles.inside(content)


def check_pixels(path: Path, params: AnonymizeParams) -> list[Finding]:
    """Writing and barcodes; a file whose pixels cannot be looked at is a finding, not a pass."""
    found = set()
    try:
        for rgb in _pictures(path, params):
            hits = find_marks(rgb, params, look_first=False)
            found |= {Finding("pixels", "text")} if hits.texts else set()
            found |= {Finding("pixels", "ink")} if hits.ink else set()
            found |= {Finding("pixels", "barcode")} if hits.barcodes or hits.unread else set()
    except (UnreadableImage, dicom.CannotRecreate):
        found.add(Finding("pixels", "unsupported"))
    return sorted(found)


def _pictures(path: Path, params: AnonymizeParams) -> Iterator[RGB]:
    """Every frame of a DICOM file, or the one picture of another."""
    if is_dicom(path):
        yield from dicom.read_frames(path, dicom.Limits(max_pixels=params.max_pixels))
    else:
        yield read_image(path, params.max_pixels)


def check_name(path: Path, root: Path) -> list[Finding]:
    """File and folder names below ``root`` must be pseudonyms or names that the pipeline itself gives."""
    if path.is_dir() and not path.is_symlink() and path != root and path.name in FOLDERS and path.parent == root:
        return []
    if path == root:
        return [] if _coded(path.name) else [Finding("path:file", "name")]
    parts = path.relative_to(root).parts
    found = [] if _coded(parts[-1]) else [Finding("path:file", "name")]
    if not all(part in FOLDERS or CODED_NAME.fullmatch(part) for part in parts[:-1]):
        found.append(Finding("path:folder", "name"))
    return found


def shown_name(path: Path, root: Path) -> str:
    """The name of a file if it gives nothing away, else only its kind."""
    if not check_name(path, root):
        return path.name if path == root else path.relative_to(root).as_posix()
    suffix = path.suffix.lower()
    return f"(name withheld){suffix if suffix in KNOWN_ENDINGS else ''}"


def withheld(checked: Sequence[Checked]) -> int:
    """How many files have findings."""
    return sum(bool(item.findings) for item in checked)


def _coded(name: str) -> bool:
    return name in WRITTEN or CODED_NAME.fullmatch(name) is not None


def _is_written(path: Path) -> bool:
    return path.name in WRITTEN


def _extended_attributes(path: Path) -> Iterator[Finding]:
    """Attributes beside the file: Finder comments, download addresses.  SELinux's label is the system's own."""
    if not hasattr(os, "listxattr"):
        return
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EOPNOTSUPP):
            yield Finding("file:attributes", "unsupported")
        return
    if any(not name.startswith(("security.", "system.")) for name in names):
        yield Finding("file:attributes", "metadata")


def _folders(root: Path) -> Iterator[Path]:
    if root.is_dir() and not root.is_symlink():
        yield root
        for folder, folders, _ in os.walk(root, onerror=unlistable):
            folders.sort()
            yield from (Path(folder) / name for name in folders if not (Path(folder) / name).is_symlink())


def _files(root: Path) -> Iterator[Path]:
    """Files below ``root`` in the order of their paths; links are given, not followed."""
    if root.is_symlink() or not root.is_dir():
        yield root
        return
    for folder, folders, names in os.walk(root, onerror=unlistable):
        folders.sort()
        # Links to folders and folders with nothing in them have names, too.
        bare = [
            name for name in folders if (Path(folder) / name).is_symlink() or not any((Path(folder) / name).iterdir())
        ]
        for name in sorted([*names, *bare]):
            yield Path(folder) / name
