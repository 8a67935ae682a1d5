"""Any folder -> a folder of files made anew, each checked before it counts.  For what the pipeline does not take in.

The pipeline itself needs fields as plain pictures; to hand on whole slides or DICOM files, they are made anew as what
they are.  Names, folders and sidecars of the source are left behind; what cannot be made anew is counted by reason and
is not in the result.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from cytoline.deid import dicom, slide
from cytoline.deid.accounting import account
from cytoline.deid.identity import Identity
from cytoline.deid.marks import find_marks
from cytoline.deid.params import AnonymizeParams
from cytoline.deid.polygon import Polygon
from cytoline.deid.recreate import OUTCOME, Outcome, recreate
from cytoline.errors import CytolineError
from cytoline.images import RGB, UnreadableImage, probe
from cytoline.progress import track

Kind = Literal["dicom", "slide", "image", "other"]

IMAGES = "images"
_MAGIC_AT, _MAGIC = 128, b"DICM"


class Suspected(Exception):  # noqa: N818 (says what it is)
    """Something that cannot be painted over with certainty, a barcode that nobody reads or a pen: a person decides."""


@dataclass(frozen=True)
class Made:
    """What became of one file: the name of what was made, or why nothing was."""

    kind: Kind
    file: str | None
    reason: str | None
    painted: bool = False


def deidentify_folder(
    source: Path, out: Path, identity: Identity, params: AnonymizeParams, pool: Executor, *, pixels: bool = True
) -> list[Made]:
    """Fill the empty folder ``out`` from every file below ``source``, in the order of their paths."""
    (out / IMAGES).mkdir()
    files = list(_files(source))
    names = [identity.pseudonym("file", f"{number}\0{path.relative_to(source)}") for number, path in enumerate(files)]
    jobs = [
        pool.submit(deidentify_file, path, out / IMAGES, name, identity, params, pixels=pixels)
        for path, name in zip(files, names, strict=True)
    ]
    return [job.result() for job in track(jobs, len(jobs), "making files anew")]


def deidentify_file(
    path: Path, out: Path, name: str, identity: Identity, params: AnonymizeParams, *, pixels: bool = True
) -> Made:
    """Write ``out/name.*``, or say why not.  Whatever the file holds, nothing but its reason comes back."""
    if path.is_symlink() or not path.is_file():
        return Made("other", None, "link")
    look = partial(_look, params=params) if pixels else None
    kind: Kind = "other"
    try:
        kind = kind_of(path, params)
        if kind == "dicom":
            target = out / f"{name}.dcm"
            limits = dicom.Limits(max_pixels=params.max_pixels, margin=params.margin)
            made = dicom.recreate_dicom(path, identity, look, limits, target, _is_accounted_for)
            return _checked(kind, target, painted=bool(made.painted))
        if kind == "slide":
            target = out / f"{name}.tif"
            done = slide.recreate_slide(path, target, look, slide.SlideLimits(margin=params.margin))
            return _checked(kind, target, painted=bool(done.painted))
        return _image(path, out, name, params) if kind == "image" else Made(kind, None, "no_image")
    except (dicom.CannotRecreate, slide.CannotRecreate) as refusal:
        return Made(kind, None, str(refusal.reason))
    except Suspected as suspicion:
        return Made(kind, None, str(suspicion))
    except (PermissionError, FileNotFoundError):  # their messages name the file
        return Made(kind, None, "no_permission")


def kind_of(path: Path, params: AnonymizeParams) -> Kind:
    """By content, not by name."""
    if is_dicom(path):
        return "dicom"
    if slide.is_slide(path):
        return "slide"
    try:
        probe(path, params.max_pixels)
    except UnreadableImage as refusal:
        return "other" if refusal.reason in ("unknown_format", "empty") else "image"
    return "image"


def is_dicom(path: Path) -> bool:
    """By the mark behind the preamble."""
    with path.open("rb") as handle:
        return handle.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC


def _image(path: Path, out: Path, name: str, params: AnonymizeParams) -> Made:
    try:
        width, height, _ = probe(path, params.max_pixels)
    except UnreadableImage as refusal:
        return Made("image", None, refusal.reason)
    made = recreate(path, width, height, params)
    outcome = Outcome.model_validate_json(made[OUTCOME])
    if outcome.file is None:
        return Made("image", None, outcome.reason)
    target = out / (name + Path(outcome.file).suffix)
    target.write_bytes(made[outcome.file])
    return Made("image", target.name, None, painted=bool(outcome.painted))


def _is_accounted_for(frame: bytes) -> bool:
    return not account(frame)


def _checked(kind: Kind, target: Path, *, painted: bool) -> Made:
    """The last word has the account of every byte, by a parser that wrote none of them."""
    with target.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = account(content)
    if found:
        target.unlink()
        return Made(kind, None, "check_failed")
    return Made(kind, target.name, None, painted)


def _look(rgb: RGB, params: AnonymizeParams) -> tuple[Polygon, ...]:
    hits = find_marks(rgb, params)
    if hits.unread and not hits.all:  # it is asked again after painting: dense writing looks like a barcode until then
        raise Suspected("barcode_like")
    if hits.ink and not hits.all:
        raise Suspected("pen_or_handwriting")
    return hits.all


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root, onerror=unlistable):
        folders.sort()
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in sorted([*names, *links]):
            yield Path(folder) / name


def unlistable(_: OSError) -> None:
    """What cannot be listed cannot be vouched for; the system's own message would name it."""
    raise CytolineError("a folder may not be listed", "make all folders readable, or leave it out")
