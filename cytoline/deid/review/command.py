"""``cytoline review``: look at what is kept back, and decide about it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from cytoline.deid.orientation import read_orientation, turned_size
from cytoline.deid.params import AnonymizeParams
from cytoline.deid.review.decisions import (
    DECISIONS,
    REVIEW,
    Box,
    Decision,
    Stated,
    Word,
    latest,
    now,
    read_decisions,
    record,
)
from cytoline.deid.review.page import write_page
from cytoline.deid.review.place import refuse_published
from cytoline.deid.review.quarantine import Held, original_of, read_quarantine
from cytoline.errors import CytolineError
from cytoline.images import UnreadableImage, probe
from cytoline.manifest import MANIFEST, read_manifest

QUARANTINE = Path("data/quarantine")
CLEAN = Path("data/clean")
_BOX = re.compile(r"[0-9]{1,7}(,[0-9]{1,7}){3}")
_LEAST_DIGITS = 4


def review(
    image: Annotated[str | None, typer.Argument(help="pseudonym of an image, or its first digits")] = None,
    decide: Annotated[Word | None, typer.Option(help="release, redact or reject")] = None,
    reason: Annotated[Stated | None, typer.Option(help="why you decide so")] = None,
    by: Annotated[str | None, typer.Option(help="your handle, not your name: it is published")] = None,
    box: Annotated[list[str] | None, typer.Option(help="x,y,width,height to paint over; may be repeated")] = None,
    page: Annotated[Path | None, typer.Option(help="folder for a page with the pictures (private!)")] = None,
    quarantine: Annotated[Path, typer.Option(help="what was kept back")] = QUARANTINE,
    decisions: Annotated[Path, typer.Option(help="folder of the decisions")] = REVIEW,
    clean: Annotated[Path, typer.Option(help="images that passed: they can still be redacted or rejected")] = CLEAN,
) -> None:
    """List the images that were kept back, show them on a local page, or decide about one.

    `cytoline review` lists them, `cytoline review --page out/review` writes the page. The next `dvc repro` carries out
    what was decided and works on those images only.
    """
    console = Console(highlight=False, markup=False, soft_wrap=True)
    rows, held = read_quarantine(quarantine), latest(read_decisions(decisions))
    if image is None:
        if decide or reason or by or box:
            raise CytolineError("it is not said about which image", "name its pseudonym: `cytoline review` lists them")
        if page is not None:
            refuse_published(page)
            written = write_page(page, quarantine, rows, held, AnonymizeParams.load().max_pixels)
            console.print(f"written: {written}; it shows private images and must not leave this machine")
        else:
            _list(console, rows, held)
        return
    if page is not None or decide is None or reason is None or by is None:
        raise CytolineError(
            "a decision about an image needs --decide, --reason and --by, and no --page",
            "`cytoline review --help` says what they may be",
        )
    passed = _passed(clean)
    name = _whole(image, {row.image_id for row in rows}, set(passed), set(held))
    made = _decision(name, decide, reason, by, _boxes(box or []))
    row = next((row for row in rows if row.image_id == name), None)
    _check(made, row, passed.get(name) or _upright_size(quarantine, name), name in passed)
    record(decisions, made)
    console.print(f"recorded: {name} {decide}; commit {decisions / DECISIONS}, then run `dvc repro`")


def _list(console: Console, rows: Sequence[Held], held: dict[str, Decision]) -> None:
    table = Table(title="kept back", title_justify="left")
    for title in ("image", "why", "places", "decision"):
        table.add_column(title, justify="right" if title == "places" else "left", overflow="fold")
    for row in rows:
        decision = held.get(row.image_id)
        told = (
            f"{decision.decision} by {decision.reviewer}" if decision else "-" if row.releasable else "- (reject only)"
        )
        table.add_row(row.image_id, row.reason, str(len(row.regions)), told)
    if rows:
        console.print(table)
    decided = sum(row.image_id in held for row in rows)
    console.print(f"{len(rows)} images are kept back, {decided} of them decided (`dvc repro` carries that out)")
    if decided < len(rows):
        console.print("see them: `cytoline review --page out/review`")


def _passed(clean: Path) -> dict[str, tuple[int, int]]:
    """Width and height of the images that passed: the pictures there are upright."""
    if not (clean / MANIFEST).is_file():
        return {}
    return {item.image_id: (item.width, item.height) for item in read_manifest(clean)}


def _whole(start: str, *known: set[str]) -> str:
    """The one pseudonym that begins so."""
    if not re.fullmatch(f"[0-9a-f]{{{_LEAST_DIGITS},32}}", start):
        raise CytolineError(
            "that is no pseudonym",
            f"give {_LEAST_DIGITS} or more of its hexadecimal digits, as `cytoline review` lists them",
        )
    found = sorted(name for name in set().union(*known) if name.startswith(start))
    if len(found) != 1:
        raise CytolineError(
            f"{len(found)} images begin like that", "give more digits" if found else "`cytoline review` lists them"
        )
    return found[0]


def _boxes(given: Sequence[str]) -> tuple[Box, ...]:
    boxes: list[Box] = []
    for text in given:
        if not _BOX.fullmatch(text):
            raise CytolineError("a box is not x,y,width,height", "four whole numbers of pixels: `--box 120,40,300,64`")
        x, y, w, h = map(int, text.split(","))
        boxes.append((x, y, w, h))
    return tuple(boxes)


def _decision(name: str, word: Word, reason: Stated, by: str, boxes: tuple[Box, ...]) -> Decision:
    try:
        return Decision(image=name, decision=word, regions=boxes, reviewer=by, time=now(), reason=reason)
    except ValidationError as error:
        item = error.errors()[0]
        if item["loc"] == ("reviewer",):
            raise CytolineError(
                "--by is no handle", "2 to 32 of a-z, 0-9, '.', '_' and '-', the first a letter or digit"
            ) from None
        if item["loc"]:
            raise CytolineError("a box is empty or far too large", "x,y from 0, width and height from 1") from None
        raise CytolineError(
            str(item["msg"]).removeprefix("Value error, "), "`cytoline review --help` says what goes together"
        ) from None


def _check(made: Decision, row: Held | None, size: tuple[int, int] | None, passed: bool) -> None:
    """What would change nothing, or must not be, is refused at once; a run would refuse it as well."""
    if made.decision == "reject":
        return
    if row is not None and not row.releasable:
        raise CytolineError(f"an image that is kept back as {row.reason} can only be rejected", "`--decide reject`")
    if passed and made.decision == "release":
        raise CytolineError("that image has passed already", "redact or reject it, or leave it")
    if size is not None and any(x + w > size[0] or y + h > size[1] for x, y, w, h in made.regions):
        raise CytolineError(
            f"a box reaches outside the picture, which has {size[0]} x {size[1]} pixels", "correct that --box"
        )


def _upright_size(quarantine: Path, image: str) -> tuple[int, int] | None:
    path = original_of(quarantine, image)
    if path is None:
        return None
    content = path.read_bytes()
    try:
        width, height, _ = probe(content, AnonymizeParams.load().max_pixels)
    except UnreadableImage:
        return None
    return turned_size((width, height), read_orientation(content))
