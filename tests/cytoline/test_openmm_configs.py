"""Every shipped configuration builds, takes a training step, predicts, and takes its published weights."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cytoline import openmm, pretrained

openmm.register()

from mmdet.structures import DetDataSample  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.model import BaseModule  # noqa: E402
from mmengine.structures import InstanceData  # noqa: E402
from mmpretrain.structures import DataSample  # noqa: E402

from cytoline.training import build_model  # noqa: E402

CONFIGS = Path(__file__).parents[2] / "configs"
DETECTORS = sorted(path.stem for path in (CONFIGS / "detector").glob("*.py"))
CLASSIFIERS = sorted(path.stem for path in (CONFIGS / "classifier").glob("*.py"))


def _model(name: str, classes: int) -> Any:
    kind = "detector" if name in DETECTORS else "classifier"
    config = Config.fromfile(CONFIGS / kind / f"{name}.py")
    head = config.model.get("bbox_head") or config.model.get("head") or config.model.roi_head.bbox_head
    head.num_classes = classes
    return build_model("mmdet" if kind == "detector" else "mmpretrain", config)


@pytest.fixture
def unready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random values take long to draw, and some tests only look at shapes."""
    monkeypatch.setattr(BaseModule, "init_weights", lambda self: None)
    for name in ("kaiming_uniform_", "kaiming_normal_", "trunc_normal_", "normal_", "uniform_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *_args, **_kwargs: tensor)


def _field(model: Any, side: int = 96) -> Any:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (3, side, side), generator=generator, dtype=torch.uint8)
    sample = DetDataSample(
        metainfo={"img_shape": (side, side), "ori_shape": (side, side), "scale_factor": (1.0, 1.0), "img_id": "x"}
    )
    boxes = torch.tensor([[8.0, 8, 40, 44], [50.0, 30, 90, 80]])
    sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([0, 1]))
    return model.data_preprocessor({"inputs": [pixels], "data_samples": [sample]}, training=True)


def _backward(model: nn.Module, losses: dict[str, Any]) -> None:
    """The loss is a number and reaches every weight that may move."""
    values = [value if isinstance(value, list) else [value] for key, value in losses.items() if "loss" in key]
    total: Tensor = torch.stack([part.sum() for value in values for part in value]).sum()
    assert torch.isfinite(total)
    total.backward()
    parameters = [item for item in model.parameters() if item.requires_grad]
    gradients = [item.grad for item in parameters if item.grad is not None]
    assert len(gradients) > 0.9 * len(parameters)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert any(gradient.abs().sum() > 0 for gradient in gradients[:5])


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_takes_a_training_step_and_predicts(name: str) -> None:
    torch.manual_seed(0)
    model = _model(name, classes=2)
    batch = _field(model)
    _backward(model, model.train().loss(batch["inputs"], batch["data_samples"]))
    with torch.inference_mode():
        found = model.eval().predict(batch["inputs"], batch["data_samples"])[0].pred_instances
    assert found.bboxes.shape[1:] == (4,)
    assert set(found.labels.tolist()) <= {0, 1}
    assert torch.isfinite(found.bboxes).all()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_takes_a_training_step_and_predicts(name: str) -> None:
    torch.manual_seed(0)
    model = _model(name, classes=5)
    pixels = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    samples = [DataSample().set_gt_label(kind) for kind in (0, 1, 2, 4)]
    batch = model.data_preprocessor({"inputs": list(pixels), "data_samples": samples}, training=True)
    _backward(model, model.train().loss(batch["inputs"], batch["data_samples"]))
    with torch.inference_mode():
        scores = model.eval().head(model.extract_feat(batch["inputs"]))
    assert scores.shape == (4, 5)


@pytest.mark.usefixtures("unready")
@pytest.mark.parametrize("name", ["rtmdet_lite0", "lite0"])
def test_the_packaged_weights_find_their_places(name: str) -> None:
    model = _model(name, classes=3)
    origin = pretrained.initialise(model, name, "default", CONFIGS / "weights.yaml")
    assert origin is not None
    assert origin.digest == pretrained.LITE0_SHA256
    stem = model.backbone.timm_model.conv_stem.weight
    assert torch.equal(stem, pretrained.imagenet_lite0_state()["conv_stem.weight"])


@pytest.mark.usefixtures("unready")
@pytest.mark.parametrize("name", [name for name in DETECTORS + CLASSIFIERS if "lite0" not in name])
def test_only_what_depends_on_the_number_of_classes_may_stay_random(name: str) -> None:
    fresh = pretrained.published(name, CONFIGS / "weights.yaml").fresh
    ours, theirs = (_model(name, classes).state_dict() for classes in (3, 80))
    assert ours.keys() == theirs.keys()
    assert {key for key in ours if ours[key].shape != theirs[key].shape} == {
        key for key in ours if any(fnmatchcase(key, pattern) for pattern in fresh)
    }


@pytest.mark.usefixtures("unready")
@pytest.mark.parametrize("name", DETECTORS)
def test_pixels_that_pad_a_field_look_like_empty_glass(name: str) -> None:
    """MMDetection pads after normalisation, so a raw 235 would be a signal far beyond any real one."""
    preprocess = _model(name, classes=1).data_preprocessor
    white = torch.full((3, 64, 50), 235, dtype=torch.uint8)
    out = preprocess({"inputs": [white], "data_samples": [DetDataSample(metainfo={"img_shape": (64, 50)})]}, False)
    inputs = out["inputs"][0]
    assert inputs.shape[-1] == 64
    assert (inputs[..., 50:] - inputs[..., :1]).abs().max() < 0.5
