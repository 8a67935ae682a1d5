"""A tiny repository up to the split: fields with bright square cells on a dark ground, each box known."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cytoline.images import png_bytes
from cytoline.manifest import Annotation, BBox, Record, write_manifest
from cytoline.splits import SplitRow, write_split_rows

WIDTH, HEIGHT = 96, 72
GROUND, CELL = 60, 230

SECTIONS: dict[str, dict[str, Any]] = {
    "compute": {"scheduler": "local", "workers": 1, "threads": 1},
    "augment": {
        "copies": 2,
        "splits": ["train"],
        "stain": 0.5,
        "focus": 0.5,
        "geometry": 0.5,
        "noise": 0.5,
        "min_visibility": 0.4,
    },
    "patches": {
        "context": 1.5,
        "min_px": 16,
        "match_iou": 0.5,
        "background_iou": 0.2,
        "min_score": 0.1,
        "max_detections": 5,
        "max_background_per_annotated": 0.5,
        "shards": 4,
    },
    "upscaler": {
        "factor": 2,
        "features": 28,
        "blocks": 1,
        "steps": 12,
        "batch": 4,
        "patch_px": 48,
        "learning_rate": 0.001,
        "max_patches": 50,
    },
    "upscale": {"method": "lanczos", "factor": 2, "file": ""},
}


def in_process(_: object) -> AbstractContextManager[None]:
    """In the place of ``worker_pool``: starting real workers takes seconds, and one test per stage does that."""
    return nullcontext()


def write_params(folder: Path, **sections: dict[str, Any]) -> None:
    """``params.yaml`` with the sections above, single leaves replaced."""
    leaves = {name: {**values, **sections.get(name, {})} for name, values in SECTIONS.items()}
    top = {"seed": 0, "taxonomy": "bethesda", "profile": "cpu", "profiles": {"cpu": {}}}
    (folder / "params.yaml").write_text(yaml.safe_dump(top | leaves), encoding="utf-8")


@contextmanager
def inside(folder: Path) -> Iterator[Path]:
    """Stages read ./params.yaml and keep their memo store beside it."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)


def picture(boxes: Sequence[BBox], seed: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT)) -> np.ndarray:
    """Bright squares at whole-pixel boxes on a dark, slightly uneven ground."""
    levels = np.random.default_rng(seed).integers(GROUND - 4, GROUND + 5, (size[1], size[0], 3))
    for x, y, w, h in boxes:
        levels[int(y) : int(y + h), int(x) : int(x + w)] = CELL
    return levels.astype(np.uint8)


def plant(folder: Path, fields: dict[str, tuple[str, Sequence[tuple[BBox, str]]]], **changes: object) -> None:
    """``fields``: name -> (part, cells).  Makes data/clean and data/split; each field has its own patient."""
    images = folder / "data" / "clean" / "images"
    images.mkdir(parents=True, exist_ok=True)
    records, rows = [], []
    for number, (name, (part, cells)) in enumerate(sorted(fields.items())):
        content = png_bytes(picture([box for box, _ in cells], number))
        (images / f"{name}.png").write_bytes(content)
        record = {
            "image_id": name,
            "file": f"{name}.png",
            "sha256": hashlib.sha256(content).hexdigest(),
            "width": WIDTH,
            "height": HEIGHT,
            "mpp": 0.25,
            "patient": f"patient-{name}",
            "slide": f"slide-{name}",
            "source": "planted",
            "organ": "cervix",
            "stain": "papanicolaou",
            "role": "field",
            "annotations": [Annotation(bbox=box, label=label) for box, label in cells],
        }
        records.append(Record.model_validate(record | changes))
        rows.append(
            SplitRow.model_validate(
                {"image_id": name, "patient": f"patient-{name}", "group": f"patient-{name}", "split": part}
            )
        )
    write_manifest(folder / "data" / "clean", records)
    (folder / "data" / "split").mkdir(parents=True, exist_ok=True)
    write_split_rows(folder / "data" / "split", rows)


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its relative name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
