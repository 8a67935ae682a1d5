"""Tables against what they speak of: rows of manifests against images, model cards against the files beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from cytoline.audit.finding import Report

if TYPE_CHECKING:
    from cytoline.audit.inventory import Inventory

MANIFEST = "manifest.jsonl"
CARD = "model_card.json"
IMAGES = "images"


def check_tables(stock: Inventory, top: Path, report: Report) -> None:
    """Rows of manifests against the images that they name, and model cards against the files of their folders."""
    for path in sorted(stock.good):
        folder, _, name = path.rpartition("/")
        if name == MANIFEST and folder == stock.out_of[path]:
            _check_manifest(path, f"{folder}/{IMAGES}", stock, top, report)
        elif name == CARD and folder == stock.out_of[path]:
            _check_card(path, folder, stock, top, report)


def _check_manifest(path: str, images: str, stock: Inventory, top: Path, report: Report) -> None:
    if not any(name.startswith(f"{images}/") for name in stock.expected):
        return  # packed in shards, which are hashed as a whole
    for number, line in enumerate((top / path).read_bytes().split(b"\n")[:-1], start=1):
        try:
            row = json.loads(line)
            image, sha256 = f"{images}/{row['file']}", row["sha256"]
        except (ValueError, KeyError, TypeError, RecursionError):
            report.add(path, "is no record of an image", f"row {number}")
            continue
        if image not in stock.expected:
            report.add(path, "names an image that its data set does not hold", f"row {number}")
        elif image in stock.good and stock.actual[image].sha256 != sha256:
            report.add(path, "says another SHA-256 than its image has", f"row {number}")


def _check_card(path: str, folder: str, stock: Inventory, top: Path, report: Report) -> None:
    try:
        files = dict(json.loads((top / path).read_bytes())["files"])
    except (ValueError, KeyError, TypeError, RecursionError):
        report.add(path, "names no files")
        return
    for name, sha256 in files.items():
        file = f"{folder}/{name}"
        if file not in stock.expected:
            report.add(path, f"names {name}, which the model does not hold")
        elif file in stock.good and stock.actual[file].sha256 != sha256:
            report.add(path, f"says another SHA-256 than {name} has")
