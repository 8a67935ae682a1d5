"""Find cells in every field.  In: data/clean, models/detector.  Out: data/detections (COCO results).
Why: patches are cut around what the detector really finds, so that stage two is judged on stage one's output.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field

from cytoline import atomic
from cytoline.command import run
from cytoline.compute import ComputeParams, how_computed, prepare_torch
from cytoline.detection import Detector, load_detector
from cytoline.detections import Detection, write_detections
from cytoline.fusion import MIRRORS
from cytoline.images import read_image
from cytoline.manifest import read_manifest
from cytoline.memo import Job, Memo
from cytoline.models import read_card
from cytoline.params import Params


class DetectParams(Params, prefix="detect"):
    """What counts as a detection."""

    views: Annotated[int, Field(ge=1, le=len(MIRRORS))]
    min_score: Annotated[float, Field(ge=0, lt=1)]
    max_per_field: Annotated[int, Field(ge=1)]


def find_cells(image: Path, weights: Path, params: DetectParams) -> dict[str, bytes]:
    """Detections of one field as JSON rows ``[category_id, x, y, w, h, score]``.

    Coordinates to a hundredth of a pixel and scores to 1e-4: finer digits are noise and cost bytes.
    """
    boxes, scores, classes = _detector(weights.parent).predict(read_image(image), params.views)
    rows = [
        [int(kind) + 1, *(round(float(value), 2) for value in box), round(float(score), 4)]
        for box, score, kind in zip(boxes, scores, classes, strict=True)
        if score >= params.min_score and min(box[2:]) >= 1
    ]
    return {"rows.json": json.dumps(rows[: params.max_per_field]).encode()}


@lru_cache(maxsize=1)
def _detector(folder: Path) -> Detector:
    return load_detector(folder)


def main(
    clean: Annotated[Path, typer.Option(help="clean images and their manifest")],
    detector: Annotated[Path, typer.Option(help="the detector's model folder")],
    out: Annotated[Path, typer.Option(help="folder of COCO results to write")],
) -> None:
    """Run the detector over every field, labelled or not."""
    params = DetectParams.load()
    fields = [record for record in read_manifest(clean) if record.role == "field"]
    card = read_card(detector)
    rows: list[Detection] = []
    if fields and card.untrained is None:
        # Inference is deterministic for a fixed number of threads; the seed plays no part.
        threads = ComputeParams.load().threads
        prepare_torch(0, threads)
        weights = detector / "weights.safetensors"
        jobs = [Job(record.image_id, (clean / "images" / record.file, weights)) for record in fields]
        config = (detector / "config.py").read_bytes() + (detector / "model_card.json").read_bytes()
        config += how_computed(threads)
        for job, blobs in Memo().map(find_cells, jobs, params, description="detecting", extra=config):
            for kind, x, y, w, h, score in json.loads(blobs["rows.json"].read()):
                rows.append(Detection(image_id=job.name, category_id=kind, bbox=(x, y, w, h), score=score))
    with atomic.rebuilt_folder(out) as fresh:
        write_detections(fresh, rows, [record.image_id for record in fields], card.classes)


if __name__ == "__main__":
    run(main)
