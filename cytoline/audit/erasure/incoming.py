"""Which incoming files are the person's, and the annotation files without their rows.

A source is read by the same code that ``collect`` uses, so that a file is given to the patient that ``collect`` gave
it to.  What ``collect`` refused (copies, broken files) goes by the same rules, and by the names of what it kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from cytoline.audit.erasure.prune import names_in_table, pruned_coco, pruned_table
from cytoline.errors import CytolineError
from cytoline.memo import Memo
from cytoline.sources.examine import Examined, examine
from cytoline.sources.identity import apply_rule
from cytoline.sources.params import CollectParams
from cytoline.sources.schema import COLUMN, SourceInfo, load_source

PRIVATE = Path(".cytoline")
"""Where originals are laid out for reading: if a run is killed, the next one finds and erases what it left there."""

IsTheirs = Callable[[str], bool]
"""Whether a raw patient id is the person's."""


@dataclass(frozen=True)
class Split:
    """One source, divided: the person's files, files that changed by leaving them out, and the rest."""

    source: str
    mine: frozenset[str]
    rewritten: dict[str, bytes]
    images: dict[str, str]
    """sha256 of every picture that is kept -> raw patient id."""
    patients: frozenset[str]
    """Raw ids that are the person's."""
    slides: frozenset[tuple[str, str]]
    left: int
    """Pictures of other people."""


def divide(name: str, folder: Path, is_theirs: IsTheirs, memo: Memo, params: CollectParams) -> Split | None:
    """Divide a source folder; None for a phantom, which shows nobody.  Raises ``CytolineError`` if it is unreadable."""
    info = load_source(folder)
    if info.kind == "phantom":
        return None
    with TemporaryDirectory(prefix=".unpacked-", dir=PRIVATE) as unpack_to:
        examined = examine(name, folder, info, params, memo, None, Path(unpack_to))
    kept = [(image.found.origin or image.found.path, image) for image in examined.kept]
    mine = {path for path, image in kept if is_theirs(image.patient)}
    others = {path for path, image in kept if not is_theirs(image.patient)}
    raw = {image.patient for _, image in kept if is_theirs(image.patient)}
    mine |= _by_rule(info, examined, is_theirs, raw)
    mine |= _by_table(info, examined, is_theirs)
    mine |= _copies(examined, mine)
    others |= _disputed(info, examined, is_theirs)
    mine |= _companions(examined, mine, others)
    if both := mine & others:
        raise CytolineError(
            f"source {name}: {len(both)} files hold pictures of this person and of other people",
            "take these files apart first; nothing was erased",
        )
    return Split(
        source=name,
        mine=frozenset(mine),
        rewritten=dict(_rewritten(info, examined, mine, is_theirs)),
        images={image.sha256: image.patient for _, image in kept},
        patients=frozenset(raw),
        slides=frozenset((image.patient, image.slide) for path, image in kept if path in mine),
        left=len(others),
    )


def _by_rule(info: SourceInfo, examined: Examined, is_theirs: IsTheirs, raw: set[str]) -> set[str]:
    """Files of every kind whose path says whose they are."""
    if info.patient_id.startswith(COLUMN):
        return set()
    found = set()
    for path in examined.listing.files:
        patient = apply_rule(info.patient_id, "patient", examined.name, path, {})
        if patient is not None and is_theirs(patient):
            found.add(path)
            raw.add(patient)
    return found


def _by_table(info: SourceInfo, examined: Examined, is_theirs: IsTheirs) -> set[str]:
    """Files that a table gives to the person, those that were refused among them."""
    if not info.patient_id.startswith(COLUMN):
        return set()
    column = info.patient_id[len(COLUMN) :].strip()
    found: set[str] = set()
    for name in examined.used:
        if name.lower().endswith(".csv"):
            values = names_in_table(examined.listing.files[name].read_bytes(), column, is_theirs)
            found |= {there for value in values if (there := _located(examined, info, name, value)) is not None}
    return found


def _disputed(info: SourceInfo, examined: Examined, is_theirs: IsTheirs) -> set[str]:
    """Pictures that ``collect`` refused because rows name several people, somebody else among them."""
    refused = {note.file for note in examined.notes if note.reason == "rows_disagree"}
    return refused & _by_table(info, examined, lambda patient: bool(patient) and not is_theirs(patient))


def _located(examined: Examined, info: SourceInfo, table: str, value: str) -> str | None:
    plain = value.replace("\\", "/")
    for folder in (info.images or "", PurePosixPath(table).parent.as_posix(), ""):
        found = examined.listing.find((PurePosixPath(folder) / plain).as_posix())
        if found is not None:
            return found
    return None


def _copies(examined: Examined, mine: set[str]) -> set[str]:
    """Byte copies that ``collect`` refused for being that."""
    return {
        note.file
        for note in examined.notes
        if note.reason == "duplicate" and note.file in examined.listing.files and note.detail[3:] in mine
    }


def _companions(examined: Examined, mine: set[str], others: set[str]) -> set[str]:
    """Annotations and parts of a picture: what has its name, and nobody else's picture has."""
    stems = {PurePosixPath(path).with_suffix("").name for path in mine} - {
        PurePosixPath(path).with_suffix("").name for path in others
    }
    shared = set(examined.listing.notices) | set(examined.info.annotation_files) | others | mine
    return {
        path
        for path in examined.listing.files
        if path not in shared and (PurePosixPath(path).stem in stems or stems & set(PurePosixPath(path).parts[:-1]))
    }


def _rewritten(
    info: SourceInfo, examined: Examined, mine: set[str], is_theirs: IsTheirs
) -> Iterable[tuple[str, bytes]]:
    """Lists that name people side by side, without the person."""
    column = info.patient_id[len(COLUMN) :].strip() if info.patient_id.startswith(COLUMN) else None
    for name in sorted(set(examined.used) - mine):
        file = examined.listing.files[name]

        def meant(value: str, name: str = name) -> bool:
            there = _located(examined, info, name, value)
            if there is None and column is None:  # listed, but not there
                return is_theirs(apply_rule(info.patient_id, "patient", examined.name, value, {}) or "")
            return there in mine

        def row_is_theirs(row: dict[str, str], meant: Callable[[str], bool] = meant) -> bool:
            named = column is not None and is_theirs(row.get(column, ""))
            return named or any(meant(value) for value in row.values() if value)

        before = file.read_bytes()
        if name.lower().endswith(".csv"):
            after = pruned_table(before, row_is_theirs)
        elif name.lower().endswith(".json"):
            after = _coco(before, meant, column, is_theirs)
        else:
            continue
        if len(after) < len(before) and after != before:
            yield name, after


def _coco(content: bytes, meant: Callable[[str], bool], column: str | None, is_theirs: IsTheirs) -> bytes:
    owners: dict[str, str] = {}
    if column is not None:
        for item in json.loads(content.decode("utf-8-sig"))["images"]:
            owners[str(item.get("file_name"))] = str(item.get(column, ""))
    return pruned_coco(content, lambda name: meant(name) or is_theirs(owners.get(name, "")))
