"""Puts truth, detections and grades of one split side by side.

Only labelled images count.  A cell that the anonymizer painted over is neither asked for nor graded, and a
detection that lies on one is neither right nor wrong: both are left out before anything is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cytoline.boxes import as_boxes, iou_matrix
from cytoline.classification import Classifier
from cytoline.detections import Detection
from cytoline.images import read_image
from cytoline.manifest import BBox, Record
from cytoline.measures.bootstrap import Floats
from cytoline.measures.ranking import Field
from cytoline.patches import PatchRecord
from cytoline.progress import Bar
from cytoline.shards import Shards
from cytoline.taxonomy import Taxonomy
from stages.evaluate.classifier import Cells, over_taxonomy
from stages.evaluate.two_stage import GradedField

_ON_REDACTED = 0.5
_BATCH = 256

Grades = Mapping[str, Floats]
"""patch_id to the classifier's probabilities."""


@dataclass(frozen=True)
class Part:
    """One split: its labelled images and the patches cut from them."""

    records: tuple[Record, ...]
    annotated: tuple[PatchRecord, ...]
    detected: tuple[PatchRecord, ...]

    @property
    def fields(self) -> tuple[Record, ...]:
        """Images in which cells are looked for."""
        return tuple(record for record in self.records if record.role == "field")

    @property
    def painted_over(self) -> dict[str, int]:
        """How many cells are left out of every figure, by the name that the figures give it."""
        return {"cells_painted_over": sum(item.hidden for record in self.records for item in record.annotations)}

    @property
    def patients(self) -> list[str]:
        """Distinct patients of the labelled images."""
        return sorted({record.patient for record in self.records})


def part_of(name: str, records: Iterable[Record], split: Mapping[str, str], patches: Iterable[PatchRecord]) -> Part:
    """What belongs to the split ``name``."""
    mine = {item.image_id: item for item in records if item.labelled and split.get(item.image_id) == name}
    covered = {(item.image_id, box) for item in mine.values() for box in _hidden(item)}
    chosen = [patch for patch in patches if patch.image_id in mine and (patch.image_id, patch.bbox) not in covered]
    return Part(
        tuple(mine.values()),
        tuple(patch for patch in chosen if patch.origin == "annotated"),
        tuple(patch for patch in chosen if patch.origin == "detected"),
    )


def grade(patches: Sequence[PatchRecord], upscaled: Path, classifier: Classifier) -> dict[str, Floats]:
    """Run the classifier over enlarged patches, some at a time so that memory stays flat."""
    shards = Shards(upscaled)
    grades: dict[str, Floats] = {}
    with Bar(len(patches), "grading") as bar:
        for start in range(0, len(patches), _BATCH):
            batch = patches[start : start + _BATCH]
            rows = classifier.predict([read_image(shards[patch.file]) for patch in batch])
            grades |= {patch.patch_id: row for patch, row in zip(batch, np.asarray(rows, dtype=float), strict=True)}
            bar.advance(len(batch))
    return grades


def cells_of(part: Part, grades: Grades, taxonomy: Taxonomy) -> Cells:
    """Annotated cells with their truth and their grades."""
    count = len(taxonomy.classes)
    taxonomy.require((patch.label or "" for patch in part.annotated), "the patches")
    rows = [grades[patch.patch_id] for patch in part.annotated]
    return Cells(
        np.array([_class(taxonomy, patch.label or "") for patch in part.annotated], dtype=np.int64),
        over_taxonomy(np.stack(rows), count) if rows else np.zeros((0, count)),
        tuple(patch.patient for patch in part.annotated),
    )


def found_in(part: Part, detections: Mapping[str, Sequence[Detection]]) -> list[Field]:
    """Truth and detections of every field."""
    fields = []
    for record in part.fields:
        rows = detections.get(record.image_id, ())
        boxes, scores = as_boxes([row.bbox for row in rows]), np.array([row.score for row in rows], dtype=float)
        kept = _counts(record, boxes)
        fields.append(Field(record.image_id, record.patient, _truths(record), boxes[kept], scores[kept]))
    return fields


def graded_in(part: Part, grades: Grades, taxonomy: Taxonomy) -> list[GradedField]:
    """Truth and graded detections of every field."""
    mine: dict[str, list[PatchRecord]] = {}
    for patch in part.detected:
        mine.setdefault(patch.image_id, []).append(patch)
    fields = []
    for record in part.fields:
        patches = kept_detections(record, mine.get(record.image_id, []))
        boxes = as_boxes([patch.bbox for patch in patches])
        scores = np.array([patch.score or 0.0 for patch in patches], dtype=float)
        rows = [grades[patch.patch_id][: len(taxonomy.classes)] for patch in patches]
        labels = [_class(taxonomy, item.label) for item in record.annotations if not item.hidden]
        fields.append(
            GradedField(
                Field(record.image_id, record.patient, _truths(record), boxes, scores),
                np.array(labels, dtype=np.int64),
                np.stack(rows) if rows else np.zeros((0, len(taxonomy.classes))),
            )
        )
    return fields


def kept_detections(record: Record, patches: Sequence[PatchRecord]) -> list[PatchRecord]:
    """Detected patches of one field that count, by falling score."""
    kept = _counts(record, as_boxes([patch.bbox for patch in patches]))
    chosen = [patch for patch, keep in zip(patches, kept, strict=True) if keep]
    return sorted(chosen, key=lambda patch: (-(patch.score or 0.0), patch.patch_id))


def _counts(record: Record, boxes: Floats) -> NDArray[np.bool_]:
    """False for a detection that lies on a painted-over cell, unless it lies better on another."""
    hidden = _hidden(record)
    if not hidden or not len(boxes):
        return np.ones(len(boxes), dtype=bool)
    over = iou_matrix(boxes, hidden).max(axis=1)
    truths = _truths(record)
    other = iou_matrix(boxes, truths).max(axis=1) if len(truths) else np.zeros(len(boxes))
    kept: NDArray[np.bool_] = (over < _ON_REDACTED) | (other > over)
    return kept


def _truths(record: Record) -> Floats:
    return as_boxes([item.bbox for item in record.annotations if not item.hidden])


def _hidden(record: Record) -> list[BBox]:
    return [item.bbox for item in record.annotations if item.hidden]


def _class(taxonomy: Taxonomy, label: str) -> int:
    found = taxonomy.find(label)
    if found is None:
        taxonomy.require([label], "the clean manifest")
    return taxonomy.index(found or label)
