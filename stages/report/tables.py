"""The report's tables and headline figures, as plain rows for the template."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from cytoline.manifest import Record, json_rows
from cytoline.splits import SPLITS
from cytoline.taxonomy import Taxonomy
from stages.report.charts import interval_bar

Figures = Mapping[str, Any]

HEADLINES = (
    ("two_stage", "map50", "Both stages, mAP50", "the classifier's grade on the detector's box, mean over classes"),
    ("detector", "ap50", "Finding cells, AP50", "any class, overlap of at least one half"),
    ("detector", "froc_mean", "Sensitivity, mean FROC", "mean at 1/8 to 8 false positives per field"),
    ("classifier", "balanced_accuracy", "Grading, balanced accuracy", "mean sensitivity of the classes"),
    ("classifier", "auroc", "Grading, AUROC", "one class against the rest, mean"),
    ("classifier", "abnormal_sensitivity", "Abnormal cells recognised", "sensitivity for abnormal against normal"),
)

DETECTOR_ROWS = (
    ("ap50", "AP at IoU 0.50"),
    ("ap50_95", "AP at IoU 0.50 to 0.95"),
    ("recall", "Recall, every detection counted"),
    ("froc_1_8", "Sensitivity at 1/8 false positive per field"),
    ("froc_1_4", "… at 1/4"),
    ("froc_1_2", "… at 1/2"),
    ("froc_1", "… at 1"),
    ("froc_2", "… at 2"),
    ("froc_4", "… at 4"),
    ("froc_8", "… at 8"),
    ("operating_recall", "Recall at the working threshold"),
    ("operating_precision", "Precision at the working threshold"),
)

CLASSIFIER_ROWS = (
    ("accuracy", "Accuracy"),
    ("balanced_accuracy", "Balanced accuracy"),
    ("macro_f1", "Macro F1"),
    ("auroc", "AUROC, one against the rest"),
    ("quadratic_kappa", "Quadratic weighted kappa"),
    ("ece", "Expected calibration error (lower is better)"),
    ("abnormal_sensitivity", "Abnormal against normal: sensitivity"),
    ("abnormal_specificity", "Abnormal against normal: specificity"),
    ("abnormal_auroc", "Abnormal against normal: AUROC"),
)

TWO_STAGE_ROWS = (("map50", "mAP50 over classes"), ("found_graded_right", "Of the cells found, graded right"))


@dataclass(frozen=True)
class Tile:
    """One headline figure."""

    name: str
    value: str
    interval: str
    words: str
    bar: Markup


@dataclass(frozen=True)
class Row:
    """One figure of a table with its interval and its value on validation."""

    name: str
    value: str
    interval: str
    validation: str


def tiles(figures: Mapping[str, Figures]) -> list[Tile]:
    """Headlines that could be measured."""
    shown = []
    for part, key, name, words in HEADLINES:
        values = figures[part]
        if key in values:
            bar = interval_bar(values[key], values.get(f"{key}_low"), values.get(f"{key}_high"))
            shown.append(Tile(name, number(values[key]), interval(values, key), words, bar))
    return shown


def rows(values: Figures, wanted: Iterable[tuple[str, str]]) -> list[Row]:
    """Those figures that are there."""
    return [
        Row(name, number(values[key]), interval(values, key), number(values.get(f"val_{key}")))
        for key, name in wanted
        if key in values
    ]


def per_class(values: Figures, keys: Sequence[str], taxonomy: Taxonomy) -> list[dict[str, str]]:
    """One row per class: name, colour, cells, and each figure with its interval."""
    table = []
    for name, colour in zip(taxonomy.classes, taxonomy.colours, strict=True):
        mine = values.get("per_class", {}).get(name)
        if mine:
            row = {"name": name, "colour": colour, "cells": f"{mine.get('cells', 0):,}"}
            for key in keys:
                row[key] = f"{number(mine.get(key))} {interval(mine, key)}".strip()
            table.append(row)
    return table


def split_table(records: Sequence[Record], split: Mapping[str, str], taxonomy: Taxonomy) -> list[dict[str, Any]]:
    """One row per part and a last row of totals."""
    table = []
    for name in (*SPLITS, "all"):
        mine = [record for record in records if name in (split.get(record.image_id), "all")]
        labels = Counter(item.label for record in mine for item in record.annotations)
        table.append(
            {
                "part": name,
                "patients": len({record.patient for record in mine}),
                "slides": len({record.slide for record in mine}),
                "fields": sum(record.role == "field" for record in mine),
                "single": sum(record.role == "cell" for record in mine),
                "unlabelled": sum(not record.labelled for record in mine),
                "classes": [labels[label] for label in taxonomy.classes],
                "cells": sum(labels.values()),
            }
        )
    return table


def source_table(records: Iterable[Record], collected: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per source: what it is, what was collected of it and what was refused, by reason."""
    by_source: dict[str, list[Record]] = {}
    for record in records:
        by_source.setdefault(record.source, []).append(record)
    sources = collected.get("sources", {})
    table = []
    for name in sorted({*by_source, *sources}):
        mine, counts = by_source.get(name, []), sources.get(name, {})
        boxes = counts.get("boxes", {})
        reasons = Counter(counts.get("reasons", {})) + Counter(boxes.get("reasons", {}))
        table.append(
            {
                "name": name,
                "organ": ", ".join(sorted({r.organ for r in mine})),
                "stain": ", ".join(sorted({r.stain for r in mine})),
                "mpp": ", ".join(sorted({"unknown" if r.mpp is None else f"{r.mpp:g}" for r in mine})),
                "seen": counts.get("seen"),
                "kept": counts.get("kept"),
                "refused": counts.get("refused"),
                "boxes_refused": boxes.get("refused"),
                "reasons": ", ".join(
                    f"{reason.replace('_', ' ')} {count}" for reason, count in sorted(reasons.items())
                ),
            }
        )
    return table


def flat_counts(values: Mapping[str, Any], before: str = "") -> list[tuple[str, int | float | str]]:
    """Every number or word of nested totals as (readable name, value)."""
    found: list[tuple[str, int | float | str]] = []
    for key, value in sorted(values.items()):
        name = f"{before}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            found += flat_counts(value, f"{name}: ")
        elif isinstance(value, bool):
            found.append((name, "yes" if value else "no"))
        elif isinstance(value, int | float | str):
            found.append((name, value))
    return found


def reasons_in(path: Path) -> dict[str, int]:
    """How often each ``reason`` stands in a JSON Lines file; names and details are not looked at."""
    if not path.is_file():
        return {}
    return dict(sorted(Counter(str(json.loads(line).get("reason", "?")) for line in json_rows(path)).items()))


def upscaler_table(values: Figures) -> list[tuple[str, str, str]]:
    """Name, PSNR and SSIM of the trained network and of the filters it is measured against."""
    if "psnr" not in values:
        return []
    return [
        *(
            (name, number(values.get(f"{key}_psnr"), 2), number(values.get(f"{key}_ssim"), 4))
            for key, name in (("bicubic", "Bicubic"), ("lanczos", "Lanczos"))
        ),
        (
            "Trained network",
            f"{number(values.get('psnr'), 2)} {interval(values, 'psnr', 2)}".strip(),
            f"{number(values.get('ssim'), 4)} {interval(values, 'ssim', 4)}".strip(),
        ),
        (
            "Gain over the better filter",
            f"{number(values.get('psnr_gain'), 2)} {interval(values, 'psnr_gain', 2)}".strip(),
            f"{number(values.get('ssim_gain'), 4)} {interval(values, 'ssim_gain', 4)}".strip(),
        ),
    ]


def number(value: float | None, digits: int = 3) -> str:
    """A figure, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def interval(values: Figures, key: str, digits: int = 3) -> str:
    """The interval in brackets, or nothing."""
    low, high = values.get(f"{key}_low"), values.get(f"{key}_high")
    return "" if low is None or high is None else f"[{low:.{digits}f}, {high:.{digits}f}]"
