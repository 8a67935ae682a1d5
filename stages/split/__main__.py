"""The command behind the stage: ``python -m stages.split --clean data/clean --out data/split``."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cytoline import atomic
from cytoline.command import run
from cytoline.compute import ComputeParams, worker_pool
from cytoline.errors import CytolineError
from cytoline.manifest import Record, json_line, read_manifest
from cytoline.memo import Job, Memo
from cytoline.params import load_taxonomy_name
from cytoline.splits import SPLITS, SplitRow, write_split_rows
from cytoline.taxonomy import Taxonomy
from stages.split.assign import assign, group_patients, imbalance, suggest_salt
from stages.split.duplicates import FINGERPRINT, fingerprint, nearly_same, pixel_digest, same_pixels
from stages.split.params import SplitParams

SUMMARY = "summary.json"
FEW = 10
"""Cells of a class: with fewer in a part, one cell moves the class's sensitivity by more than ten points."""
POOL_FROM = 400
"""Images; below it, starting worker processes takes longer than the hashing."""


def fingerprints(records: Sequence[Record], clean: Path, compute: ComputeParams) -> list[bytes]:
    """One per record, from the memo store where the image is known."""
    jobs = [Job(record.image_id, (clean / "images" / record.file,)) for record in records]
    with worker_pool(compute) if len(jobs) >= POOL_FROM else nullcontext() as pool:
        results = Memo().map(fingerprint, jobs, None, description="comparing images", pool=pool)
        return [blobs[FINGERPRINT].read() for _, blobs in results]


def check_no_shared_image(rows: Sequence[SplitRow], prints: Sequence[bytes]) -> None:
    """Raise ``CytolineError`` if two images with the same pixels, in whatever orientation, stand in different parts.

    It looks at nothing but the finished table and the pixels: whoever loses a pair, links or groups wrongly is caught.
    """
    seen: dict[bytes, SplitRow] = {}
    for row, item in zip(rows, prints, strict=True):
        earlier = seen.setdefault(pixel_digest(item), row)
        if earlier.split != row.split:
            raise CytolineError(
                f"leakage: the images {earlier.image_id} ({earlier.split}) and {row.image_id} ({row.split}) "
                "are the same",
                "this is a defect of the split stage; report it with these two ids",
            )


def count_cells(records: Iterable[Record]) -> dict[str, Counter[str]]:
    """Patient -> cells of each class."""
    cells: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        cells[record.patient].update(item.label for item in record.annotations)
    return cells


def count_parts(records: Sequence[Record], rows: Sequence[SplitRow], taxonomy: Taxonomy) -> dict[str, Any]:
    """What each part holds."""
    parts: dict[str, Any] = {}
    for part in SPLITS:
        inside = [record for record, row in zip(records, rows, strict=True) if row.split == part]
        labels = Counter(item.label for record in inside for item in record.annotations)
        parts[part] = {
            "patients": len({record.patient for record in inside}),
            "images": len(inside),
            "fields": sum(record.role == "field" for record in inside),
            "cells": labels.total(),
            "classes": {name: labels[name] for name in taxonomy.classes},
        }
    return parts


def warnings_of(parts: dict[str, Any], params: SplitParams) -> list[str]:
    """Every class that exists but is missing, or hardly there, where it is needed."""
    there = {name for part in parts.values() for name, count in part["classes"].items() if count}
    warnings = []
    for part in SPLITS:
        if getattr(params, part) == 0:
            continue
        for name, count in parts[part]["classes"].items():
            if name in there and not count:
                warnings.append(f"{part} holds no {name}; figures for it will be empty")
            elif name in there and count < FEW:
                warnings.append(f"{part} holds only {count} {name}; figures for it will say little")
    return warnings


def require_all_parts(parts: dict[str, Any], params: SplitParams, better: int) -> None:
    """A part that was asked for may not be empty: nothing could be trained or judged."""
    empty = [part for part in SPLITS if getattr(params, part) > 0 and not parts[part]["images"]]
    if empty:
        patients = sum(part["patients"] for part in parts.values())
        raise CytolineError(
            f"of {patients} patients none fell into {' and '.join(empty)}",
            f"set `split.salt: {better}` in params.yaml (the best of many), or bring in more patients",
        )


def split_images(records: Sequence[Record], prints: Sequence[bytes], params: SplitParams) -> tuple[list[SplitRow], Any]:
    """Rows in the records' order, and what to say about groups, duplicates and balance."""
    exact = list(same_pixels(prints))
    near = list(nearly_same(prints, params.duplicate_distance))
    links = [(records[one].patient, records[other].patient) for one, other in (*exact, *near)]
    groups = group_patients({record.patient for record in records}, links)
    assigned = assign(groups, params)
    rows = [
        SplitRow(image_id=item.image_id, patient=item.patient, group=assigned[item.patient][0], split=part)
        for item, part in ((record, assigned[record.patient][1]) for record in records)
    ]
    check_no_shared_image(rows, prints)
    cells = count_cells(records)
    better, gap = suggest_salt(groups, cells, params)
    about = {
        "groups": len(groups),
        "linked_groups": sum(len(group) > 1 for group in groups),
        "duplicate_pairs": len(exact),
        "near_duplicate_pairs": len(set(near) - set(exact)),
        "imbalance": round(imbalance(groups, cells, params.salt, params), 4),
        "best_salt": better,
        "best_imbalance": round(gap, 4),
    }
    return rows, about


def report(console: Console, summary: dict[str, Any], params: SplitParams) -> None:
    """Totals, and warnings that cannot be overlooked."""
    for name, part in summary["parts"].items():
        classes = ", ".join(f"{label} {count}" for label, count in part["classes"].items())
        console.print(
            f"{name}: {part['patients']} patients, {part['images']} images, {part['cells']} cells ({classes})"
        )
    for warning in summary["warnings"]:
        console.print(f"WARNING: {warning}", style="bold red")
    if summary["warnings"] and summary["best_imbalance"] < summary["imbalance"]:
        console.print(
            f"`split.salt: {summary['best_salt']}` instead of {params.salt} would spread the classes best; change it "
            "now or never: it moves patients between the parts, so models made before can no longer be compared",
            style="bold red",
        )


def main(
    clean: Annotated[Path, typer.Option(help="de-identified images and manifest")],
    out: Annotated[Path, typer.Option(help="split table and its summary to write")],
) -> None:
    """Put every patient, with all images, into train, val or test."""
    params, taxonomy = SplitParams.load(), Taxonomy.load(load_taxonomy_name())
    records = read_manifest(clean)
    if not records:
        raise CytolineError("there is no clean image to split", "add data with `cytoline add`, then `dvc repro`")
    prints = fingerprints(records, clean, ComputeParams.load())
    rows, about = split_images(records, prints, params)
    parts = count_parts(records, rows, taxonomy)
    require_all_parts(parts, params, about["best_salt"])
    summary = {"parts": parts, **about, "warnings": warnings_of(parts, params)}
    with atomic.rebuilt_folder(out) as fresh:
        write_split_rows(fresh, rows)
        atomic.write_text(fresh / SUMMARY, json_line(summary))
    report(Console(stderr=True, highlight=False, soft_wrap=True, markup=False), summary, params)


if __name__ == "__main__":
    run(main)
