"""Write a whole `fields-coco` source as a laboratory would hand it over, planted problems included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cytoline import atomic
from cytoline.manifest import json_line
from cytoline.phantom.containers import encode
from cytoline.phantom.field import Box, render_field
from cytoline.phantom.plan import FieldPlan, plan_fields
from cytoline.phantom.problems import ZERO_WIDTH, Fault, outside_box, plan_faults
from cytoline.phantom.spec import GRADES, PhantomSpec

ANNOTATIONS = "annotations.json"
LABELS = (*GRADES, "ASC-US", "ASC-H")
"""Categories of the COCO file: what people write, not what the taxonomy calls it."""


@dataclass(frozen=True)
class Listed:
    """One image of the COCO file."""

    file: str
    plan: FieldPlan
    boxes: tuple[tuple[Box, str], ...]


def render_phantom(spec: PhantomSpec, out: Path) -> None:
    """Render every field of ``spec`` below the folder ``out`` and describe them in ``annotations.json``."""
    fields = list(plan_fields(spec))
    listed = [_write_field(spec, plan, out) for plan in fields]
    for fault in plan_faults(spec, fields):
        listed = _plant(spec, fault, listed, out)
    atomic.write_text(out / ANNOTATIONS, json_line(_coco(spec, listed)))


def _write_field(spec: PhantomSpec, plan: FieldPlan, out: Path, share: float = 1.0) -> Listed:
    """``share`` below 1 cuts the file short."""
    drawn = render_field(spec, plan)
    content = encode(drawn.image, plan.format, dict(plan.metadata))
    atomic.write_bytes(out / plan.file, content[: int(len(content) * share)])
    return Listed(plan.file, plan, tuple((box, label) for box, label, _ in drawn.cells))


def _plant(spec: PhantomSpec, fault: Fault, listed: list[Listed], out: Path) -> list[Listed]:
    if fault.kind == "truncated":
        return [*listed, _write_field(spec, fault.plan, out, share=0.55)]
    at = next(number for number, item in enumerate(listed) if item.plan == fault.plan)
    if fault.kind == "duplicate":
        atomic.write_bytes(out / fault.file, (out / fault.plan.file).read_bytes())
        return [*listed, replace(listed[at], file=fault.file)]
    box = ZERO_WIDTH if fault.kind == "zero_width" else outside_box(spec)
    listed[at] = replace(listed[at], boxes=(*listed[at].boxes, (box, "NILM")))
    return listed


def _coco(spec: PhantomSpec, listed: Sequence[Listed]) -> dict[str, object]:
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for number, item in enumerate(listed, start=1):
        images.append(
            {
                "id": number,
                "file_name": item.file,
                "width": spec.width,
                "height": spec.height,
                "date_captured": item.plan.on.taken,
            }
        )
        for box, label in item.boxes:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": LABELS.index(label) + 1,
                    "bbox": list(box),
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                    "annotator": item.plan.on.person.reader,
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(LABELS, start=1)]
    info = {"description": "cytoline phantom", "version": "1", "contributor": listed[0].plan.on.person.hospital}
    return {"info": info, "images": images, "annotations": annotations, "categories": categories}
