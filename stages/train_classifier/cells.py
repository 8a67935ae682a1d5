"""Patches as MMPretrain wants to read them, and the figures that choose between epochs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import BaseDataset
from mmengine.dist import get_dist_info
from mmengine.evaluator import BaseMetric
from mmpretrain.registry import DATA_SAMPLERS, DATASETS, METRICS, TRANSFORMS
from sklearn.metrics import balanced_accuracy_score
from torch.utils.data import Sampler

from cytoline.decoded import DecodedImages
from cytoline.images import read_image
from cytoline.measures.grading import equal_classes
from cytoline.patches import PatchRecord
from cytoline.shards import Shards

_DECODED = DecodedImages()


@DATASETS.register_module(force=True)
class CellDataset(BaseDataset):  # type: ignore[misc]
    """Labelled patches; ``rows`` come from ``rows_of``."""

    def __init__(self, rows: Sequence[dict[str, Any]], classes: Sequence[str], **kwargs: Any) -> None:
        self.rows = list(rows)
        super().__init__(metainfo={"classes": tuple(classes)}, serialize_data=False, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """The rows as they are."""
        return [dict(row) for row in self.rows]


@TRANSFORMS.register_module(force=True)
class LoadPatch(BaseTransform):  # type: ignore[misc]
    """Read the pixels, uint8 [H, W, 3] RGB, from the shards."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fill in ``img`` and its shapes."""
        shards, name = results["shards"], results["name"]
        image = _DECODED.get((shards, name), lambda: read_image(_opened(shards)[name]))
        results["img"] = image
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results


@TRANSFORMS.register_module(force=True)
class QuarterTurn(BaseTransform):  # type: ignore[misc]
    """Turn by 0, 90, 180 or 270 degrees: a cell has no upright."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Turn ``img``."""
        turned = np.rot90(results["img"], int(np.random.randint(4)))
        results["img"] = np.ascontiguousarray(turned)
        results["img_shape"] = results["img"].shape[:2]
        return results


@DATA_SAMPLERS.register_module(force=True)
class SquareRootSampler(Sampler[int]):
    """Draw an epoch so that a class comes up in proportion to the square root of its size.

    Between "as they are" (rare grades are never learnt) and "all alike" (a handful of cells is seen so often
    that it is learnt by heart); Mahajan et al. 2018, arXiv 1805.00932, section 2.2.
    """

    def __init__(self, dataset: Any, seed: int, round_up: bool = True) -> None:
        labels = [row["gt_label"] for row in dataset.rows]
        sizes = Counter(labels)
        self.weights = torch.tensor([1 / math.sqrt(sizes[label]) for label in labels], dtype=torch.double)
        self.seed = seed
        self.epoch = 0
        # Several processes draw the same cells and take every n-th of them.
        self.rank, self.processes = get_dist_info()

    def __len__(self) -> int:
        return len(self.weights) // int(self.processes)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 10_007 + self.epoch)
        drawn = torch.multinomial(self.weights, len(self.weights), replacement=True, generator=generator)
        return iter(drawn.tolist()[self.rank : len(self) * self.processes : self.processes])

    def set_epoch(self, epoch: int) -> None:
        """Called by MMEngine before each epoch."""
        self.epoch = epoch


@METRICS.register_module(force=True)
class CellAccuracy(BaseMetric):  # type: ignore[misc]
    """Balanced accuracy and log loss, every class counting the same; the log loss breaks ties."""

    default_prefix = "cells"

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep truth and scores."""
        for sample in data_samples:
            self.results.append((int(sample["gt_label"][0]), sample["pred_score"].float().cpu().numpy()))

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Figures of one validation; ``choice`` is the one that decides between epochs."""
        truth = np.array([item[0] for item in results])
        scores = np.stack([item[1] for item in results])
        balanced = float(balanced_accuracy_score(truth, scores.argmax(axis=1)))
        each = -np.log(scores[np.arange(len(truth)), truth].clip(1e-7))
        loss = float(np.average(each, weights=equal_classes(truth)))
        return {"balanced_accuracy": balanced, "log_loss": loss, "choice": balanced - 0.02 * loss}


def rows_of(records: Sequence[PatchRecord], classes: Sequence[str], shards: Path) -> list[dict[str, Any]]:
    """Dataset rows of patches that carry one of ``classes``."""
    return [
        {"name": record.file, "shards": str(shards), "gt_label": classes.index(record.label)}
        for record in records
        if record.label in classes and record.label is not None
    ]


@cache
def _opened(shards: str) -> Shards:
    """One reader per folder: MMEngine copies rows deeply, so they hold names only."""
    return Shards(Path(shards))
