"""Quick stages for a small project with real DVC: the pipeline's folders and tables, without its models.

``python -m benchmarks.audit.standin STAGE``, in the project's folder.  Tables, shards, pseudonyms and the memo store
are cytoline's own; reading sources, cutting and enlarging are the shortest code that gives files of the right form.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import yaml
from PIL import Image

from cytoline import atomic
from cytoline.crosswalk import Crosswalk
from cytoline.deid.review.chain import chained
from cytoline.detections import Detection, write_detections
from cytoline.manifest import Annotation, Record, json_line, read_manifest, write_manifest
from cytoline.memo import Job, Memo
from cytoline.patches import PatchRecord, write_patches
from cytoline.pseudonyms import Names, Pseudonyms, load_key
from cytoline.shards import write_shards
from cytoline.splits import SplitRow, write_split_rows

DATA = Path("data")
CELL = (8.0, 8.0, 24.0, 24.0)


def names() -> Names:
    """The pseudonyms of the project."""
    mode = yaml.safe_load(Path("params.yaml").read_text())["anonymize"]["pseudonyms"]
    return Crosswalk.load() if mode == "random" else Pseudonyms(load_key())


def encoded(picture: Image.Image, kind: str) -> bytes:
    """A picture as a file."""
    out = io.BytesIO()
    picture.save(out, kind, quality=80) if kind == "JPEG" else picture.save(out, kind)
    return out.getvalue()


def owners(source: Path) -> dict[str, str]:
    """Image -> patient of one source: a table's column, or the first folder."""
    info = yaml.safe_load((source / "source.yaml").read_text())
    if info["patient_id"].startswith("column:"):
        with (source / "cells.csv").open(newline="") as table:
            return {row["file"]: row["patient"] for row in csv.DictReader(table)}
    listed = json.loads((source / "annotations.json").read_text())["images"]
    found = ((item["file_name"], re.search(info["patient_id"], item["file_name"])) for item in listed)
    return {path: match.group(1) for path, match in found if match}


def collect() -> None:
    """Incoming -> raw."""
    with atomic.rebuilt_folder(DATA / "raw") as out:
        (out / "images").mkdir()
        records, refused, seen = [], [], set()
        for source in sorted(path.parent for path in (DATA / "incoming").glob("*/source.yaml")):
            for path, patient in sorted(owners(source).items()):
                content = (source / path).read_bytes()
                sha256 = hashlib.sha256(content).hexdigest()
                name = hashlib.sha256(f"{source.name}|{sha256}".encode()).hexdigest()[:32]
                try:
                    picture = Image.open(io.BytesIO(content))
                    picture.load()
                    width, height = picture.size
                except OSError:
                    refused.append({"source": source.name, "file": path, "reason": "truncated"})
                    continue
                if name in seen:
                    refused.append({"source": source.name, "file": path, "reason": "duplicate"})
                    continue
                seen.add(name)
                (out / "images" / f"{name}.png").write_bytes(content)
                records.append(
                    Record(
                        image_id=name, file=f"{name}.png", sha256=sha256, width=width, height=height, mpp=None,
                        patient=patient, slide=patient, source=source.name, organ="cervix", stain="papanicolaou",
                        role="field", annotations=(Annotation(bbox=CELL, label="NILM"),),
                    )
                )  # fmt: skip
        write_manifest(out, records)
        (out / "refused.jsonl").write_text("".join(map(json_line, refused)))
        (out / "collected.json").write_text("{}\n")


def made_anew(image: Path, _params: None) -> dict[str, bytes]:
    """A picture without what its file held beside the pixels."""
    return {"image.png": encoded(Image.open(image).convert("RGB"), "PNG"), "outcome.json": b"{}"}


def fingerprint(image: Path, _params: None) -> dict[str, bytes]:
    """A few bytes that follow from the picture: an entry of the memo store that names nothing."""
    return {"fingerprint": hashlib.sha512(image.read_bytes()).digest()}


def anonymize() -> None:
    """Raw -> clean and quarantine; a picture with a black corner is kept back."""
    coder, raw = names(), read_manifest(DATA / "raw")
    black = {r.image_id for r in raw if Image.open(DATA / "raw/images" / r.file).getpixel((0, 0)) == (0, 0, 0)}
    with atomic.rebuilt_folder(DATA / "clean") as out, atomic.rebuilt_folder(DATA / "quarantine") as kept:
        (out / "images").mkdir()
        (kept / "images").mkdir()
        jobs = [Job(record.image_id, (DATA / "raw" / "images" / record.file,)) for record in raw]
        rows, back = [], []
        for record, (_, blobs) in zip(raw, Memo().map(made_anew, jobs, None, description="clean"), strict=True):
            name = coder.of("file", record.image_id)
            if record.image_id in black:
                shutil.copyfile(DATA / "raw" / "images" / record.file, kept / "images" / f"{name}.png")
                back.append({"image_id": name, "reason": "text"})
                continue
            blobs["image.png"].link(out / "images" / f"{name}.png")
            sha256 = hashlib.sha256(blobs["image.png"].read()).hexdigest()
            changed = {"image_id": name, "file": f"{name}.png", "sha256": sha256}
            codes = {"patient": coder.of("patient", record.patient)}
            codes["slide"] = coder.of("slide", f"{record.patient}\0{record.slide}")
            rows.append(record.model_copy(update={**changed, **codes}))
        write_manifest(out, rows)
        (out / "audit.jsonl").write_text(chained([SplitRow(image_id=r.image_id, patient=r.patient, group=r.patient,
                                                           split="train") for r in rows]))  # fmt: skip
        (kept / "quarantine.jsonl").write_text("".join(map(json_line, back)))
    if isinstance(coder, Crosswalk):
        coder.save()


def derive() -> None:
    """Clean -> split, augmented, detections, patches, upscaled."""
    clean = read_manifest(DATA / "clean")
    patients = sorted({record.patient for record in clean})
    part = {patient: ("train", "train", "val", "test")[number % 4] for number, patient in enumerate(patients)}
    with atomic.rebuilt_folder(DATA / "split") as out:
        write_split_rows(out, [SplitRow.model_validate({"image_id": r.image_id, "patient": r.patient,
                               "group": r.patient, "split": part[r.patient]}) for r in clean])  # fmt: skip
    files = {record.image_id: DATA / "clean" / "images" / record.file for record in clean}
    for _ in Memo().map(fingerprint, [Job(name, (path,)) for name, path in files.items()], None, description="prints"):
        pass
    pictures = {name: Image.open(path) for name, path in files.items()}
    with atomic.rebuilt_folder(DATA / "augmented") as out:
        flipped = {
            f"{name}-a0.png": encoded(p.transpose(Image.Transpose.ROTATE_90), "PNG") for name, p in pictures.items()
        }
        write_shards(out, flipped.items(), 2)
        write_manifest(out, [r.model_copy(update={"image_id": f"{r.image_id}-a0", "file": f"{r.image_id}-a0.png",
                       "sha256": hashlib.sha256(flipped[f"{r.image_id}-a0.png"]).hexdigest()})
                       for r in clean])  # fmt: skip
    with atomic.rebuilt_folder(DATA / "detections") as out:
        found = [Detection(image_id=r.image_id, category_id=1, bbox=CELL, score=0.9) for r in clean]
        write_detections(out, found, files, ["cell"])
    cells = {name: picture.crop((8, 8, 32, 32)) for name, picture in pictures.items()}
    rows = [PatchRecord.model_validate({"patch_id": f"{r.image_id}-a0000", "image_id": r.image_id, "patient": r.patient,
            "source": r.source, "split": part[r.patient], "origin": "annotated", "label": "NILM", "bbox": CELL})
            for r in clean]  # fmt: skip
    for folder, side in (("patches", 24), ("upscaled", 48)):
        with atomic.rebuilt_folder(DATA / folder) as out:
            cut = {f"{name}-a0000.png": encoded(cell.resize((side, side)), "PNG") for name, cell in cells.items()}
            write_shards(out, cut.items(), 2)
            write_patches(out, rows)


def finish() -> None:
    """Upscaled -> a model, metrics by case, a page with pictures coded anew."""
    clean = read_manifest(DATA / "clean")
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in sorted((DATA / "upscaled").glob("*.tar")))).digest()
    with atomic.rebuilt_folder(Path("models/classifier")) as out:
        (out / "weights.safetensors").write_bytes(digest * 8)
        (out / "model_card.json").write_text('{"name": "cytoline-classifier"}\n')
    Path("metrics").mkdir(exist_ok=True)
    cases = [{"kind": "field", "image_id": r.image_id, "patient": r.patient} for r in clean]
    Path("metrics/cases.jsonl").write_text("".join(map(json_line, cases)))
    shown = []
    for record in clean:
        path = DATA / "clean" / "images" / record.file
        picture = base64.b64encode(encoded(Image.open(path), "JPEG")).decode()
        shown.append(f'<img src="data:image/jpeg;base64,{picture}">')
    Path("reports").mkdir(exist_ok=True)
    # Pictures coded anew and nothing else: what no search by hash or code can find.
    page = "".join(shown)
    Path("reports/index.html").write_text(f"<!doctype html>\n<title>a report</title>{page}\n")


STAGES: dict[str, Callable[[], None]] = {"collect": collect, "anonymize": anonymize, "derive": derive, "finish": finish}

if __name__ == "__main__":
    STAGES[sys.argv[1]]()
