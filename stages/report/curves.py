"""The report's charts, drawn from metrics/plots."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from cytoline.taxonomy import Taxonomy
from stages.report.charts import Axis, Point, Series, fitting_axis, line_chart, unit_axis

_RATES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
_COLOURS = ("var(--s1)", "var(--s2)", "var(--s3)", "var(--s4)", "var(--s5)", "var(--s6)")

Rows = list[dict[str, Any]]


def all_charts(plots: Path, taxonomy: Taxonomy) -> dict[str, Markup]:
    """Every chart of the page by name."""
    pr, both, roc = (_csv(plots / name) for name in ("pr_curve.csv", "two_stage_pr.csv", "roc.csv"))
    classes = list(zip(taxonomy.classes, taxonomy.colours, strict=True))
    return {
        "pr": line_chart(
            "Precision and recall, any cell",
            [
                Series("IoU 0.50", points(pr, "recall", "precision"), _COLOURS[0]),
                Series("IoU 0.75", points(pr, "recall", "precision_iou75"), _COLOURS[1]),
            ],
            unit_axis("recall"),
            unit_axis("precision"),
        ),
        "froc": line_chart(
            "FROC: cells found against false alarms",
            [Series("sensitivity", _froc(_json(plots / "froc.json")), _COLOURS[0])],
            Axis("false positives per field", 1 / 8, 8, _RATES, log=True),
            unit_axis("sensitivity"),
        ),
        "both": line_chart(
            "Precision and recall by class, both stages (IoU 0.50)",
            [Series(name, points(both, "recall", name), colour) for name, colour in classes],
            unit_axis("recall"),
            unit_axis("precision"),
        ),
        "roc": line_chart(
            "ROC, one class against the rest",
            [Series(name, points(roc, "false_positive_rate", name), colour) for name, colour in classes],
            unit_axis("false positive rate"),
            unit_axis("true positive rate"),
            guide=((0, 0), (1, 1)),
        ),
        "reliability": line_chart(
            "Reliability: is it as often right as it is sure? Large dots stand on many cells.",
            [_reliability(_json(plots / "calibration.json"))],
            unit_axis("probability of the chosen class"),
            unit_axis("share that is right"),
            guide=((0, 0), (1, 1)),
        ),
    }


def histories(plots: Path) -> dict[str, list[Markup]]:
    """Loss and the figure that decided, per model."""
    chosen = {"detector": "val_ap50", "upscaler": "val_psnr", "classifier": "val_balanced_accuracy"}
    result = {}
    for stage, figure in chosen.items():
        rows = _json(plots / f"{stage}_history.json")
        result[stage] = [_history(stage, rows, "loss", 0), _history(stage, rows, figure, 1)]
    return result


def confusion(plots: Path, classes: Sequence[str]) -> list[list[int]]:
    """Cells by true (rows) and predicted (columns) class."""
    counts = Counter((row["actual"], row["predicted"]) for row in _csv(plots / "confusion.csv"))
    return [[counts[(actual, called)] for called in classes] for actual in classes]


def points(rows: Rows, x: str, y: str) -> tuple[Point, ...]:
    """The rows in which both columns hold a number."""
    return tuple(
        (float(row[x]), float(row[y])) for row in rows if row.get(x) not in ("", None) and row.get(y) not in ("", None)
    )


def _history(stage: str, rows: Rows, figure: str, number: int) -> Markup:
    curve = points(rows, "epoch", figure)
    return line_chart(
        f"{stage}: {figure.replace('val_', 'validation ').replace('_', ' ')}",
        [Series(figure, curve, _COLOURS[number], dots=len(curve) < 30)],
        fitting_axis("epoch", [x for x, _ in curve], whole=True),
        fitting_axis(figure.replace("val_", "").replace("_", " "), [y for _, y in curve]),
    )


def _reliability(rows: Rows) -> Series:
    curve = points(rows, "confidence", "accuracy")
    return Series("cells", curve, _COLOURS[0], True, tuple(float(row["cells"]) for row in rows) if curve else ())


def _froc(rows: Rows) -> tuple[Point, ...]:
    return tuple(item for item in points(rows, "false_positives_per_field", "sensitivity") if 0.12 <= item[0] <= 8.01)


def _csv(path: Path) -> Rows:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def _json(path: Path) -> Rows:
    rows: Rows = json.loads(path.read_text(encoding="utf-8"))
    return rows
