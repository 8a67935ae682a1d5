"""Is a package whole, unchanged, and of one piece?  Works on the folder alone; nothing in it is believed."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cytoline.audit.package import agreement, layout, signature
from cytoline.audit.package.layout import Finding
from cytoline.errors import CytolineError


@dataclass(frozen=True)
class Trust:
    """Which key the signature was checked with, by its id.  Only a key ``given`` from outside proves who signed."""

    key: str
    given: bool

    @property
    def sentence(self) -> str:
        """What to tell the reader."""
        if self.given:
            return f"signature checked with the key that you gave ({self.key})"
        return (
            f"signature checked with the key inside the package ({self.key}): this shows that nothing changed since "
            "that key signed, not whose key it is. Compare its id with the one that its owner tells you by another "
            "way, or give the owner's public key with --key"
        )


def trust(folder: Path, public_key: Path | None) -> Trust:
    """Which key ``verify`` uses.  Raises ``CytolineError`` where there is none that can be read."""
    return Trust(signature.key_id(public_key or folder / layout.PUBLIC_KEY), public_key is not None)


def verify(folder: Path, public_key: Path | None) -> list[Finding]:
    """Everything that is wrong, the first broken thing first; empty where the package is intact.

    Checked are: that every file is plain and inside, that none is missing, changed or extra, the signature, and that
    the crate, the bill of materials, the data set's description, the card and the manifests name the same hashes.
    Raises ``CytolineError`` where ``folder`` is no folder or ``public_key`` is no key.
    """
    if not folder.is_dir():
        raise CytolineError(f"{folder} is no folder", "name the folder of a package")
    if public_key is not None:
        signature.key_id(public_key)
    entries = dict(_entries(folder))
    odd = [Finding(name, "is no plain file") for name, info in entries.items() if not stat.S_ISREG(info.st_mode)]
    if odd:
        return odd  # following a link would leave the package
    try:
        index = _index(layout.read_json(folder / layout.INDEX))
    except CytolineError as error:
        return [Finding(layout.INDEX, error.cause)]
    findings = [*_files(folder, set(entries), index["files"]), *_folders(folder, index["files"])]
    findings += _signature(folder, public_key)
    if not findings:
        findings += agreement.disagreements(folder, index)
    return findings


def _entries(folder: Path) -> Iterator[tuple[str, Any]]:
    for number, entry in enumerate(layout.walk(folder)):
        if number > layout.MOST_FILES:
            raise CytolineError(f"{folder} has more than {layout.MOST_FILES} files", "this is no package")
        yield entry


def _index(document: Any) -> Mapping[str, Any]:
    """Raises ``CytolineError`` where it is not what ``cytoline audit export`` writes."""
    wrong = CytolineError("is no index of a package", "get the package again from where it was released")
    if not isinstance(document, dict) or document.get("format") != layout.FORMAT:
        raise wrong
    if document.get("version") != layout.FORMAT_VERSION:
        raise CytolineError("was written by another version of cytoline", "use that version to verify it")
    files, model = document.get("files"), document.get("model")
    if not isinstance(files, dict) or not isinstance(model, dict):
        raise wrong
    for name, facts in files.items():
        if not isinstance(facts, dict) or not isinstance(facts.get("sha256"), str) or not layout.is_safe(name):
            raise wrong
    return document


def _files(folder: Path, present: set[str], files: Mapping[str, Any]) -> Iterator[Finding]:
    for name in sorted(set(files) - present):
        yield Finding(name, "is missing")
    for name in sorted(present - set(files) - {layout.INDEX, layout.SIGNATURE}):
        yield Finding(name, f"is not listed in {layout.INDEX}")
    for name in sorted(present & set(files)):
        wanted = files[name]
        if (folder / name).stat().st_size != wanted.get("size"):
            yield Finding(name, "has changed (size differs)")
        elif layout.sha256_of(folder / name) != wanted["sha256"]:
            yield Finding(name, "has changed (sha256 differs)")


def _folders(folder: Path, files: Mapping[str, Any]) -> Iterator[Finding]:
    """A folder that holds no file is in no index, and its name alone can say something."""
    known = {parent.as_posix() for name in files for parent in PurePosixPath(name).parents}
    for number, name in enumerate(layout.folders(folder)):
        if number > layout.MOST_FILES:
            raise CytolineError(f"{folder} has more than {layout.MOST_FILES} folders", "this is no package")
        if name not in known:
            yield Finding(name, f"is a folder of which {layout.INDEX} lists no file")


def _signature(folder: Path, public_key: Path | None) -> list[Finding]:
    public = public_key or folder / layout.PUBLIC_KEY
    if not (folder / layout.SIGNATURE).is_file():
        return [Finding(layout.SIGNATURE, "is missing: nobody answers for this package")]
    if public_key is None and not public.is_file():
        return [Finding(layout.PUBLIC_KEY, "is missing")]
    try:
        mine = signature.key_id(public)
        wrong = signature.check(folder, public)
        if wrong == signature.OTHER_KEY:
            theirs = signature.key_id(folder / layout.PUBLIC_KEY)
            wrong += f" ({mine})" + (f"; the package says it was {theirs}" if theirs != mine else "")
    except CytolineError as error:
        wrong = error.cause
    return [Finding(layout.SIGNATURE, wrong)] if wrong else []
