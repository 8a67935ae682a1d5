"""What a random crop does to the boxes of a field."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from cytoline import openmm

openmm.register()

with openmm.quiet():
    from mmdet.datasets.transforms import RandomCrop
    from mmdet.structures.bbox import HorizontalBoxes

    from stages.train_detector.fields import DropCutCells


def results(*corners: tuple[float, float, float, float]) -> dict[str, Any]:
    return {
        "img": np.zeros((80, 100, 3), dtype=np.uint8),
        "img_shape": (80, 100),
        "gt_bboxes": HorizontalBoxes(np.asarray(corners, dtype=np.float32).reshape(-1, 4)),
        "gt_bboxes_labels": np.arange(len(corners)),
        "gt_ignore_flags": np.zeros(len(corners), dtype=bool),
    }


def test_slivers_go_and_half_cells_are_clipped() -> None:
    shifted = results((-30, 10, 10, 30), (-10, 10, 10, 30), (50, 50, 70, 70))
    done = DropCutCells(min_visible=0.35).transform(shifted)
    assert done["gt_bboxes"].tensor.tolist() == [[0, 10, 10, 30], [50, 50, 70, 70]]
    assert done["gt_bboxes_labels"].tolist() == [1, 2]
    assert len(done["gt_ignore_flags"]) == 2


def test_a_cell_annotated_at_the_edge_of_the_field_itself_stays() -> None:
    done = DropCutCells(min_visible=0.35).transform(results((0, 0, 4, 30)))
    assert done["gt_bboxes"].tensor.tolist() == [[0, 0, 4, 30]]


def test_a_field_may_lose_all_its_cells() -> None:
    done = DropCutCells(min_visible=0.35).transform(results((-38, 0, 2, 30)))
    assert len(done["gt_bboxes"]) == 0


def test_after_the_crop_of_the_pipeline_every_box_shows_enough_of_its_cell() -> None:
    np.random.seed(0)
    side, shown = 20.0, []
    crop = RandomCrop(crop_size=(50, 40), allow_negative_crop=False, bbox_clip_border=False)
    for _ in range(50):
        cropped = crop.transform(results(*((x, y, x + side, y + side) for x in (0, 25, 50, 75) for y in (0, 25, 50))))
        if cropped is None:
            continue
        boxes = DropCutCells(min_visible=0.35).transform(cropped)["gt_bboxes"]
        shown += (boxes.areas / side**2).tolist()
        assert (boxes.tensor >= 0).all()
        assert (boxes.tensor <= torch.tensor([50, 40, 50, 40])).all()
    assert min(shown) >= 0.3499  # areas are float32
    assert min(shown) < 0.9, "no box was cut, the test shows nothing"


def test_the_default_pipeline_gives_pictures_of_the_input_size() -> None:
    """MMDetection wants (width, height) of a crop and (height, width) elsewhere; swapped, half of a field is lost."""
    with openmm.quiet():
        from mmengine.config import Config
        from mmengine.dataset import Compose
        from mmengine.registry import DefaultScope

        steps = Config.fromfile("configs/detector/rtmdet_lite0.py").train_pipeline
    with DefaultScope.overwrite_default_scope("mmdet"):
        shake = Compose([step for step in steps if step["type"] != "LoadField"])
    np.random.seed(0)
    shapes = []
    for _ in range(10):
        field = {"img": np.full((480, 640, 3), 200, dtype=np.uint8), "img_shape": (480, 640), "ori_shape": (480, 640)}
        field |= {"corners": [(100, 100, 200, 200), (300, 250, 420, 340)], "labels": [0, 0]}
        field |= {"img_id": "a", "img_path": "a", "height": 480, "width": 640}
        if (shaken := shake(field)) is not None:
            shapes.append(tuple(shaken["inputs"].shape))
    assert set(shapes) == {(3, 384, 512)}
