"""What a random crop does to the boxes of a field."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cytoline import openmm

openmm.register()

with openmm.quiet():
    from mmdet.datasets.transforms import RandomCrop
    from mmdet.structures.bbox import HorizontalBoxes

    from stages.train_detector.fields import DropCutCells, FieldAP


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


def sample(found: list[list[float]], truth: list[list[float]], scale: float = 0.5) -> dict[str, Any]:
    """What MMEngine hands to the metric: found boxes in pixels of the original, true ones in those of the input."""
    rows = torch.tensor(found, dtype=torch.float32).reshape(-1, 5)
    kinds, labels = torch.zeros(len(rows), dtype=torch.long), torch.zeros(len(truth), dtype=torch.long)
    boxes = HorizontalBoxes(torch.tensor(truth, dtype=torch.float32).reshape(-1, 4) * scale)
    return {
        "pred_instances": {"bboxes": rows[:, :4], "scores": rows[:, 4], "labels": kinds},
        "gt_instances": {"bboxes": boxes, "labels": labels},
        "scale_factor": (scale, scale),
    }


def test_the_figure_that_chooses_the_epoch_is_average_precision() -> None:
    metric = FieldAP()
    metric.dataset_meta = {"classes": ("cell",)}
    one, two = [10.0, 10.0, 50.0, 50.0], [100.0, 100.0, 160.0, 140.0]
    metric.process(None, [sample([[*one, 0.9], [*two, 0.8]], [one, two])])
    assert metric.compute_metrics(metric.results) == {"ap50": pytest.approx(1.0)}
    # A surer detection on nothing before the second hit: precision 1 up to recall 1/3, 3/4 from there to 1.
    metric.process(None, [sample([[*one, 0.7], [200, 200, 230, 230, 0.85]], [one])])
    points = [1.0] * 34 + [0.75] * 67
    assert metric.compute_metrics(metric.results) == {"ap50": pytest.approx(sum(points) / 101)}


def test_fields_without_cells_or_finds_give_a_figure_too() -> None:
    metric = FieldAP()
    metric.dataset_meta = {"classes": ("cell",)}
    metric.process(None, [sample([], [])])
    assert metric.compute_metrics(metric.results) == {"ap50": 0.0}
