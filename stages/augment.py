"""Varied copies of train fields.  In: data/clean, data/split.  Out: data/augmented.

Why: stain, focus and camera differ between laboratories more than cells do; a detector that has seen only
one of each fails on the next.  Copies are stored, so that what the detector saw can be looked at, and each
depends on nothing but its image, the seed and the params: adding an image leaves the others as they were.
Fields only: the classifier varies its patches while it trains.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import typer
from pydantic import BaseModel, Field

from cytoline import atomic
from cytoline.command import run
from cytoline.compute import ComputeParams, worker_pool
from cytoline.images import RGB, png_bytes, read_image
from cytoline.manifest import Annotation, Record, read_manifest, write_manifest
from cytoline.memo import Job, Memo
from cytoline.params import Params, load_seed
from cytoline.shards import ShardWriter
from cytoline.splits import read_split

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # importing it would ask the network for a newer version
import albumentations as A

Strength = Annotated[float, Field(ge=0, le=1)]
"""0 switches the group off, 1 is as strong as slides of other laboratories were seen to differ."""

# Optical density (-log of transmitted light) of haematoxylin, eosin and DAB per unit of stain, in red, green
# and blue: Ruifrok and Johnston 2001.  Other stains' colours are mixtures of these three, so jitter along
# them moves a Papanicolaou or Giemsa slide too, though not dye by dye.
STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]], dtype=np.float32)


class AugmentParams(Params, prefix="augment"):
    """How many copies of which fields, and how far they may differ."""

    copies: Annotated[int, Field(ge=0, le=20)]
    splits: list[Literal["train", "val", "test"]]
    stain: Strength
    focus: Strength
    geometry: Strength
    noise: Strength
    min_visibility: Annotated[float, Field(ge=0, le=1)]
    """A cell that keeps less than this share of its box inside the picture is no longer annotated."""


class StainJitter(A.ImageOnlyTransform):  # type: ignore[misc]
    """Scale and shift each stain's optical density by up to ``strength`` (Tellez et al. 2018, HED jitter)."""

    def __init__(self, strength: float, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.strength = strength

    def get_params(self) -> dict[str, Any]:
        """Draw one factor and one shift per stain."""
        scale = self.random_generator.uniform(1 - self.strength, 1 + self.strength, 3)
        shift = self.random_generator.uniform(-self.strength, self.strength, 3) * 0.1
        return {"scale": scale.astype(np.float32), "shift": shift.astype(np.float32)}

    def apply(self, img: RGB, scale: Any, shift: Any, **_: Any) -> RGB:
        """Separate the stains, change them, put them together again."""
        table = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)
        mix = np.linalg.inv(STAINS) @ np.diag(scale) @ STAINS
        # A shift acts on stained ground only: the bright empty slide has no stain to vary.
        density = table[img]
        varied = density @ mix.astype(np.float32)
        varied += np.minimum(density.mean(axis=2, keepdims=True) * 4, 1) * (shift @ STAINS)
        levels: RGB = np.clip(np.exp(-varied) * 256 - 1 + 0.5, 0, 255).astype(np.uint8)
        return levels


def transforms(params: AugmentParams, ground: tuple[float, ...], seed: int) -> A.Compose:
    """The chain for one copy.  ``ground`` fills what a rotation uncovers: mirrored cells would have no boxes."""
    chain: list[Any] = []
    if g := params.geometry:
        chain += [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5), A.RandomRotate90(p=0.5)]
        affine = A.Affine(
            rotate=(-15 * g, 15 * g),
            translate_percent=(-0.06 * g, 0.06 * g),
            rotate_method="ellipse",  # cells are round: the box of a turned cell is not the box of a turned box
            border_mode=cv2.BORDER_CONSTANT,
            fill=ground,
            p=0.5,
        )
        chain.append(affine)
    if s := params.stain:
        chain.append(StainJitter(0.2 * s, p=0.8))
        chain.append(A.ColorJitter((1 - 0.15 * s, 1 + 0.15 * s), (1 - 0.15 * s, 1 + 0.15 * s), (1, 1), (0, 0), p=0.5))
    if f := params.focus:
        defocus = A.Defocus(radius=(1, max(1, round(3 * f))), alias_blur=(0.1, 0.3), p=1)
        chain.append(A.OneOf([defocus, A.GaussianBlur(blur_limit=0, sigma_limit=(0.3, 0.3 + 1.2 * f), p=1)], p=0.35))
    if n := params.noise:
        camera = [
            A.GaussNoise(std_range=(0.005, 0.005 + 0.025 * n), p=1),
            A.ISONoise((0.01, 0.03), (0.05, 0.3 * n), p=1),
        ]
        chain.append(A.OneOf(camera if n > 0.2 else camera[:1], p=0.4))
        chain.append(A.ImageCompression(quality_range=(round(95 - 35 * n), 95), p=0.4))
    boxes = A.BboxParams("coco", label_fields=["cells"], min_visibility=params.min_visibility, min_area=4, clip=True)
    return A.Compose(chain, bbox_params=boxes, seed=seed)


def vary(image: Path, record: Record, copy: int, seed: int, params: AugmentParams) -> dict[str, bytes]:
    """Copy number ``copy`` of one field: its PNG and its record, whose boxes went with the pixels."""
    pixels = read_image(image)
    name = f"{record.image_id}-a{copy}"
    ground = tuple(float(level) for level in np.median(pixels.reshape(-1, 3), axis=0))
    draw = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:4], "big")
    boxes = [item.bbox for item in record.annotations]
    result = transforms(params, ground, draw)(image=pixels, bboxes=boxes, cells=list(range(len(boxes))))
    content = png_bytes(np.ascontiguousarray(result["image"]))
    height, width = result["image"].shape[:2]
    moved = record.model_copy(
        update={
            "image_id": name,
            "file": f"{name}.png",
            "sha256": hashlib.sha256(content).hexdigest(),
            "width": width,
            "height": height,
            "annotations": tuple(
                _moved(record.annotations[int(cell)], box, width, height)
                for cell, box in zip(result["cells"], result["bboxes"], strict=True)
            ),
        }
    )
    return {"image.png": content, "record.json": moved.model_dump_json().encode()}


def _moved(cell: Annotation, box: Any, width: int, height: int) -> Annotation:
    """To a hundredth of a pixel, inside the image."""
    x, y = (min(max(round(float(value), 2), 0.0), side) for value, side in zip(box[:2], (width, height), strict=True))
    w, h = (round(min(float(value), side), 2) for value, side in zip(box[2:4], (width - x, height - y), strict=True))
    return cell.model_copy(update={"bbox": (x, y, w, h)})


def jobs_for(records: list[Record], split: dict[str, str], clean: Path, seed: int, params: AugmentParams) -> list[Job]:
    """One job per copy.  Unlabelled fields are left out: to a detector they would say "no cells here"."""
    chosen = [r for r in records if r.role == "field" and r.labelled and split[r.image_id] in params.splits]
    return [
        Job(f"{record.image_id}-a{copy}", (clean / "images" / record.file, record, copy, seed))
        for record in chosen
        for copy in range(params.copies)
    ]


def results(jobs: list[Job], params: AugmentParams) -> Iterator[tuple[Record, bytes]]:
    """Records and PNGs of all copies."""
    with worker_pool(ComputeParams.load()) as pool:
        for _, blobs in Memo().map(vary, jobs, params, description="augmenting fields", pool=pool):
            yield Record.model_validate_json(blobs["record.json"].read()), blobs["image.png"].read()


class Summary(BaseModel):
    """What the report says about augmentation."""

    copies: int
    splits: list[str]
    images: int
    cells: int
    varied_outside_train: list[str]
    """Parts other than train that hold varied copies: figures measured on these copies are not on real images."""


def main(
    clean: Annotated[Path, typer.Option(help="clean images and their manifest")],
    split: Annotated[Path, typer.Option(help="folder of the split table")],
    out: Annotated[Path, typer.Option(help="folder of shards to write")],
) -> None:
    """Make varied copies of the fields of `augment.splits`."""
    params = AugmentParams.load()
    jobs = jobs_for(read_manifest(clean), read_split(split), clean, load_seed(), params)
    with atomic.rebuilt_folder(out) as folder:
        records = []
        with ShardWriter(folder) as shards:
            for record, content in results(jobs, params):
                shards.add(record.file, content)
                records.append(record)
        write_manifest(folder, records)
        made = Summary(
            copies=params.copies,
            splits=sorted(params.splits),
            images=len(records),
            cells=sum(len(record.annotations) for record in records),
            varied_outside_train=sorted(set(params.splits) - {"train"}) if params.copies else [],
        )
        atomic.write_text(folder / "summary.json", json.dumps(made.model_dump(), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    run(main)
