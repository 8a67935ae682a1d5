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
from cytoline.deid.review.decisions import latest, read_decisions
from cytoline.manifest import read_manifest
from stages.anonymize.anonymize import Folders, anonymize
from stages.anonymize.records import choose_keys

EXIT_FOUND = 1


def report(console: Console, summary: dict[str, Any]) -> None:
    """Totals on the console."""
    images = summary["images"]
    console.print(
        f"{images['in']} images in: {images['untouched']} passed as they were, {images['redacted']} redacted "
        f"({summary['texts_painted_over']} texts, {summary['barcodes_painted_over']} barcodes), "
        f"{images['quarantined']} quarantined, {images['rejected']} rejected by a reviewer; "
        f"{summary['boxes_redacted']} of {summary['boxes']} boxes touched"
    )
    for reason, count in summary["quarantine_reasons"].items():
        console.print(f"  quarantined: {count} x {reason}")
    if images["quarantined"]:
        console.print("  look at them: `cytoline review`")
    shared = summary["k_anonymity"]
    if shared["groups_below_k"]:
        console.print(
            f"  {shared['patients_in_groups_below_k']} of {shared['patients']} patients share what is said of them "
            f"with fewer than {shared['k'] - 1} others (source, organ, stain, labels)"
        )
    if summary["decisions_unused"]:
        console.print(f"  {summary['decisions_unused']} decisions are about images that are not in this raw store")


def report_failed(console: Console, count: int) -> None:
    """Why this run ends with an error although its folders are written."""
    console.print(
        f"[bold red]failed[/]: {count} image{'' if count == 1 else 's'} made anew in which, or in whose records, "
        "exiftool or the search for known names then found something; in quarantine now, as check_failed"
    )
    console.print(
        "[bold]to fix[/]: review or reject them (`cytoline review`), or mend the source that names people, then run "
        "again; all other images are done and on disk, but DVC calls this stage failed until then"
    )


def main(
    raw: Annotated[Path, typer.Option(help="raw store; may identify people")],
    out: Annotated[Path, typer.Option(help="de-identified images and manifest to write")],
    quarantine: Annotated[Path, typer.Option(help="what could not be made safe (never pushed)")],
    review: Annotated[Path | None, typer.Option(help="folder of reviewers' decisions to carry out")] = None,
) -> None:
    """Make every image and record anew without identifiers, or keep it back.

    Ends with 1 if an image failed the last check, after everything was written.
    """
    params = AnonymizeParams.load()
    decisions = latest(read_decisions(review)) if review is not None else {}
    records = read_manifest(raw)
    keys = choose_keys(raw, records, params.pseudonyms)
    folders = atomic.rebuilt_folder(out), atomic.rebuilt_folder(quarantine)
    with folders[0] as clean, folders[1] as held, worker_pool(ComputeParams.load()) as pool:
        summary = anonymize(records, Folders(raw, clean, held), params, keys, pool, decisions)
        if keys.crosswalk is not None:
            keys.crosswalk.save()  # before the folders change places: whose each new pseudonym is must never be lost
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    report(console, summary)
    if summary["failed_verification"]:
        report_failed(console, summary["failed_verification"])
        raise typer.Exit(EXIT_FOUND)


if __name__ == "__main__":
    run(main)
