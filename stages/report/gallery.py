"""Images of the page: sample fields with truth and prediction, patches before and after, the worst mistakes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from cytoline.drawing import Mark, fitted, jpeg_uri, png_uri, svg_marks
from cytoline.images import read_image
from cytoline.manifest import Record
from cytoline.patches import BACKGROUND, PatchRecord
from cytoline.shards import Shards
from cytoline.taxonomy import Taxonomy

SAMPLE_FIELDS = 3
GALLERY = 12
MISTAKES = 12
_FIELD_PX = 900
_PATCH_PX = 200
_GREY = "#6b7280"

Case = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """One field twice: as annotated and as predicted."""

    image_id: str
    truth: Markup
    prediction: Markup
    words: str


@dataclass(frozen=True)
class Patch:
    """A cell before and after enlarging, or only after (``before`` empty)."""

    before: str
    after: str
    words: str
    detail: str
    colour: str


def sample_fields(records: Iterable[Record], cases: Sequence[Case], clean: Path, taxonomy: Taxonomy) -> list[Sample]:
    """Fields with many classes, of different patients, chosen by their truth alone and never by how well it went."""
    judged = {case["image_id"]: case for case in cases if case["kind"] == "field"}
    fields = [record for record in records if record.image_id in judged and record.annotations]
    fields.sort(key=lambda r: (-len({a.label for a in r.annotations}), -len(r.annotations), r.image_id))
    chosen: dict[str, Record] = {}
    for record in fields:
        chosen.setdefault(record.patient, record)
    return [
        _sample(number, record, judged[record.image_id], cases, clean, taxonomy)
        for number, record in enumerate(list(chosen.values())[:SAMPLE_FIELDS])
    ]


def patch_pairs(
    patches: Iterable[PatchRecord], split: str, native: Shards, enlarged: Shards, taxonomy: Taxonomy
) -> list[Patch]:
    """Annotated cells of the judged split, in turn from every class."""
    by_class: dict[str, list[PatchRecord]] = {name: [] for name in taxonomy.classes}
    for patch in patches:
        if patch.split == split and patch.origin == "annotated" and patch.label in by_class:
            by_class[patch.label].append(patch)
    each = max(1, GALLERY // len(by_class))
    pairs = []
    for name, colour in zip(taxonomy.classes, taxonomy.colours, strict=True):
        step = max(1, len(by_class[name]) // each)
        for patch in by_class[name][::step][:each]:
            before, after = read_image(native[patch.file]), read_image(enlarged[patch.file])
            sizes = f"{before.shape[1]} px → {after.shape[1]} px"
            after_uri = jpeg_uri(fitted(after, _PATCH_PX), 88)
            pairs.append(Patch(png_uri(fitted(before, _PATCH_PX)), after_uri, name, sizes, colour))
    return pairs


def wrong_grades(cases: Sequence[Case], enlarged: Shards, taxonomy: Taxonomy) -> list[Patch]:
    """Annotated cells given another class, surest first."""
    wrong = [case for case in cases if case["kind"] == "cell" and case["predicted"] != case["truth"]]
    wrong.sort(key=lambda case: (-case["probabilities"][case["predicted"]], case["patch_id"]))
    return [
        _one(
            case,
            enlarged,
            f"{case['truth']} called {case['predicted']}",
            f"sure to {case['probabilities'][case['predicted']]:.0%}, {case['truth']} "
            f"{case['probabilities'][case['truth']]:.0%}",
            taxonomy,
        )
        for case in wrong[:MISTAKES]
    ]


def missed_cells(cases: Sequence[Case], threshold: float, enlarged: Shards, taxonomy: Taxonomy) -> list[Patch]:
    """Annotated cells that the detector did not show at its threshold, abnormal ones first."""
    missed = [
        case
        for case in cases
        if case["kind"] == "cell" and case["searched"] and (case["found_score"] or 0.0) < threshold
    ]
    missed.sort(key=lambda case: (case["truth"] not in taxonomy.abnormal, case["found_score"] or 0.0, case["patch_id"]))
    return [_one(case, enlarged, f"{case['truth']} missed", _why_missed(case), taxonomy) for case in missed[:MISTAKES]]


def false_alarms(cases: Sequence[Case], threshold: float, enlarged: Shards, taxonomy: Taxonomy) -> list[Patch]:
    """Detections without a cell that neither stage doubted, highest product of both first."""
    false = [
        case
        for case in cases
        if case["kind"] == "detection"
        and case["truth"] is None
        and case["score"] >= threshold
        and case["predicted"] != BACKGROUND
    ]
    false.sort(key=lambda case: (-case["score"] * case["probabilities"][case["predicted"]], case["patch_id"]))
    return [
        _one(
            case,
            enlarged,
            f"called {case['predicted']}",
            f"detector {case['score']:.0%}, class {case['probabilities'][case['predicted']]:.0%}; "
            + ("a second box on one cell" if case["iou"] >= 0.5 else "no annotated cell here"),
            taxonomy,
        )
        for case in false[:MISTAKES]
    ]


def _why_missed(case: Case) -> str:
    if case["found_score"] is None:
        return "no detection at any score"
    return f"detected at {case['found_score']:.0%}, below the threshold"


def _one(case: Case, enlarged: Shards, words: str, detail: str, taxonomy: Taxonomy) -> Patch:
    picture = fitted(read_image(enlarged[f"{case['patch_id']}.png"]), _PATCH_PX)
    return Patch("", jpeg_uri(picture, 88), words, detail, _colour(taxonomy, case["predicted"]))


def _sample(number: int, record: Record, field: Case, cases: Sequence[Case], clean: Path, taxonomy: Taxonomy) -> Sample:
    mine = [case for case in cases if case["image_id"] == record.image_id]
    picture = fitted(read_image(clean / "images" / record.file), _FIELD_PX)
    unit = max(record.width, record.height) / 420
    found = {tuple(c["bbox"]): c["found_score"] or 0.0 for c in mine if c["kind"] == "cell"}
    truth = [
        Mark(a.bbox, a.label, _colour(taxonomy, a.label), dashed=found.get(a.bbox, 0.0) < field["threshold"])
        for a in record.annotations
        if not a.hidden
    ]
    shown = [case for case in mine if case["kind"] == "detection" and case["score"] >= field["threshold"]]
    predicted = [
        Mark(case["bbox"], case["predicted"], _colour(taxonomy, case["predicted"]), dashed=case["truth"] is None)
        for case in shown
    ]
    right = sum(case["truth"] == case["predicted"] for case in shown)
    words = (
        f"{field['found']} of {field['cells']} cells found, {right} of them graded as annotated; "
        f"{_many(field['false_positives'], 'detection')} without a cell"
    )
    href = f"field-{number}"
    image = Markup('<image id="{}" href="{}" width="{}" height="{}"/>').format(
        href, jpeg_uri(picture), record.width, record.height
    )
    again = Markup('<use href="#{}"/>').format(href)
    return Sample(
        record.image_id,
        _framed(record, image, svg_marks(truth, unit), f"annotated: {len(truth)} cells"),
        _framed(record, again, svg_marks(predicted, unit), f"predicted: {len(predicted)} boxes"),
        words,
    )


def _framed(record: Record, image: Markup, marks: Markup, words: str) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}</svg>').format(
        record.width, record.height, words, image, marks
    )


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def _colour(taxonomy: Taxonomy, label: str) -> str:
    return taxonomy.colours[taxonomy.index(label)] if label in taxonomy.classes else _GREY
