"""Per-case results, one JSON line each: what later tests, paired comparisons and the report start from.

Three kinds of lines: ``field``, ``cell`` (annotated) and ``detection``.  Pseudonyms only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from cytoline.boxes import UNMATCHED, as_boxes, best_overlap, greedy_match
from cytoline.manifest import Record, json_line
from cytoline.measures.bootstrap import DIGITS, Floats
from cytoline.patches import PatchRecord
from cytoline.taxonomy import Taxonomy
from stages.evaluate.classifier import over_taxonomy
from stages.evaluate.gather import Grades, Part, kept_detections

Row = dict[str, object]


def case_lines(part: Part, grades: Grades, taxonomy: Taxonomy, classes: Sequence[str], operating: float) -> bytes:
    """All cases of a split, sorted: fields, then cells, then detections."""
    rows: list[Row] = []
    claims: dict[tuple[str, tuple[float, ...]], float] = {}
    by_image: dict[str, list[PatchRecord]] = {}
    for patch in part.detected:
        by_image.setdefault(patch.image_id, []).append(patch)
    for record in part.fields:
        patches = kept_detections(record, by_image.get(record.image_id, []))
        found = list(_detections(record, patches, grades, classes, claims))
        rows += found
        rows.append(_field(record, found, operating))
    rows += [_cell(patch, grades, taxonomy, claims, part) for patch in part.annotated]
    order = {"field": 0, "cell": 1, "detection": 2}
    rows.sort(key=lambda row: (order[str(row["kind"])], str(row["image_id"]), str(row.get("patch_id", ""))))
    return "".join(json_line(row) for row in rows).encode()


def _detections(
    record: Record,
    patches: Sequence[PatchRecord],
    grades: Grades,
    classes: Sequence[str],
    claims: dict[tuple[str, tuple[float, ...]], float],
) -> Iterator[Row]:
    """One row per detection; notes in ``claims`` which annotated cell was found, and with what score."""
    cells = [item for item in record.annotations if not item.hidden]
    boxes, truths = as_boxes([patch.bbox for patch in patches]), as_boxes([cell.bbox for cell in cells])
    scores = [patch.score or 0.0 for patch in patches]
    claimed = greedy_match(boxes, scores, truths)
    overlaps = best_overlap(boxes, truths)[1]
    for patch, place, overlap in zip(patches, claimed.tolist(), overlaps.tolist(), strict=True):
        if place != UNMATCHED:
            claims[(record.image_id, cells[place].bbox)] = patch.score or 0.0
        row = _of_patch("detection", patch, grades[patch.patch_id], classes)
        truth = cells[place].label if place != UNMATCHED else None
        yield row | {"score": round(patch.score or 0.0, DIGITS), "truth": truth, "iou": round(overlap, DIGITS)}


def _cell(
    patch: PatchRecord,
    grades: Grades,
    taxonomy: Taxonomy,
    claims: Mapping[tuple[str, tuple[float, ...]], float],
    part: Part,
) -> Row:
    row = over_taxonomy(grades[patch.patch_id][None], len(taxonomy.classes))[0]
    in_field = any(record.image_id == patch.image_id for record in part.fields)
    score = claims.get((patch.image_id, patch.bbox))
    return _of_patch("cell", patch, row, taxonomy.classes) | {
        "truth": patch.label,
        "found_score": round(score, DIGITS) if score is not None else None,
        "searched": in_field,
    }


def _field(record: Record, found: Sequence[Row], operating: float) -> Row:
    kept = [row for row in found if float(str(row["score"])) >= operating]
    hits = sum(row["truth"] is not None for row in kept)
    cells = sum(not item.hidden for item in record.annotations)
    return {
        "kind": "field",
        "image_id": record.image_id,
        "patient": record.patient,
        "source": record.source,
        "cells": cells,
        "found": hits,
        "missed": cells - hits,
        "false_positives": len(kept) - hits,
        "threshold": round(operating, DIGITS),
    }


def _of_patch(kind: str, patch: PatchRecord, probabilities: Floats, classes: Sequence[str]) -> Row:
    return {
        "kind": kind,
        "image_id": patch.image_id,
        "patch_id": patch.patch_id,
        "patient": patch.patient,
        "bbox": list(patch.bbox),
        "predicted": classes[int(np.argmax(probabilities))],
        "probabilities": {
            name: round(float(value), DIGITS) for name, value in zip(classes, probabilities, strict=True)
        },
    }
