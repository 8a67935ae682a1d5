"""A tiny repository in which everything before ``evaluate`` is planted, so that its figures are known by hand.

A cell is a square of one flat colour; the colour says how ``ColourClassifier`` grades it.  So a cell can be
labelled HSIL and look like SCC, and a detection on empty ground looks like nothing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import yaml

from cytoline.detections import Detection, write_detections
from cytoline.images import png_bytes, resize
from cytoline.manifest import Annotation, Record, write_manifest
from cytoline.models import ModelCard, Port, save_model
from cytoline.patches import PatchRecord, crop, write_patches
from cytoline.shards import write_shards
from cytoline.splits import SplitRow, write_split_rows

REPOSITORY = Path(__file__).parents[2]
CLASSES = ("NILM", "LSIL", "HSIL", "SCC")
GROUND = (235, 225, 230)
COLOURS = {"NILM": (60, 160, 90), "LSIL": (200, 160, 60), "HSIL": (200, 90, 60), "SCC": (140, 30, 60)}
SURE = 0.85


@dataclass(frozen=True)
class Cell:
    """``score`` None: the detector missed it.  ``looks`` is the class of its colour (None: like the ground)."""

    bbox: tuple[float, float, float, float]
    label: str | None
    looks: str | None
    score: float | None = None


@dataclass(frozen=True)
class Planted:
    """One image.  Cells with ``label`` None are false positives of the detector."""

    name: str
    patient: str
    split: str
    cells: Sequence[Cell]
    role: str = "field"
    labelled: bool = True
    size: tuple[int, int] = (160, 120)
    redacted: frozenset[int] = field(default_factory=frozenset)


class ColourClassifier:
    """Grades by the colour in the middle of a patch: SURE for that class, the rest shared; ground is background."""

    classes = (*CLASSES, "background")

    def __init__(self, folder: Path | None = None) -> None:
        pass

    def predict(self, patches: Sequence[np.ndarray]) -> np.ndarray:
        rows = []
        names = [*CLASSES, "background"]
        palette = np.array([*(COLOURS[name] for name in CLASSES), GROUND], dtype=float)
        for patch in patches:
            middle = patch[patch.shape[0] // 2, patch.shape[1] // 2].astype(float)
            best = int(np.abs(palette - middle).sum(axis=1).argmin())
            rows.append([SURE if place == best else (1 - SURE) / 4 for place in range(len(names))])
        return np.array(rows).reshape(-1, len(names))


def standard() -> list[Planted]:
    """Three test patients, one of validation, one of training; one miss, one wrong grade, one false positive."""
    box = [(10.0, 10.0, 20.0, 20.0), (60.0, 20.0, 20.0, 20.0), (110.0, 60.0, 20.0, 20.0), (20.0, 80.0, 20.0, 20.0)]
    return [
        Planted("t1", "pa", "test", [Cell(box[0], "NILM", "NILM", 0.9), Cell(box[1], "LSIL", "LSIL", 0.8)]),
        Planted("t2", "pb", "test", [Cell(box[0], "HSIL", "SCC", 0.7), Cell(box[2], "SCC", "SCC", 0.6)]),
        Planted("t3", "pc", "test", [Cell(box[1], "NILM", "NILM"), Cell(box[3], None, None, 0.85)]),
        Planted("t4", "pc", "test", [Cell(box[1], None, "SCC", 0.99)], labelled=False),
        Planted(
            "v1",
            "pv",
            "val",
            [
                Cell(box[0], "NILM", "NILM", 0.9),
                Cell(box[1], "LSIL", "LSIL", 0.65),
                Cell(box[2], "HSIL", "HSIL", 0.62),
                Cell(box[3], None, None, 0.3),
            ],
        ),
        Planted("r1", "pt", "train", [Cell(box[0], "NILM", "NILM", 0.9)]),
    ]


def plant(root: Path, images: Sequence[Planted], samples: int = 200) -> dict[str, Path]:
    """Write every folder that ``evaluate`` and ``report`` read; gives them by option name."""
    folders = {
        name: root / "data" / name
        for name in ("raw", "clean", "split", "augmented", "detections", "patches", "upscaled")
    }
    folders |= {name: root / "models" / name for name in ("detector", "upscaler", "classifier")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    shutil.copytree(REPOSITORY / "configs" / "taxonomies", root / "configs" / "taxonomies")
    (root / "params.yaml").write_text(yaml.safe_dump(params(samples)))
    records = [_record(item, folders["clean"]) for item in images]
    write_manifest(folders["clean"], records)
    write_split_rows(
        folders["split"],
        [SplitRow(image_id=i.name, patient=i.patient, group=i.patient, split=i.split) for i in images],
    )
    fields = [item for item in images if item.role == "field"]
    rows = [
        Detection(image_id=item.name, category_id=1, bbox=cell.bbox, score=cell.score)
        for item in fields
        for cell in item.cells
        if cell.score is not None
    ]
    write_detections(folders["detections"], rows, [item.name for item in fields], ["cell"])
    _patches(images, folders)
    for stage in ("detector", "upscaler", "classifier"):
        model(folders[stage], stage)
    (folders["raw"] / "collected.json").write_text(
        json.dumps({"sources": {"planted": {"seen": 9, "kept": len(images), "refused": 9 - len(images)}}})
    )
    return folders


def params(samples: int) -> dict[str, object]:
    """A params.yaml with what the two stages read."""
    return {
        "seed": 0,
        "taxonomy": "bethesda",
        "profile": "cpu",
        "profiles": {"cpu": {}},
        "compute": {"scheduler": "local", "workers": 1, "threads": 1},
        "evaluate": {"split": "test", "bootstrap_samples": samples, "confidence": 0.95},
    }


def model(folder: Path, stage: str, untrained: str | None = None) -> None:
    """A model folder with one weight and an honest card."""
    port = Port(name="x", shape=("n",), dtype="uint8", meaning="pixels")
    card = ModelCard(
        name=f"planted-{stage}",
        version="0",
        stage=stage,
        intended_use="Tests of the stages that read a card.",
        limits=("It is no model.",),
        inputs=(port,),
        outputs=(port,),
        classes=(*CLASSES, "background") if stage == "classifier" else (),
        settings={"upscale": {"method": "lanczos", "factor": 2, "context": 1.5, "min_px": 16}},
        training_data={"planted": "md5:0123456789abcdef"},
        metrics={"psnr": 31.5, "psnr_low": 31.25, "psnr_high": 31.75, "bicubic_psnr": 30.25, "bicubic_ssim": 0.875}
        if stage == "upscaler"
        else {"val_score": 0.5},
        versions={"torch": "0"},
        seed=0,
        temperature=1.0 if stage == "classifier" else None,
        untrained=untrained,
    )
    history = [{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 0.5, "val_score": 0.5}]
    save_model(folder, {"w": torch.zeros(1)}, "# none\n", card, history)


def _picture(item: Planted) -> np.ndarray:
    picture = np.full((item.size[1], item.size[0], 3), GROUND, dtype=np.uint8)
    for cell in item.cells:
        x, y, w, h = (round(value) for value in cell.bbox)
        if cell.looks is not None:
            picture[y : y + h, x : x + w] = COLOURS[cell.looks]
    return picture


def _record(item: Planted, clean: Path) -> Record:
    content = png_bytes(_picture(item))
    (clean / "images").mkdir(exist_ok=True)
    (clean / "images" / f"{item.name}.png").write_bytes(content)
    return Record(
        image_id=item.name,
        file=f"{item.name}.png",
        sha256=hashlib.sha256(content).hexdigest(),
        width=item.size[0],
        height=item.size[1],
        mpp=None,
        patient=item.patient,
        slide=item.patient,
        source="planted",
        organ="cervix",
        stain="pap",
        role=item.role,
        labelled=item.labelled,
        annotations=tuple(
            Annotation(bbox=cell.bbox, label=cell.label, redacted=number in item.redacted)
            for number, cell in enumerate(item.cells)
            if cell.label is not None and item.labelled
        ),
    )


def _patches(images: Sequence[Planted], folders: dict[str, Path]) -> None:
    records, native, enlarged = [], {}, {}
    for item in images:
        picture = _picture(item)
        for number, cell in enumerate(item.cells):
            for origin in ("annotated", "detected"):
                wanted = (
                    cell.label is not None and item.labelled
                    if origin == "annotated"
                    else cell.score is not None and item.split != "train" and item.role == "field"
                )
                if not wanted:
                    continue
                record = PatchRecord(
                    patch_id=f"{item.name}-{origin[0]}{number:04}",
                    image_id=item.name,
                    patient=item.patient,
                    source="planted",
                    split=item.split,
                    origin=origin,
                    label=cell.label,
                    bbox=cell.bbox,
                    score=cell.score if origin == "detected" else None,
                )
                patch = crop(picture, cell.bbox, 1.5, 16)
                records.append(record)
                native[record.file] = png_bytes(patch)
                enlarged[record.file] = png_bytes(resize(patch, (patch.shape[1] * 2, patch.shape[0] * 2)))
    for name, pictures in (("patches", native), ("upscaled", enlarged)):
        write_shards(folders[name], pictures.items(), 2)
        write_patches(folders[name], records)
    (folders["upscaled"] / "method.json").write_text(json.dumps({"method": "lanczos", "factor": 2}))
