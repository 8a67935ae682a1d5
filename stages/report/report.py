"""Write the page that people look at.  In: counts, sample images, figures, model cards.  Out: reports/index.html.
Why: one self-contained file that can be mailed, printed and archived beside the models it speaks of.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cytoline import atomic
from cytoline.errors import CytolineError
from cytoline.manifest import json_rows, read_manifest
from cytoline.models import read_card
from cytoline.page import render, template_of
from cytoline.params import load_taxonomy_name
from cytoline.patches import read_patches
from cytoline.shards import Shards
from cytoline.splits import read_split
from cytoline.taxonomy import Taxonomy
from stages.report import curves, gallery, tables

MODELS = ("detector", "upscaler", "classifier")
DEFAULT_THRESHOLD = 0.3


def read_json(path: Path) -> dict[str, Any]:
    """One JSON object; raises ``CytolineError`` if it is missing or broken."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise CytolineError(f"{path} is missing or not readable", "rebuild it: `dvc repro`") from None
    if not isinstance(value, dict):
        raise CytolineError(f"{path} holds no JSON object", "rebuild it: `dvc repro`")
    return value


def read_if_there(path: Path) -> dict[str, Any]:
    """The same for a file that some data sets do not have."""
    return read_json(path) if path.is_file() else {}


def read_cases(metrics: Path) -> list[dict[str, Any]]:
    """Per-case results."""
    return [json.loads(line) for line in json_rows(metrics / "cases.jsonl")]


def about_data(raw: Path, clean: Path, quarantine: Path, split: Path, augmented: Path) -> dict[str, Any]:
    """What came in, what was refused, hidden and put where."""
    taxonomy = Taxonomy.load(load_taxonomy_name())
    records, sides = read_manifest(clean), read_split(split)
    return {
        "taxonomy": taxonomy,
        "splits": tables.split_table(records, sides, taxonomy),
        "warnings": [str(line) for line in read_if_there(split / "summary.json").get("warnings", [])],
        "sources": tables.source_table(records, read_if_there(raw / "collected.json")),
        "anonymization": tables.flat_counts(read_if_there(clean / "summary.json")),
        "quarantined": tables.reasons_in(quarantine / "quarantine.jsonl"),
        "augmentation": read_if_there(augmented / "summary.json"),
    }


def about_models(metrics: Path, folders: dict[str, Path], taxonomy: Taxonomy) -> dict[str, Any]:
    """Figures, curves and cards."""
    figures = {name: read_json(metrics / f"{name}.json") for name in (*MODELS, "two_stage")}
    parts = (
        ("detector", "Finding"),
        ("classifier", "Grading"),
        ("two_stage", "Both stages"),
        ("upscaler", "Enlarging"),
    )
    return {
        "figures": figures,
        "tiles": tables.tiles(figures),
        "detector_rows": tables.rows(figures["detector"], tables.DETECTOR_ROWS),
        "classifier_rows": tables.rows(figures["classifier"], tables.CLASSIFIER_ROWS),
        "two_stage_rows": tables.rows(figures["two_stage"], tables.TWO_STAGE_ROWS),
        "grades": tables.per_class(figures["classifier"], ("sensitivity", "specificity"), taxonomy),
        "both": tables.per_class(figures["two_stage"], ("ap50",), taxonomy),
        "upscaler_rows": tables.upscaler_table(figures["upscaler"]),
        "charts": curves.all_charts(metrics / "plots", taxonomy),
        "histories": curves.histories(metrics / "plots"),
        "confusion": curves.confusion(metrics / "plots", taxonomy.classes),
        "cards": [read_card(folders[name]) for name in MODELS],
        "notes": [(name, note) for key, name in parts for note in figures[key].get("notes", [])],
        "intervals": sorted({line for values in figures.values() for line in values.get("intervals", [])}),
    }


def about_cells(
    clean: Path, split: Path, patches: Path, upscaled: Path, metrics: Path, taxonomy: Taxonomy
) -> dict[str, Any]:
    """Everything that is shown as an image."""
    cases = read_cases(metrics)
    threshold = read_json(metrics / "detector.json").get("operating_score", DEFAULT_THRESHOLD)
    sides = read_split(split)
    judged = next((sides[case["image_id"]] for case in cases), "test")
    native, enlarged = Shards(patches), Shards(upscaled)
    return {
        "judged": judged,
        "judged_cells": sum(case["kind"] == "cell" for case in cases),
        "threshold": threshold,
        "samples": gallery.sample_fields(read_manifest(clean), cases, clean, taxonomy),
        "pairs": gallery.patch_pairs(read_patches(upscaled), judged, native, enlarged, taxonomy),
        "wrong": gallery.wrong_grades(cases, enlarged, taxonomy),
        "missed": gallery.missed_cells(cases, threshold, enlarged, taxonomy),
        "alarms": gallery.false_alarms(cases, threshold, enlarged, taxonomy),
    }


def main(
    raw: Annotated[Path, typer.Option(help="raw store; only its counts are read")],
    clean: Annotated[Path, typer.Option(help="clean images and their manifest")],
    quarantine: Annotated[Path, typer.Option(help="what may not pass; only its counts are read")],
    split: Annotated[Path, typer.Option(help="folder of the split table")],
    augmented: Annotated[Path, typer.Option(help="varied copies; only their summary is read")],
    patches: Annotated[Path, typer.Option(help="patches as they were cut")],
    upscaled: Annotated[Path, typer.Option(help="the same patches enlarged")],
    detector: Annotated[Path, typer.Option(help="the detector's model folder")],
    upscaler: Annotated[Path, typer.Option(help="the upscaler's model folder")],
    classifier: Annotated[Path, typer.Option(help="the classifier's model folder")],
    metrics: Annotated[Path, typer.Option(help="figures, curves and cases")],
    out: Annotated[Path, typer.Option(help="page to write")],
) -> None:
    """Write one self-contained page about data, models and mistakes."""
    data = about_data(raw, clean, quarantine, split, augmented)
    folders = {"detector": detector, "upscaler": upscaler, "classifier": classifier}
    values = data | about_models(metrics, folders, data["taxonomy"])
    values |= about_cells(clean, split, patches, upscaled, metrics, data["taxonomy"])
    atomic.write_text(out, render(template_of(Path(__file__).with_name("page.html.j2")), **values))
