"""Fields as MMDetection wants to read them: from the clean folder and from the shards of augmented ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.datasets import BaseDetDataset
from mmdet.registry import DATASETS, METRICS, TRANSFORMS
from mmengine.evaluator import BaseMetric

from cytoline.decoded import DecodedImages
from cytoline.images import read_image
from cytoline.manifest import Record
from cytoline.measures.bootstrap import Floats, Patients
from cytoline.measures.ranking import Field, average_precision, rank
from cytoline.shards import Shards

_DECODED = DecodedImages()


@DATASETS.register_module(force=True)
class FieldDataset(BaseDetDataset):  # type: ignore[misc]
    """Annotated fields; ``rows`` come from ``rows_of``."""

    def __init__(self, rows: Sequence[dict[str, Any]], classes: Sequence[str], **kwargs: Any) -> None:
        self.rows = list(rows)
        super().__init__(metainfo={"classes": tuple(classes)}, serialize_data=False, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """The rows as they are."""
        return [dict(row) for row in self.rows]


@TRANSFORMS.register_module(force=True)
class LoadField(BaseTransform):  # type: ignore[misc]
    """Read the pixels, uint8 [H, W, 3] RGB, from a file or from a shard."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill in ``img`` and its shapes."""
        shards, path = results["shards"], results["path"]
        image = _DECODED.get(
            (shards, path), lambda: read_image(Path(path) if shards is None else _opened(shards)[path])
        )
        results["img"] = image
        results["img_path"] = results["img_id"]
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results


@TRANSFORMS.register_module(force=True)
class LoadBoxes(BaseTransform):  # type: ignore[misc]
    """Boxes as MMDetection's corner boxes, labels as numbers."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill in ``gt_bboxes``, ``gt_bboxes_labels`` and ``gt_ignore_flags``."""
        from mmdet.structures.bbox import HorizontalBoxes

        corners = np.asarray(results["corners"], dtype=np.float32).reshape(-1, 4)
        results["gt_bboxes"] = HorizontalBoxes(corners)
        results["gt_bboxes_labels"] = np.asarray(results["labels"], dtype=np.int64)
        results["gt_ignore_flags"] = np.zeros(len(corners), dtype=bool)
        return results


@TRANSFORMS.register_module(force=True)
class DropCutCells(BaseTransform):  # type: ignore[misc]
    """Clip boxes to the picture after a crop, and drop the cells of which less than ``min_visible`` is left.

    Annotators leave out the slivers at a field's edge; a random crop makes many and would teach to report them.
    """

    def __init__(self, min_visible: float) -> None:
        self.min_visible = min_visible

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Needs boxes that the crop has moved but not clipped (``bbox_clip_border=False``)."""
        boxes = results["gt_bboxes"]
        whole = boxes.areas.clamp(min=1e-6)
        boxes.clip_(results["img_shape"][:2])
        kept = (boxes.areas / whole >= self.min_visible).numpy()
        for key in ("gt_bboxes", "gt_bboxes_labels", "gt_ignore_flags"):
            results[key] = results[key][kept]
        return results


@METRICS.register_module(force=True)
class FieldAP(BaseMetric):  # type: ignore[misc]
    """Mean over classes of the average precision at IoU 0.5, by the rules of ``evaluate`` (``cytoline.measures``).

    Not MMDetection's ``eval_map``: that forks worker processes out of a process with running threads, which hung.
    """

    default_prefix = "fields"

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep truth and prediction of each field, as x, y, width, height in pixels of the original."""
        for sample in data_samples:
            found, truth = sample["pred_instances"], sample["gt_instances"]
            corners = truth["bboxes"]
            corners = getattr(corners, "tensor", corners).float().cpu().numpy() / np.tile(sample["scale_factor"], 2)
            self.results.append(
                {
                    "boxes": _xywh(found["bboxes"].float().cpu().numpy()),
                    "scores": found["scores"].double().cpu().numpy(),
                    "kinds": found["labels"].cpu().numpy(),
                    "truths": _xywh(corners),
                    "labels": truth["labels"].cpu().numpy(),
                }
            )

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """One figure, 0 to 1; 0 where no field has a cell."""
        alone = Patients.of([""], 0, 0)
        values = []
        for kind in range(len(self.dataset_meta["classes"])):
            fields = []
            for item in results:
                mine = item["kinds"] == kind
                truths = item["truths"][item["labels"] == kind]
                fields.append(Field("", "", truths, item["boxes"][mine], item["scores"][mine]))
            values.append(float(average_precision(rank(fields, alone, ious=(0.5,)), alone.once())[0, 0]))
        defined = [value for value in values if value == value]
        return {"ap50": sum(defined) / len(defined) if defined else 0.0}


def _xywh(corners: Any) -> Floats:
    boxes: Floats = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1).astype(np.float64)
    return boxes


def rows_of(
    records: Iterable[Record], classes: Sequence[str], folder: Path | None = None, shards: Path | None = None
) -> list[dict[str, Any]]:
    """Dataset rows of annotated fields.  With the single class ``cell`` every label becomes that one."""
    rows = []
    for record in records:
        cells = [item for item in record.annotations if not item.hidden]
        corners = [(x, y, x + w, y + h) for x, y, w, h in (item.bbox for item in cells)]
        labels = [0 if len(classes) == 1 else classes.index(item.label) for item in cells]
        path = f"{record.image_id}.png" if folder is None else str(folder / "images" / record.file)
        rows.append(
            {
                "img_id": record.image_id,
                "path": path,
                "shards": None if shards is None else str(shards),
                "height": record.height,
                "width": record.width,
                "corners": corners,
                "labels": labels,
                # MMDetection's own filters look for this key.
                "instances": [{"bbox": box, "bbox_label": kind} for box, kind in zip(corners, labels, strict=True)],
            }
        )
    return rows


@cache
def _opened(shards: str) -> Shards:
    """One reader per folder: MMEngine copies rows deeply, so they hold names only."""
    return Shards(Path(shards))
