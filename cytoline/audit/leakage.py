"""``cytoline audit leakage``: does anything stand on two sides of the split?

Found anew from the clean manifest, the split table and the images themselves, without the code of the split stage.
The patient and the slide come from the manifest (what anonymize wrote), the part from the split table; bytes are
hashed again.  One more check: what was derived (augmented copies, patches) must say the part of the image it is from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import ValidationError
from rich.text import Text

from cytoline.audit import view
from cytoline.audit.facts import Facts
from cytoline.audit.rows import BrokenError, lines, parsed, text
from cytoline.errors import CytolineError
from cytoline.manifest import Record, read_manifest
from cytoline.progress import track
from cytoline.splits import SPLIT_FILE, SPLITS, SplitRow

FOUND, INCOMPLETE = 1, 2
_DISTANCE = 40
"""Of 256 bits, as params.yaml has it for the split: 76 and more lie between different images."""

Kind = Literal["patient", "slide", "same bytes", "looks alike", "derived", "table"]


class Overlap(Facts):
    """One thing that stands on two sides, with one image (or row) of each."""

    kind: Kind
    what: str
    """The patient, slide or hash; a sentence for ``derived`` and ``table``."""
    images: tuple[str, str]
    parts: tuple[str, str]


class Leakage(Facts):
    """The answer: what was compared, and every overlap."""

    images: Mapping[str, int]
    patients: Mapping[str, int]
    distance: int
    overlaps: tuple[Overlap, ...]
    missing: tuple[str, ...] = ()


def leakage(
    top: Annotated[Path, typer.Option("--top", hidden=True)] = Path(),
    distance: Annotated[
        int, typer.Option(min=0, max=100, help="bits of 256 up to which two pictures are held to be alike")
    ] = _DISTANCE,
    as_json: view.AsJson = False,
) -> None:
    """Look for patients, slides, equal files and look-alikes on two sides of the split.

    Works on data/clean and data/split of the work tree. Mirrored and turned copies count. Every image is read: some
    minutes for ten thousand. Exit code 0: nothing was found; 1: something was; 2: not everything could be compared.
    """
    found = leakage_of(top, distance)
    if as_json:
        view.print_json(found)
    else:
        _show(found)
    if found.overlaps or found.missing:
        raise typer.Exit(FOUND if found.overlaps else INCOMPLETE)


def leakage_of(top: Path = Path(), distance: int = _DISTANCE) -> Leakage:
    """Compare all parts.  Raises ``CytolineError`` where the manifest or the split is absent or broken."""
    records = read_manifest(top / "data/clean")
    rows, overlaps = _table(top / "data/split" / SPLIT_FILE)
    missing = [f"{one.image_id} is in no part of the split" for one in records if one.image_id not in rows]
    known = {one.image_id for one in records}
    missing += [f"{image} is in the split, but not in the manifest" for image in rows if image not in known]
    placed = [one for one in records if one.image_id in rows]
    parts = [rows[one.image_id].split for one in placed]
    overlaps += _disagreements(placed, rows)
    overlaps += _shared("patient", placed, [one.patient for one in placed], parts)
    overlaps += _shared("slide", placed, [f"{one.source} {one.slide}" for one in placed], parts)
    overlaps += _pixels(top, placed, parts, distance, missing)
    overlaps += _derived(top, rows, missing)
    return Leakage(
        images={part: parts.count(part) for part in SPLITS},
        patients={
            part: len({one.patient for one, p in zip(placed, parts, strict=True) if p == part}) for part in SPLITS
        },
        distance=distance,
        overlaps=tuple(overlaps),
        missing=tuple(missing),
    )


def _table(path: Path) -> tuple[dict[str, SplitRow], list[Overlap]]:
    """The split table, read without its own check for leaks, which would end the search at the first."""
    rows: dict[str, SplitRow] = {}
    overlaps = []
    try:
        for number, line in enumerate(lines(path), start=1):
            row = SplitRow.model_validate_json(line)
            first = rows.setdefault(row.image_id, row)
            if first.split != row.split:
                overlaps.append(
                    Overlap(
                        kind="table",
                        what=f"line {number} puts the image on another side",
                        images=(row.image_id, row.image_id),
                        parts=(first.split, row.split),
                    )
                )
    except FileNotFoundError:
        raise CytolineError(f"{path} is missing", "`dvc checkout`, or `dvc repro split`") from None
    except (ValidationError, BrokenError):
        raise CytolineError(f"{path} is no split table", "`dvc checkout data/split`") from None
    return rows, overlaps


def _disagreements(records: Sequence[Record], rows: Mapping[str, SplitRow]) -> list[Overlap]:
    """A split that names another patient than the manifest was not made of this manifest."""
    return [
        Overlap(
            kind="table",
            what="the split names another patient than the manifest",
            images=(one.image_id, one.image_id),
            parts=(rows[one.image_id].split,) * 2,
        )
        for one in records
        if rows[one.image_id].patient != one.patient
    ]


def _shared(kind: Kind, records: Sequence[Record], names: Sequence[str], parts: Sequence[str]) -> list[Overlap]:
    """Every name that stands in more than one part: one pair for each two parts."""
    first: dict[str, dict[str, str]] = {}
    for record, name, part in zip(records, names, parts, strict=True):
        first.setdefault(name, {}).setdefault(part, record.image_id)
    found = []
    for name, places in first.items():
        sides = [part for part in SPLITS if part in places]
        for number, one in enumerate(sides):
            found += [
                Overlap(kind=kind, what=name, images=(places[one], places[other]), parts=(one, other))
                for other in sides[number + 1 :]
            ]
    return found


def _pixels(
    top: Path, records: Sequence[Record], parts: Sequence[str], distance: int, missing: list[str]
) -> list[Overlap]:
    from cytoline.audit.likeness import Look, alike, look  # numpy and imagehash take their time

    looks: list[Look] = []
    kept: list[int] = []
    hashes: list[str] = []
    for number, record in track(enumerate(records), len(records), "looking at images"):
        path = top / "data/clean/images" / record.file
        try:
            with path.open("rb") as handle:
                sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
            looks.append(look(path))
        except (OSError, CytolineError):
            missing.append(f"{record.file} cannot be read: it was not compared")
            continue
        if sha256 != record.sha256:
            missing.append(
                f"{record.file} is not the file that the manifest names (sha256 differs); its pixels were compared"
            )
        kept.append(number)
        hashes.append(sha256)
    seen = [records[number] for number in kept]
    sides = [parts[number] for number in kept]
    same = _shared("same bytes", seen, hashes, sides)
    reported = {one.images for one in same}
    for one, other in alike(looks, [SPLITS.index(side) for side in sides], distance):
        images = (seen[one].image_id, seen[other].image_id)
        if hashes[one] != hashes[other] and images not in reported:
            same.append(
                Overlap(kind="looks alike", what="in some orientation", images=images, parts=(sides[one], sides[other]))
            )
    return same


def _derived(top: Path, rows: Mapping[str, SplitRow], missing: list[str]) -> list[Overlap]:
    """Patches say the part they are in: it must be their image's."""
    found = []
    for folder in ("data/patches", "data/upscaled"):
        path = top / folder / "patches.jsonl"
        if not path.is_file():
            missing.append(f"{path.relative_to(top)} is not here: its patches were not compared")
            continue
        try:
            for line in lines(path):
                fields = parsed(line)
                image, part = text(fields, "image_id"), text(fields, "split")
                home = rows.get(image)
                if home is None or home.split != part or home.patient != text(fields, "patient"):
                    what = f"{folder}: a patch whose image stands elsewhere, or is another patient's"
                    name = text(fields, "patch_id")
                    sides = (home.split if home else "no part", part)
                    found.append(Overlap(kind="derived", what=what, images=(image, name), parts=sides))
        except BrokenError as error:
            missing.append(f"{path.relative_to(top)} is broken ({error}): its patches were not all compared")
    return found + _copies(top, rows, missing)


def _copies(top: Path, rows: Mapping[str, SplitRow], missing: list[str]) -> list[Overlap]:
    """An augmented copy learns where its patient learns: the patient must be that of the image it was made from."""
    if not (top / "data/augmented").is_dir():
        missing.append("data/augmented is not here: its copies were not compared")
        return []
    part_of = {row.patient: row.split for row in rows.values()}
    found = []
    for copy in read_manifest(top / "data/augmented"):
        home = rows.get(copy.image_id.rpartition("-")[0])
        if home is None or home.patient != copy.patient:
            sides = (home.split if home else "no part", part_of.get(copy.patient, "no part"))
            what = "data/augmented: a copy under another patient than its image's"
            found.append(
                Overlap(kind="derived", what=what, images=(home.image_id if home else "-", copy.image_id), parts=sides)
            )
    return found


def _show(found: Leakage) -> None:
    console = view.screen()
    counts = ", ".join(
        f"{part} {found.images[part]} images of {found.patients[part]} patients" for part in found.images
    )
    console.print(Text(f"compared: {counts}; look-alikes up to {found.distance} of 256 bits apart", style="dim"))
    if found.overlaps:
        rows = [(one.kind, one.what, *one.images, " | ".join(one.parts)) for one in found.overlaps]
        console.print(view.table("on two sides", ("what", "which", "one", "other", "parts"), rows))
    else:
        console.print("[green]nothing stands on two sides of the split[/]")
    view.print_words(console, "missing", found.missing, "red")
