"""Judge the models.  In: data/clean, data/split, data/detections, data/upscaled, the model folders.
Out: metrics (detector.json, classifier.json, two_stage.json, upscaler.json, cases.jsonl, plots/).
Why: one place decides what counts, on patients that no model has seen; the gate and the report read only this.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import Field

from cytoline import atomic
from cytoline.classification import load_classifier
from cytoline.compute import ComputeParams, prepare_torch
from cytoline.detections import read_detections
from cytoline.errors import CytolineError
from cytoline.manifest import read_manifest
from cytoline.measures.bootstrap import DIGITS, Patients
from cytoline.models import read_card, read_history
from cytoline.params import Params, load_seed, load_taxonomy_name
from cytoline.patches import BACKGROUND, read_patches
from cytoline.splits import read_split
from cytoline.taxonomy import Taxonomy
from stages.evaluate import cases, gather, plots
from stages.evaluate.classifier import judge_classifier, no_cells, plain_classifier
from stages.evaluate.detector import judge_detector, plain_detector, threshold_of
from stages.evaluate.two_stage import judge_two_stages, plain_two_stages

DEFAULT_OPERATING = 0.3
"""Score from which a detection counts as shown, where no validation field could choose one."""


class EvaluateParams(Params, prefix="evaluate"):
    """What is judged and how sure it must be."""

    split: Literal["val", "test"]
    bootstrap_samples: Annotated[int, Field(ge=100, le=100_000)]
    """Resamples of the patients behind every interval."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)]


Judged = dict[str, dict[str, Any]]
"""Name of a metrics file to its figures."""

Plots = dict[str, bytes]
"""Name of a plot's file to its content."""


class Judge:
    """Everything that is read once and judged twice: on the chosen split, and on validation in short."""

    def __init__(self, params: EvaluateParams, seed: int, taxonomy: Taxonomy) -> None:
        self.params = params
        self.seed = seed
        self.taxonomy = taxonomy

    def finding(
        self, part: gather.Part, val: gather.Part, detections: Path, skipped: str | None
    ) -> tuple[Judged, Plots]:
        """``detector.json`` and its plots."""
        if skipped:
            return {"detector": {"skipped": skipped}}, plots.detector_plots([])
        rows = read_detections(detections)
        fields, known = gather.found_in(part, rows), gather.found_in(val, rows)
        operating = threshold_of(known) if known else None
        patients = self._patients([item.patient for item in fields])
        judged = judge_detector(fields, patients, self.params.confidence, operating)
        short = part.painted_over | self._on_val(plain_detector(known) if known else {})
        return {"detector": _joined(judged, short, patients.method(self.params.confidence))}, plots.detector_plots(
            fields
        )

    def grading(
        self, part: gather.Part, val: gather.Part, grades: gather.Grades, skipped: str | None
    ) -> tuple[Judged, Plots]:
        """``classifier.json`` and its plots."""
        if skipped:
            return {"classifier": {"skipped": skipped}}, plots.classifier_plots(no_cells(self.taxonomy), self.taxonomy)
        cells, known = (gather.cells_of(item, grades, self.taxonomy) for item in (part, val))
        patients = self._patients(cells.patients)
        judged = judge_classifier(cells, self.taxonomy, patients, self.params.confidence)
        short = part.painted_over | self._on_val(plain_classifier(known, self.taxonomy))
        return {"classifier": _joined(judged, short, patients.method(self.params.confidence))}, plots.classifier_plots(
            cells, self.taxonomy
        )

    def both(
        self, part: gather.Part, val: gather.Part, grades: gather.Grades, skipped: str | None
    ) -> tuple[Judged, Plots]:
        """``two_stage.json`` and its plot."""
        if skipped:
            return {"two_stage": {"skipped": skipped}}, plots.two_stage_plots([], self.taxonomy)
        fields, known = (gather.graded_in(item, grades, self.taxonomy) for item in (part, val))
        patients = self._patients([item.field.patient for item in fields])
        judged = judge_two_stages(fields, self.taxonomy, patients, self.params.confidence)
        short = part.painted_over | self._on_val(plain_two_stages(known, self.taxonomy) if known else {})
        return {"two_stage": _joined(judged, short, patients.method(self.params.confidence))}, plots.two_stage_plots(
            fields, self.taxonomy
        )

    def _patients(self, names: list[str] | tuple[str, ...]) -> Patients:
        return Patients.of(names, self.params.bootstrap_samples, self.seed)

    def _on_val(self, figures: dict[str, Any]) -> dict[str, Any]:
        return figures if self.params.split != "val" else {}


def check_classes(classes: tuple[str, ...], taxonomy: Taxonomy) -> tuple[str, ...]:
    """The classifier's classes: the taxonomy's, in its order, and perhaps ``background`` after them."""
    if classes not in (taxonomy.classes, (*taxonomy.classes, BACKGROUND)):
        raise CytolineError(
            f"the classifier knows {', '.join(classes)}, the taxonomy {taxonomy.name!r} {', '.join(taxonomy.classes)}",
            "train it again: `dvc repro train_classifier`",
        )
    return classes


def upscaler_figures(upscaler: Path, upscaled: Path) -> dict[str, Any]:
    """What training measured on held-out patches, and which method enlarged the patches."""
    card = read_card(upscaler)
    try:
        method = json.loads((upscaled / "method.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise CytolineError(f"{upscaled}/method.json is not readable", "rebuild it: `dvc repro -f upscale`") from None
    used = {key: method[key] for key in ("method", "factor") if key in method}
    if card.untrained:
        return used | {"skipped": card.untrained}
    return used | {name: round(value, DIGITS) for name, value in card.metrics.items()}


def skipped_fields(part: gather.Part, detector: Path) -> str | None:
    """Why finding cells cannot be judged, or None."""
    if not part.fields:
        return "the split holds no labelled field"
    return read_card(detector).untrained


def main(
    clean: Annotated[Path, typer.Option(help="clean images and their manifest")],
    split: Annotated[Path, typer.Option(help="folder of the split table")],
    detections: Annotated[Path, typer.Option(help="folder of COCO results")],
    upscaled: Annotated[Path, typer.Option(help="folder of enlarged patches")],
    detector: Annotated[Path, typer.Option(help="the detector's model folder")],
    upscaler: Annotated[Path, typer.Option(help="the upscaler's model folder")],
    classifier: Annotated[Path, typer.Option(help="the classifier's model folder")],
    metrics: Annotated[Path, typer.Option(help="folder of figures to write")],
) -> None:
    """Judge detector, classifier and both together, with intervals over patients."""
    params, taxonomy = EvaluateParams.load(), Taxonomy.load(load_taxonomy_name())
    seed = load_seed()
    prepare_torch(seed, ComputeParams.load().threads)
    records, sides, patches = read_manifest(clean), read_split(split), read_patches(upscaled)
    part = gather.part_of(params.split, records, sides, patches)
    val = gather.part_of("val", records, sides, patches)
    reason = read_card(classifier).untrained
    grades, classes = ({}, taxonomy.classes) if reason else graded(part, val, upscaled, classifier, taxonomy)
    judge = Judge(params, seed, taxonomy)
    figures: Judged = {"upscaler": upscaler_figures(upscaler, upscaled)}
    files = histories({"detector": detector, "upscaler": upscaler, "classifier": classifier})
    for judged, drawn in (
        judge.finding(part, val, detections, skipped_fields(part, detector)),
        judge.grading(part, val, grades, reason),
        judge.both(part, val, grades, skipped_fields(part, detector) or reason),
    ):
        figures |= judged
        files |= drawn
    operating = figures["detector"].get("operating_score", DEFAULT_OPERATING)
    lines = b"" if reason else cases.case_lines(part, grades, taxonomy, classes, operating)
    write(metrics, figures, files, lines)


def graded(
    part: gather.Part, val: gather.Part, upscaled: Path, folder: Path, taxonomy: Taxonomy
) -> tuple[gather.Grades, tuple[str, ...]]:
    """Run the classifier over both splits' patches."""
    classifier = load_classifier(folder)
    classes = check_classes(classifier.classes, taxonomy)
    every = {patch for item in (part, val) for patch in (*item.annotated, *item.detected)}
    return gather.grade(sorted(every, key=lambda patch: patch.patch_id), upscaled, classifier), classes


def histories(folders: dict[str, Path]) -> dict[str, bytes]:
    """The models' training histories as plots."""
    return {f"{name}_history.json": plots.history_plot(name, read_history(folder)) for name, folder in folders.items()}


def write(metrics: Path, figures: Judged, files: dict[str, bytes], lines: bytes) -> None:
    """Replace the folder in one step."""
    with atomic.rebuilt_folder(metrics) as fresh:
        for name, values in figures.items():
            text = json.dumps(values, indent=1, sort_keys=True, allow_nan=False)
            (fresh / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        (fresh / "plots").mkdir()
        for name, content in files.items():
            (fresh / "plots" / name).write_bytes(content)
        (fresh / "cases.jsonl").write_bytes(lines)


def _joined(first: dict[str, Any], second: dict[str, Any], method: list[str]) -> dict[str, Any]:
    notes = first.get("notes", []) + second.get("notes", [])
    words = {"notes": notes, "intervals": method}
    return first | second | {name: lines for name, lines in words.items() if lines}
