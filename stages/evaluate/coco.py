"""Average precision by pycocotools, the yardstick that published figures are measured with."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

from cytoline.measures.bootstrap import Floats
from cytoline.measures.ranking import Field


def average_precision(fields: Sequence[Field]) -> Floats | None:
    """AP [T] at IoU 0.50, 0.55 ... 0.95 of one class; None where there is no cell to find.

    COCO's limit of 100 detections per image is lifted: a crowded field holds more cells than that.
    """
    if not sum(len(item.truths) for item in fields):
        return None
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = COCO(), COCO()
        truth.dataset, found.dataset = _dataset(fields, scored=False), _dataset(fields, scored=True)
        truth.createIndex()
        found.createIndex()
        judge = COCOeval(truth, found, "bbox")
        judge.params.maxDets = [max(1, *(len(item.scores) for item in fields))]
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][:, :, 0, 0, 0]
    result: Floats = precision.mean(axis=1)
    return result


def _dataset(fields: Sequence[Field], *, scored: bool) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for number, item in enumerate(fields, start=1):
        boxes = item.boxes if scored else item.truths
        for place, box in enumerate(boxes.tolist()):
            row = {"id": len(rows) + 1, "image_id": number, "category_id": 1, "bbox": box, "area": box[2] * box[3]}
            rows.append(row | ({"score": float(item.scores[place])} if scored else {"iscrowd": 0}))
    images = [{"id": number} for number in range(1, len(fields) + 1)]
    return {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "cell"}]}
