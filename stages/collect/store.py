"""data/raw: the originals under their ids, the manifest, what was left out and the counts."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from cytoline import atomic
from cytoline.errors import CytolineError
from cytoline.manifest import Annotation, Record, json_line
from cytoline.progress import track
from cytoline.sources.examine import Examined, Kept
from cytoline.sources.found import WHATS, Reason
from cytoline.taxonomy import Taxonomy

COLLECTED = "collected.json"
REFUSED = "refused.jsonl"
IMAGES = "images"


def image_id(source: str, sha256: str) -> str:
    """32 hex digits that follow from the source's name and the file's bytes alone."""
    return hashlib.sha256(f"{source}|{sha256}".encode()).hexdigest()[:32]


def to_record(source: Examined, image: Kept, taxonomy: Taxonomy) -> Record:
    """The manifest's record of one image, labels as classes of the taxonomy."""
    name = image_id(source.name, image.sha256)
    boxes = [
        Annotation(bbox=box.bbox, label=taxonomy.find(box.label) or box.label, annotator=box.annotator)
        for box in image.boxes
    ]
    return Record(
        image_id=name,
        file=name + image.suffix,
        sha256=image.sha256,
        width=image.width,
        height=image.height,
        mpp=source.info.mpp if image.found.mpp is None else image.found.mpp,
        patient=image.patient,
        slide=image.slide,
        source=source.name,
        organ=source.info.organ,
        stain=source.info.stain,
        role="cell" if source.info.kind == "cells-folders" else "field",
        labelled=source.info.kind != "fields-plain" if image.found.labelled is None else image.found.labelled,
        annotations=tuple(boxes),
    )


def write_images(source: Examined, folder: Path) -> None:
    """Put every kept file of ``source`` into ``folder`` under its id, byte for byte."""
    for image in track(source.kept, len(source.kept), f"storing {source.name}"):
        _place(image, folder / (image_id(source.name, image.sha256) + image.suffix))


def write_notes(sources: list[Examined], folder: Path) -> None:
    """refused.jsonl: one row per thing left out (or cut: ``kept`` is then true).  It may hold names: raw only."""
    rows = [
        {
            "source": source.name,
            "file": note.file,
            "what": note.what,
            "reason": note.reason,
            "detail": note.detail,
            "count": note.count,
            "kept": note.reason == "clipped",
        }
        for source in sources
        for note in source.notes
    ]
    atomic.write_text(folder / REFUSED, "".join(map(json_line, rows)))


def counts(source: Examined, kind: str, taxonomy: Taxonomy) -> dict[str, Any]:
    """Totals of one source (``seen``, ``kept``, ``refused`` are files), with no path and no identifier in them.

    ``kind`` is the one in its source.yaml; a phantom was read as what it was rendered to.
    """
    refused = {what: source.refused(what) for what in WHATS}
    kept_boxes = sum(len(image.boxes) for image in source.kept)
    classes = Counter(taxonomy.find(label) or label for label in source.labels)
    return {
        "kind": kind,
        **_balance(source.listing.seen, source.listing.seen - refused["file"].total(), refused["file"]),
        "entries": _balance(source.entries, source.entries - refused["entry"].total(), refused["entry"]),
        "boxes": _balance(source.boxes, kept_boxes, refused["box"]),
        "clipped": sum(note.count for note in source.notes if note.reason == "clipped"),
        "images": len(source.kept),
        "patients": len({image.patient for image in source.kept}),
        "slides": len({image.slide for image in source.kept}),
        "classes": {name: classes[name] for name in taxonomy.classes if classes[name]},
    }


def _balance(seen: int, kept: int, refused: Counter[Reason]) -> dict[str, Any]:
    if seen != kept + refused.total():
        raise RuntimeError(f"{seen} came in, {kept} were kept and {refused.total()} refused")
    return {"seen": seen, "kept": kept, "refused": refused.total(), "reasons": dict(sorted(refused.items()))}


def _place(image: Kept, target: Path) -> None:
    """Hard link (the file's own inode, not a link of DVC's), or copy where links do not go."""
    original = image.file.resolve()
    try:
        os.link(original, target)
    except OSError:  # another file system, or links not allowed; a full disk fails again below, by its own name
        shutil.copyfile(original, target)
    if hashlib.sha256(target.read_bytes()).hexdigest() != image.sha256:
        raise CytolineError(
            "an incoming image changed while it was being collected", "wait until copying has ended, then run again"
        )
