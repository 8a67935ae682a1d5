"""One source, read and judged: what is kept, what is left out and why, and proof that nothing vanished."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path

from cytoline.memo import Job, Memo
from cytoline.sources.boxes import fit_all
from cytoline.sources.coco import read_coco
from cytoline.sources.context import Context
from cytoline.sources.decode import VERDICT, DecodeLimits, judge
from cytoline.sources.dicom import read_dicom
from cytoline.sources.folders import read_cells, read_plain
from cytoline.sources.found import Box, Found, Reading, Reason, Refusal, What
from cytoline.sources.identity import identify
from cytoline.sources.listing import Listing, list_files
from cytoline.sources.params import CollectParams
from cytoline.sources.points import read_points
from cytoline.sources.schema import EACH_FILE, SourceInfo
from cytoline.sources.slides import read_slides
from cytoline.sources.tables import MEGABYTE
from cytoline.sources.unpack import POOL_FROM_BYTES
from cytoline.sources.voc import read_voc

READERS: dict[str, Callable[[Context], Reading]] = {
    "fields-coco": read_coco,
    "fields-voc": read_voc,
    "fields-csv-points": read_points,
    "fields-plain": read_plain,
    "cells-folders": read_cells,
    "dicom": read_dicom,
    "wsi-regions": read_slides,
}


@dataclass(frozen=True)
class Kept:
    """An image that goes on, its boxes inside it and its labels as the source's aliases have them."""

    found: Found
    file: Path
    sha256: str
    suffix: str
    width: int
    height: int
    patient: str
    slide: str
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Examined:
    """A source after all checks."""

    name: str
    info: SourceInfo
    listing: Listing
    used: frozenset[str]
    """Files other than images that were read."""
    kept: tuple[Kept, ...]
    notes: tuple[Refusal, ...]
    """Everything left out, and boxes that were cut (``clipped``), sorted."""
    entries: int
    boxes: int

    @property
    def labels(self) -> Iterator[str]:
        """The label of every kept box."""
        return (box.label for image in self.kept for box in image.boxes)

    def refused(self, what: What) -> Counter[Reason]:
        """How many of ``what`` (file, entry, box) were left out, by reason."""
        counts: Counter[Reason] = Counter()
        for note in self.notes:
            if note.what == what and note.reason != "clipped":
                counts[note.reason] += note.count
        return counts


@dataclass
class _State:
    """Notes collect here while images pass one check after another."""

    notes: list[Refusal] = field(default_factory=list)

    def refuse(self, found: Found, refusal: Refusal) -> None:
        self.notes.append(refusal)
        if found.boxes:
            self.notes.append(Refusal("box", found.path, "image_refused", refusal.reason, len(found.boxes)))


def examine(
    name: str,
    folder: Path,
    info: SourceInfo,
    params: CollectParams,
    memo: Memo,
    pool: Executor | None = None,
    unpack_to: Path | None = None,
) -> Examined:
    """Read and judge the source in ``folder``.  ``pool`` is used if there is much to decode.

    ``unpack_to`` is an empty folder for frames and regions (dicom, wsi-regions); what is kept of them lies there.
    """
    context = Context(name, info, list_files(folder), params, unpack_to, pool)
    reading = READERS[info.kind](context)
    context = replace(context, listing=context.listing.joined(reading.unpacked))
    state = _State([*context.listing.refused, *reading.refused])
    _unused_files(context, reading, state)
    kept = _distinct(info, _judged(context, reading, state, memo, pool), state)
    kept = [_with_boxes(context, image, state) for image in kept]
    examined = Examined(
        name=name,
        info=info,
        listing=context.listing,
        used=frozenset(reading.used),
        kept=tuple(sorted(kept, key=lambda image: image.found.path)),
        notes=tuple(sorted(state.notes, key=lambda note: (note.file, note.what, note.reason, note.detail))),
        entries=reading.entries,
        boxes=reading.boxes,
    )
    check_conservation(examined)
    return examined


def check_conservation(examined: Examined) -> None:
    """In = kept + refused, for files and for boxes.  Raises ``RuntimeError``: a failure is a defect of ours."""
    # A notice may be an annotation by its content (notice_1.xml): then it was used or refused, and counts as that.
    elsewhere = examined.used | {note.file for note in examined.notes if note.what == "file"}
    files = len(examined.kept) + len(examined.used) + len(set(examined.listing.notices) - elsewhere)
    files += examined.refused("file").total()
    boxes = sum(len(image.boxes) for image in examined.kept) + examined.refused("box").total()
    if files != examined.listing.seen or boxes != examined.boxes:
        raise RuntimeError(
            f"source {examined.name}: {files} of {examined.listing.seen} files and "
            f"{boxes} of {examined.boxes} boxes are accounted for"
        )


def _unused_files(context: Context, reading: Reading, state: _State) -> None:
    """Files that no reader mentioned."""
    mentioned = {found.path for found in reading.found} | reading.used | set(context.listing.notices)
    mentioned |= {refusal.file for refusal in reading.refused if refusal.what == "file"}
    for name in context.listing.files:
        if name not in mentioned:
            known = name in context.listing.image_set and context.info.kind != "fields-plain"
            state.notes.append(Refusal("file", name, "no_annotation" if known else "other_file"))


def _judged(context: Context, reading: Reading, state: _State, memo: Memo, pool: Executor | None) -> list[Kept]:
    """Images that have a patient and decode, in the reader's order (so that a list's later copy is the copy)."""
    waiting: dict[str, tuple[Found, tuple[str, str]]] = {}
    total = 0
    for found in reading.found:
        size = context.listing.files[found.path].stat().st_size
        who = identify(context.info, context.name, found.origin or found.path, found.row)
        if who is None:
            state.refuse(found, Refusal("file", found.path, "no_patient"))
        elif size > context.params.max_file_megabytes * MEGABYTE:
            state.refuse(found, Refusal("file", found.path, "file_too_large", f"{size} bytes"))
        else:
            waiting[found.path] = (found, who)
            total += size
    limits = DecodeLimits(max_pixels=context.params.max_megapixels * 1_000_000)
    jobs = [Job(path, (context.listing.files[path],)) for path in waiting]
    workers = pool if total >= POOL_FROM_BYTES else None
    kept = []
    for job, blobs in memo.map(judge, jobs, limits, description=f"reading {context.name}", pool=workers):
        found, who = waiting[job.name]
        verdict = json.loads(blobs[VERDICT].read())
        if "reason" in verdict:
            state.refuse(found, Refusal("file", found.path, verdict["reason"], verdict["detail"]))
        elif found.size is not None and min(found.size) > 0 and found.size != (verdict["width"], verdict["height"]):
            detail = f"annotated at {found.size[0]} x {found.size[1]}, is {verdict['width']} x {verdict['height']}"
            state.refuse(found, Refusal("file", found.path, "size_mismatch", detail))
        else:
            kept.append(Kept(found, context.listing.files[job.name], patient=who[0], slide=who[1], **verdict))
    return kept


def _distinct(info: SourceInfo, images: list[Kept], state: _State) -> list[Kept]:
    """Of files with equal bytes only the first goes on."""
    groups = defaultdict(list)
    for image in images:
        groups[image.sha256].append(image)
    for first, *others in groups.values():
        for other in others:
            # With each-file every copy has its own "patient", which says nothing about the people.
            same = info.patient_id == EACH_FILE or first.patient == other.patient
            same = same and sorted(map(repr, first.found.boxes)) == sorted(map(repr, other.found.boxes))
            reason = Refusal("file", other.found.path, "duplicate" if same else "duplicate_disagrees")
            state.refuse(other.found, replace(reason, detail=f"of {first.found.path}"))
    return [group[0] for group in groups.values()]


def _with_boxes(context: Context, image: Kept, state: _State) -> Kept:
    aliases = {label.strip().casefold(): target for label, target in context.info.label_aliases.items()}
    boxes, notes = fit_all(image.found, image.width, image.height, context.info.cell_box_px, aliases)
    state.notes.extend(notes)
    return replace(image, boxes=tuple(boxes))
