"""The command behind the stage: ``python -m stages.anonymize --raw data/raw --out data/clean --quarantine ...``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cytoline import atomic
from cytoline.command import run
from cytoline.compute import ComputeParams, worker_pool
from cytoline.deid.params import AnonymizeParams
from cytoline.manifest import read_manifest
from stages.anonymize.anonymize import anonymize
from stages.anonymize.records import choose_keys


def report(console: Console, summary: dict[str, Any]) -> None:
    """Totals on the console."""
    images = summary["images"]
    console.print(
        f"{images['in']} images in: {images['untouched']} passed as they were, {images['redacted']} redacted "
        f"({summary['texts_painted_over']} texts, {summary['barcodes_painted_over']} barcodes), "
        f"{images['quarantined']} quarantined; {summary['boxes_redacted']} of {summary['boxes']} boxes touched"
    )
    for reason, count in summary["quarantine_reasons"].items():
        console.print(f"  quarantined: {count} x {reason}")


def main(
    raw: Annotated[Path, typer.Option(help="raw store; may identify people")],
    out: Annotated[Path, typer.Option(help="de-identified images and manifest to write")],
    quarantine: Annotated[Path, typer.Option(help="what could not be made safe (never pushed)")],
) -> None:
    """Make every image and record anew without identifiers, or keep it back."""
    params = AnonymizeParams.load()
    records = read_manifest(raw)
    keys = choose_keys(raw, records, params.pseudonyms)
    folders = atomic.rebuilt_folder(out), atomic.rebuilt_folder(quarantine)
    with folders[0] as clean, folders[1] as held, worker_pool(ComputeParams.load()) as pool:
        summary = anonymize(records, raw, clean, held, params, keys, pool)
        if keys.crosswalk is not None:
            keys.crosswalk.save()  # before the folders change places: whose each new pseudonym is must never be lost
    report(Console(stderr=True, highlight=False, soft_wrap=True, markup=False), summary)


if __name__ == "__main__":
    run(main)
