"""Finding cells in a field with a trained detector folder.  Used by detect and by ``cytoline predict``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cytoline import openmm
from cytoline.errors import CytolineError
from cytoline.fusion import MIRRORS, VIEWS, Found, fuse, mirrored, unmirrored
from cytoline.images import RGB
from cytoline.models import load_state, load_strictly, verify_model

Boxes = NDArray[np.float64]
"""[N, 4] x, y, width, height in pixels of the image, clipped to it."""
Scores = NDArray[np.float64]
"""[N] from 0 to 1, falling."""
Classes = NDArray[np.int64]
"""[N] position in the detector's ``classes``."""


_TILE_WHEN = 1.5
"""A field this many times longer than those trained on is cut into tiles of their size."""
_OVERLAP = 0.25
"""Share of a tile that it has in common with the next: more than the largest cell in it."""
_SAME_CELL = 0.6
"""Two boxes of neighbouring tiles that overlap by this IoU are one cell."""


class Detector:
    """A detector in evaluation mode; one at a time per process."""

    def __init__(self, folder: Path) -> None:
        openmm.register()
        from mmengine.config import Config

        from cytoline.training import build_model

        card = verify_model(folder)  # config.py is a program: it must be the one that the card names
        config = Config.fromfile(str(folder / "config.py"))
        if card.untrained is not None:
            raise CytolineError(
                f"{folder} holds no detector: {card.untrained}", "add annotated fields, then `dvc repro`"
            )
        settings: dict[str, Any] = dict(card.settings)
        self.classes = card.classes
        self.input_size: tuple[int, int] = (settings["input_size"][0], settings["input_size"][1])
        self.field_side = int(settings["field_side_px"])
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = build_model("mmdet", config)
        load_strictly(model, load_state(folder), str(folder))
        # channels_last: a third faster on a CPU, the same to six digits.
        self.model: Any = model.eval().to(self.device).to(memory_format=torch.channels_last)

    def predict(self, image: RGB, views: int = VIEWS) -> Found:
        """Cells in ``image`` (uint8 [H, W, 3]); a field far larger than those trained on is searched in tiles.

        ``views`` (1 to 4) is how many mirror images are looked at and fused: slower, and steadier.
        """
        longest = max(image.shape[:2])
        if longest <= _TILE_WHEN * self.field_side:
            return self._predict_views(image, views)
        boxes, scores, classes = [], [], []
        for x, y, tile in _tiles(image, self.field_side):
            found, score, kind = self._predict_views(tile, views)
            inner = _away_from_cut_edges(found, tile, (x, y), image)
            boxes.append(found[inner] + [x, y, 0, 0])
            scores.append(score[inner])
            classes.append(kind[inner])
        return _merge(np.concatenate(boxes), np.concatenate(scores), np.concatenate(classes))

    def _predict_views(self, image: RGB, views: int) -> Found:
        height, width = image.shape[:2]
        looks = []
        for mirror in MIRRORS[:views]:
            boxes, scores, classes = self._predict_one(mirrored(image, mirror))
            looks.append((unmirrored(boxes, mirror, width, height), scores, classes))
        return fuse(looks)

    def _predict_one(self, image: RGB) -> Found:
        from mmdet.structures import DetDataSample

        height, width = image.shape[:2]
        scale = min(self.input_size[0] / width, self.input_size[1] / height)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        sample = DetDataSample(
            metainfo={
                "ori_shape": (height, width),
                "img_shape": (size[1], size[0]),
                "scale_factor": (size[0] / width, size[1] / height),
            }
        )
        tensor: Tensor = torch.from_numpy(np.ascontiguousarray(small.transpose(2, 0, 1)))
        with torch.inference_mode():
            batch = self.model.data_preprocessor({"inputs": [tensor], "data_samples": [sample]}, False)
            result = self.model.predict(batch["inputs"], batch["data_samples"], rescale=True)[0].pred_instances
        corners = result.bboxes.float().cpu().numpy().astype(np.float64)
        return _clipped(
            corners, result.scores.float().cpu().numpy().astype(np.float64), result.labels.cpu().numpy(), width, height
        )


def load_detector(folder: Path) -> Detector:
    """Read a model folder.  Raises ``CytolineError`` where it is missing or does not match its card."""
    return Detector(folder)


def _clipped(corners: Boxes, scores: Scores, labels: Classes, width: int, height: int) -> Found:
    corners[:, 0::2] = corners[:, 0::2].clip(0, width)
    corners[:, 1::2] = corners[:, 1::2].clip(0, height)
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    keep = (boxes[:, 2] >= 1) & (boxes[:, 3] >= 1)
    order = np.argsort(-scores[keep], kind="stable")
    return boxes[keep][order], scores[keep][order], labels.astype(np.int64)[keep][order]


def _tiles(image: RGB, side: int) -> Iterator[tuple[int, int, RGB]]:
    step = max(1, round(side * (1 - _OVERLAP)))
    height, width = image.shape[:2]
    for y in _starts(height, side, step):
        for x in _starts(width, side, step):
            yield x, y, image[y : y + side, x : x + side]


def _starts(length: int, side: int, step: int) -> list[int]:
    if length <= side:
        return [0]
    return sorted({*range(0, length - side, step), length - side})


def _away_from_cut_edges(boxes: Boxes, tile: RGB, origin: tuple[int, int], image: RGB) -> NDArray[np.bool_]:
    """A box that touches an edge which is not the field's own is half a cell; the next tile has it whole."""
    (x, y), (height, width) = origin, tile.shape[:2]
    keep = np.ones(len(boxes), dtype=bool)
    if x > 0:
        keep &= boxes[:, 0] > 1
    if y > 0:
        keep &= boxes[:, 1] > 1
    if x + width < image.shape[1]:
        keep &= boxes[:, 0] + boxes[:, 2] < width - 1
    if y + height < image.shape[0]:
        keep &= boxes[:, 1] + boxes[:, 3] < height - 1
    return keep


def _merge(boxes: Boxes, scores: Scores, classes: Classes) -> Found:
    from torchvision.ops import batched_nms

    corners = torch.from_numpy(np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1))
    kept = batched_nms(corners, torch.from_numpy(scores), torch.from_numpy(classes), _SAME_CELL).numpy()
    return cast("Found", (boxes[kept], scores[kept], classes[kept]))
