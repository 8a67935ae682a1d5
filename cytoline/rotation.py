"""``cytoline rotate-key``: the custodian's map from the pseudonyms of an old key to those of a new one.

A key that may have been seen must be replaced, and then every pseudonym changes.  What was published under the old
ones can be followed only with this map, so it is as private as a key: it is written where the custodian says, outside
of the project, for its owner alone, and it is best deleted once the archives are joined.  It holds pseudonyms only.

One thing else tells: with decisions repeated, git links the two names of each decided picture for good, as both lines
have the same time and boxes.  ``--leave`` avoids that, at the price of deciding again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cytoline.crosswalk import write_private
from cytoline.deid.review.decisions import DECISIONS, REVIEW, Decision, latest, read_decisions
from cytoline.deid.review.decisions import record as add_decisions
from cytoline.errors import CytolineError
from cytoline.manifest import Record, read_manifest
from cytoline.pseudonyms import Domain, Pseudonyms, load_key, refuse_inside

VERSION = 1
Pairs = dict[str, dict[str, str]]
"""Domain -> old pseudonym -> new pseudonym."""


def rotate_key(
    old_key: Annotated[Path, typer.Option(help="key file that made the pseudonyms so far")],
    new_key: Annotated[Path, typer.Option(help="key file that shall make them from now on")],
    old_to_new: Annotated[Path, typer.Option("--map", help="file to write (0600), outside of the project")],
    raw: Annotated[Path, typer.Option(help="raw store: whose names there are")] = Path("data/raw"),
    review: Annotated[Path, typer.Option(help="folder of the reviewers' decisions")] = REVIEW,
    carry: Annotated[bool, typer.Option("--carry/--leave", help="repeat decisions under the new names")] = True,
) -> None:
    """Write which new pseudonym follows which old one, for everybody in the raw store.

    Reviewers' decisions name pictures by pseudonym. What holds now is repeated under the new names, or what a person
    painted over or rejected would come back. A decision keeps its time and boxes, so whoever sees both lines can tell
    that these two names are one picture; with `--leave` nothing is repeated, and those pictures need a decision again.

    A new key draws the split anew for everybody, as a patient's part follows from the pseudonym: figures before and
    after cannot be compared patient by patient.

    Then point CYTOLINE_KEY_FILE at the new key, run `dvc repro`, and commit the decisions.
    """
    if old_to_new.exists() or old_to_new.is_symlink():
        raise CytolineError("the file for the map is there already", "name one that is not there yet")
    refuse_inside(old_to_new, Path())
    if not review.is_dir() and (review.exists() or review.is_symlink()):
        raise CytolineError("what --review names is no folder", f"name the folder that {DECISIONS} lies in")
    old, new = Pseudonyms(load_key(old_key)), Pseudonyms(load_key(new_key))
    if old.key_id == new.key_id:
        raise CytolineError("both files hold the same key", "make a new one: `python -m cytoline.pseudonyms`")
    pairs = mapped(read_manifest(raw), old, new)
    decisions, files = read_decisions(review), pairs.get("file", {})
    strangers = unmatched(decisions, files)
    if decisions and len(strangers) == len(latest(decisions)):
        raise CytolineError(
            f"none of the {len(strangers)} decided pictures has a name here, old or new: probably the wrong --old-key",
            "name the key that made the pseudonyms so far; if these pictures are gone, an empty folder as --review",
        )
    known = carried(decisions, files)
    outdated = latest(decisions).keys() & {row.image for row in known}
    if outdated and not carry:
        raise CytolineError(
            f"--leave would let outdated decisions hold again: {len(outdated)} pictures have one under the new name",
            "run again without --leave",
        )
    content = {"version": VERSION, "old_key": old.key_id, "new_key": new.key_id, "pseudonyms": pairs}
    write_private(old_to_new, json.dumps(content, sort_keys=True, indent=1) + "\n")
    if carry and known:
        _repeat(review, known)
    counts = ", ".join(f"{len(codes)} of {domain}s" for domain, codes in sorted(pairs.items()))
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"pseudonyms of key {old.key_id} mapped to those of {new.key_id}: {counts or 'none'}")
    if carry and known:
        console.print(f"decisions repeated under new names: {len(known)}; commit {review / DECISIONS}")
    elif known:
        console.print(f"decisions that no longer hold: {len(known)}; their pictures need a decision again")
    if strangers:
        console.print(f"decisions about pictures that have neither an old nor a new name here: {len(strangers)}")
    console.print("keep the map as private as the keys, and delete it when it has done its work")


def carried(decisions: list[Decision], files: Mapping[str, str]) -> list[Decision]:
    """What was said last of the pictures in ``files`` (old name -> new name), where the new name does not say so yet.

    The place in the chain tells what is later: a clock may be wrong.  A line that repeats another stands where that one
    does, or an outdated decision would become the last word by having been carried to some key late.
    """
    holding = latest(decisions)
    picture = {name: new for old, new in files.items() for name in (old, new)}
    first: dict[tuple[Decision, str | None], int] = {}
    for place, row in enumerate(decisions):
        first.setdefault((_said(row), picture.get(row.image)), place)

    def stands(row: Decision) -> int:
        """Where it was first said of this picture, perhaps under a third key's name, which is nobody's here."""
        return min(first.get((_said(row), whose), len(decisions)) for whose in (picture[row.image], None))

    def missing(old: str, new: str) -> bool:
        if old not in holding or new not in holding:
            return old in holding
        there, here = holding[old], holding[new]
        return _said(there) != _said(here) and stands(there) > stands(here)

    repeated = {new: holding[old].model_copy(update={"image": new}) for old, new in files.items() if missing(old, new)}
    return [repeated[new] for new in sorted(repeated)]


def unmatched(decisions: list[Decision], files: Mapping[str, str]) -> set[str]:
    """Decided pictures that are neither an old nor a new name in ``files``: another key's, a phantom's, or gone."""
    return latest(decisions).keys() - files.keys() - set(files.values())


def _said(decision: Decision) -> Decision:
    """Without the picture's name: the same for a decision and for what repeats it."""
    return decision.model_copy(update={"image": ""})


def _repeat(review: Path, known: list[Decision]) -> None:
    """Raises ``CytolineError`` that says what is left to do: the map is there by now."""
    try:
        add_decisions(review, *known)
    except (CytolineError, OSError) as error:
        cause = error.cause if isinstance(error, CytolineError) else error.strerror
        raise CytolineError(
            f"the map is written, but the decisions could not be repeated ({cause})",
            "put that right and run again with another --map; then delete one of the two maps, which are the same",
        ) from None


def mapped(records: list[Record], old: Pseudonyms, new: Pseudonyms) -> Pairs:
    """Everything that the anonymize stage gives a pseudonym to."""
    pairs: Pairs = {}
    for record in records:
        for domain, value in _named(record):
            pairs.setdefault(domain, {})[old.of(domain, value)] = new.of(domain, value)
    return pairs


def _named(record: Record) -> Iterator[tuple[Domain, str]]:
    """As ``stages.anonymize.records`` names them."""
    yield "file", record.image_id
    yield "patient", record.patient
    yield "slide", f"{record.patient}\0{record.slide}"
    for item in record.annotations:
        if item.annotator is not None:
            yield "annotator", item.annotator
