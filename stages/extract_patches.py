"""Cut the square around every cell.  In: data/clean, data/split, data/detections.  Out: data/patches.

Why: stage two must be taught on annotated cells, and judged on what stage one really finds.  So every
annotated cell gives a patch, every detection on a val or test field gives one, and false positives on train
fields give ``background`` patches from which the classifier learns to say "no cell of interest".
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from pydantic import BaseModel, ConfigDict, Field

from cytoline import atomic
from cytoline.boxes import best_overlap
from cytoline.command import run
from cytoline.compute import ComputeParams, worker_pool
from cytoline.detections import Detection, read_detections
from cytoline.errors import CytolineError
from cytoline.images import png_bytes, read_image
from cytoline.manifest import BBox, Record, read_manifest
from cytoline.memo import Job, Memo
from cytoline.params import Params
from cytoline.patches import BACKGROUND, PatchRecord, crop, write_patches
from cytoline.shards import write_shards
from cytoline.splits import read_split


class PatchesParams(Params, prefix="patches"):
    """How patches are cut, and which detections count."""

    context: Annotated[float, Field(ge=1, le=8)]
    """Side of the patch over the longer side of the cell's box."""
    min_px: Annotated[int, Field(ge=8, le=1024)]
    """No patch is cut smaller than this."""
    match_iou: Annotated[float, Field(gt=0, le=1)]
    """From this overlap on, a detection shows the annotated cell and takes its label."""
    background_iou: Annotated[float, Field(gt=0, le=1)]
    """Below this overlap with every annotated cell, a detection on a train field is background."""
    min_score: Annotated[float, Field(ge=0, lt=1)]
    """Detections with a lower score are left out."""
    max_detections: Annotated[int, Field(ge=1)]
    """Best-scored detections taken from one field."""
    max_background_per_annotated: Annotated[float, Field(ge=0)]
    """Most background patches per annotated train patch; the best-scored (hardest) are taken."""
    shards: Annotated[int, Field(ge=1, le=999)]


class Cut(BaseModel):
    """The params that a patch's pixels depend on."""

    model_config = ConfigDict(frozen=True)

    context: float
    min_px: int


def cut(image: Path, cells: tuple[tuple[str, BBox], ...], params: Cut) -> dict[str, bytes]:
    """All patches of one image as PNG, by name."""
    pixels = read_image(image)
    return {name: png_bytes(crop(pixels, bbox, params.context, params.min_px)) for name, bbox in cells}


def annotated(record: Record, split: str) -> Iterator[PatchRecord]:
    """One patch per annotated cell, but for those that the anonymizer painted over: they teach and prove nothing."""
    for number, item in enumerate(record.annotations):
        if not item.hidden:
            yield _patch(record, split, "annotated", number, item.label, item.bbox, None)


def detected(
    record: Record, split: str, detections: Iterable[Detection], params: PatchesParams
) -> Iterator[PatchRecord]:
    """Patches of one field's detections: all on val and test, false positives on train."""
    chosen = sorted((item for item in detections if item.score >= params.min_score), key=lambda item: -item.score)
    chosen = chosen[: params.max_detections]
    truth = [item.bbox for item in record.annotations]
    nearest, overlaps = best_overlap([item.bbox for item in chosen], truth)
    for number, (item, cell, overlap) in enumerate(zip(chosen, nearest, overlaps, strict=True)):
        if split != "train":
            label = record.annotations[cell].label if overlap >= params.match_iou else None
            yield _patch(record, split, "detected", number, label, item.bbox, item.score)
        elif record.labelled and overlap < params.background_iou:
            yield _patch(record, split, "background", number, BACKGROUND, item.bbox, item.score)


def _patch(
    record: Record, split: str, origin: str, number: int, label: str | None, bbox: BBox, score: float | None
) -> PatchRecord:
    return PatchRecord.model_validate(
        {
            "patch_id": f"{record.image_id}-{origin[0]}{number:04}",
            "image_id": record.image_id,
            "patient": record.patient,
            "source": record.source,
            "split": split,
            "origin": origin,
            "label": label,
            "bbox": bbox,
            "score": score,
        }
    )


def plan(
    records: Iterable[Record],
    split: dict[str, str],
    detections: dict[str, list[Detection]],
    params: PatchesParams,
) -> list[PatchRecord]:
    """Which patches there will be, sorted by id."""
    found: list[PatchRecord] = []
    for record in records:
        if record.image_id not in split:
            raise CytolineError(f"image {record.image_id} is in no split", "rebuild the split: `dvc repro -f split`")
        part = split[record.image_id]
        found += annotated(record, part)
        found += detected(record, part, detections.get(record.image_id, ()), params)
    cells = sum(patch.origin == "annotated" and patch.split == "train" for patch in found)
    background = sorted((p for p in found if p.origin == "background"), key=lambda p: (-(p.score or 0), p.patch_id))
    kept = background[: int(cells * params.max_background_per_annotated)]
    return sorted([p for p in found if p.origin != "background"] + kept, key=lambda p: p.patch_id)


def cell_side(records: Iterable[Record], split: dict[str, str]) -> float | None:
    """Median longer side, pixels, of the boxes in train pictures of single cells; None where the box is the picture.

    Whoever grades a new picture of one cell has no box for it and must cut as much of it as was cut here.
    """
    sides, whole = [], 0
    for record in records:
        if record.role == "cell" and split[record.image_id] == "train":
            for _, _, width, height in (item.bbox for item in record.annotations):
                sides.append(max(width, height))
                whole += width >= record.width and height >= record.height
    return median(sides) if sides and whole * 2 < len(sides) else None


def summary(patches: Iterable[PatchRecord], how: Cut, cell_px: float | None) -> str:
    """Counts by split, origin and label, and how the patches were cut, as JSON."""
    counts = Counter((p.split, p.origin, p.label or "unmatched") for p in patches)
    rows = [
        {"split": split, "origin": origin, "label": label, "patches": count}
        for (split, origin, label), count in sorted(counts.items())
    ]
    told = {"patches": sum(counts.values()), "counts": rows, "cut": {**how.model_dump(), "cell_px": cell_px}}
    return json.dumps(told, indent=1, sort_keys=True) + "\n"


def main(
    clean: Annotated[Path, typer.Option(help="clean images and their manifest")],
    split: Annotated[Path, typer.Option(help="folder of the split table")],
    detections: Annotated[Path, typer.Option(help="folder of COCO results")],
    out: Annotated[Path, typer.Option(help="folder of patch shards to write")],
) -> None:
    """Cut a patch around every annotated cell and around what the detector found."""
    params = PatchesParams.load()
    records, parts = read_manifest(clean), read_split(split)
    patches = plan(records, parts, read_detections(detections), params)
    if not patches:
        raise CytolineError("there is no annotated cell and no detection to cut out", "add annotated images")
    cells: dict[str, list[tuple[str, BBox]]] = {}
    for patch in patches:
        cells.setdefault(patch.image_id, []).append((patch.file, patch.bbox))
    files = {record.image_id: clean / "images" / record.file for record in records}
    jobs = [Job(image_id, (files[image_id], tuple(listed))) for image_id, listed in sorted(cells.items())]
    pixels = Cut(context=params.context, min_px=params.min_px)
    with atomic.rebuilt_folder(out) as folder, worker_pool(ComputeParams.load()) as pool:
        results = Memo().map(cut, jobs, pixels, description="cutting patches", pool=pool)
        write_shards(
            folder, ((name, blob.read()) for _, blobs in results for name, blob in blobs.items()), params.shards
        )
        write_patches(folder, patches)
        atomic.write_text(folder / "summary.json", summary(patches, pixels, cell_side(records, parts)))


if __name__ == "__main__":
    run(main)
