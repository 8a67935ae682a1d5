"""Small incoming folders for tests, made on the spot."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cytoline.memo import Memo
from cytoline.sources.compose import compose
from cytoline.sources.examine import Examined, examine
from cytoline.sources.params import CollectParams
from cytoline.sources.schema import SOURCE_FILE, SourceInfo, check_source
from cytoline.taxonomy import Taxonomy

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
PARAMS = CollectParams(sources=["s"], max_megapixels=200, max_file_megabytes=100, max_annotation_megabytes=1)
CONFIGS = Path(__file__).resolve().parents[1] / "configs"
BETHESDA = Taxonomy.load("bethesda", CONFIGS / "taxonomies")

FULL: dict[str, Any] = {
    "kind": "fields-plain",
    "organ": "cervix",
    "stain": "papanicolaou",
    "microns_per_pixel": 0.25,
    "license": "CC0-1.0",
    "legal_basis": "synthetic",
    "patient_id": "each-file",
}


def info(kind: str, **more: object) -> SourceInfo:
    """A source.yaml of this kind."""
    return check_source({**FULL, "kind": kind, **more}, "test")


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (40, 30)) -> Path:
    """A PNG (or what the suffix says) of ``size`` = (width, height); other seeds give other bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), pixels)
    return path


def look(folder: Path, about: SourceInfo) -> Examined:
    """Examine ``folder`` as the source ``s``."""
    return examine("s", folder, about, PARAMS, Memo(folder.parent / "memo"))


def reasons(examined: Examined) -> dict[str, str]:
    """File -> reason, of files and entries."""
    return {note.file: note.reason for note in examined.notes if note.what != "box"}


def png_claiming(width: int, height: int) -> bytes:
    """A PNG header of that size over hardly any data."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def coco(root: Path, images: list[dict[str, Any]], boxes: list[dict[str, Any]], name: str = "a.json") -> None:
    """Write a COCO file with the categories 1 NILM and 2 HSIL."""
    categories = [{"id": 1, "name": "NILM"}, {"id": 2, "name": "HSIL"}]
    (root / name).write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))


def voc(boxes: list[tuple[str, int, int, int, int]], filename: str = "x.jpg", size: tuple[int, int] = (40, 30)) -> str:
    """A Pascal VOC file; boxes are label, xmin, ymin, xmax, ymax."""
    objects = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>"
        "</bndbox></object>"
        for label, a, b, c, d in boxes
    )
    return (
        f"<annotation><filename>{filename}</filename><size><width>{size[0]}</width><height>{size[1]}</height></size>"
        f"{objects}</annotation>"
    )


def project(root: Path, sources: list[str], taxonomy: str = "bethesda") -> Path:
    """A project folder with params.yaml and taxonomies; sources go below ``data/incoming``."""
    (root / "configs").mkdir(parents=True)
    shutil.copytree(CONFIGS / "taxonomies", root / "configs" / "taxonomies")
    (root / "data" / "incoming").mkdir(parents=True)
    (root / "params.yaml").write_text(
        f"""\
seed: 0
taxonomy: {taxonomy}   # which classes
profile: cpu
profiles: {{cpu: {{}}}}
compute: {{scheduler: local, workers: 1, threads: 1}}
collect:
  sources: [{", ".join(sources)}]   # what is read
  max_megapixels: 200
  max_file_megabytes: 100
  max_annotation_megabytes: 1
"""
    )
    return root


def plant(folder: Path, about: SourceInfo) -> Path:
    """Write the source.yaml into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SOURCE_FILE).write_text(compose(about))
    return folder


def bytes_below(folder: Path) -> dict[str, bytes]:
    """Every file's relative path and content."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
