"""Every operation against a slow reference that is read more easily than it is run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cytoline import openmm
from cytoline.errors import CytolineError

openmm.register()

import mmcv.ops  # noqa: E402
from mmcv.ops.deform_conv import DeformConv2dFunction  # noqa: E402
from mmcv.ops.modulated_deform_conv import ModulatedDeformConv2dFunction  # noqa: E402


def _random(seed: int, *shape: int, low: float = -1, high: float = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64) * (high - low) + low


def _boxes(seed: int, count: int = 60) -> tuple[Tensor, Tensor]:
    corner = _random(seed, count, 2, low=0, high=30)
    size = _random(seed + 1, count, 2, low=2, high=15)
    return torch.cat([corner, corner + size], 1).float(), _random(seed + 2, count, low=0.05).abs().float()


def _overlap(a: list[float], b: list[float], offset: int) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    areas = [(box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("threshold", [0.3, 0.6])
def test_nms_keeps_what_the_greedy_loop_keeps(offset: int, threshold: float) -> None:
    boxes, scores = _boxes(7)
    rows = boxes.tolist()
    kept: list[int] = []
    for index in scores.argsort(descending=True).tolist():
        if all(_overlap(rows[index], rows[other], offset) <= threshold for other in kept):
            kept.append(index)
    dets, indices = mmcv.ops.nms(boxes, scores, iou_threshold=threshold, offset=offset)
    assert indices.tolist() == kept
    assert 3 < len(kept) < len(rows)
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], 1)[kept])


def test_nms_offset_changes_the_decision() -> None:
    # Overlap 1/3 as lengths, 9/21 as pixels that are counted.
    boxes, scores = torch.tensor([[0.0, 0, 2, 4], [0.0, 0, 2, 4]]), torch.tensor([0.9, 0.8])
    boxes[1, :2] += torch.tensor([0.0, 2.0])
    boxes[1, 3] += 2
    assert len(mmcv.ops.nms(boxes, scores, 0.4, offset=0)[1]) == 2
    assert len(mmcv.ops.nms(boxes, scores, 0.4, offset=1)[1]) == 1


def test_nms_of_nothing_is_nothing() -> None:
    assert mmcv.ops.nms(torch.zeros(0, 4), torch.zeros(0), 0.5)[1].tolist() == []


def test_batched_nms_keeps_classes_apart() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 10, 10], [1.0, 0, 11, 10]])
    kinds, scores = torch.tensor([0, 1, 0]), torch.tensor([0.9, 0.8, 0.7])
    _, indices = mmcv.ops.batched_nms(boxes, scores, kinds, dict(type="nms", iou_threshold=0.5))
    assert indices.tolist() == [0, 1]


def _soft_nms_reference(
    boxes: list[list[float]], scores: list[float], threshold: float, sigma: float, least: float, method: str
) -> tuple[list[int], list[float]]:
    left, current, kept = list(range(len(boxes))), list(scores), []
    while left:
        best = max(left, key=lambda index: current[index])
        kept.append(best)
        left.remove(best)
        for other in left:
            overlap = _overlap(boxes[best], boxes[other], 0)
            if method == "gaussian":
                current[other] *= math.exp(-(overlap**2) / sigma)
            elif overlap >= threshold:
                current[other] *= 0 if method == "naive" else 1 - overlap
        left = [other for other in left if current[other] >= least]
    return kept, [current[index] for index in kept]


@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
def test_soft_nms_decays_like_the_loop(method: str) -> None:
    boxes, scores = _boxes(11)
    kept, decayed = _soft_nms_reference(boxes.tolist(), scores.tolist(), 0.3, 0.5, 0.05, method)
    dets, indices = mmcv.ops.soft_nms(boxes, scores, 0.3, sigma=0.5, min_score=0.05, method=method)
    assert indices.tolist() == kept
    assert 3 < len(kept) < len(scores)
    torch.testing.assert_close(dets[:, 4], torch.tensor(decayed), atol=1e-6, rtol=1e-5)
    assert torch.equal(dets[:, :4], boxes[kept])


def test_nms_match_groups_each_kept_box_with_what_it_suppresses() -> None:
    boxes, scores = _boxes(13, 30)
    rows, left, groups = boxes.tolist(), scores.argsort(descending=True).tolist(), []
    while left:
        group = [index for index in left if index == left[0] or _overlap(rows[left[0]], rows[index], 0) >= 0.3]
        groups.append(group)
        left = [index for index in left if index not in group]
    found = mmcv.ops.nms_match(torch.cat([boxes, scores[:, None]], 1), 0.3)
    assert [group.tolist() for group in found] == groups
    assert any(len(group) > 1 for group in groups)


def _pixel(image: Tensor, y: int, x: int) -> Tensor:
    inside = 0 <= y < image.shape[1] and 0 <= x < image.shape[2]
    return image[:, y, x] if inside else image.new_zeros(image.shape[0])


def _bilinear(image: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """[C] at one point of [C, H, W]; black outside.  Differentiable in all three."""
    low_y, low_x = math.floor(y.item()), math.floor(x.item())
    total = image.new_zeros(image.shape[0])
    for step_y, step_x in itertools.product((0, 1), (0, 1)):
        near_y = 1 - (y - (low_y + step_y)).abs()
        near_x = 1 - (x - (low_x + step_x)).abs()
        total = total + near_y * near_x * _pixel(image, low_y + step_y, low_x + step_x)
    return total


def _roi_align_reference(
    image: Tensor, roi: Tensor, size: tuple[int, int], scale: float, sampling: int, aligned: bool
) -> Tensor:
    """[C, h, w] of one region: the mean of bilinear samples in each bin, border pixels repeated by one."""
    height, width = image.shape[1:]
    left, top, right, bottom = (roi * scale - (0.5 if aligned else 0.0)).tolist()
    wide, high = right - left, bottom - top
    if not aligned:
        wide, high = max(wide, 1.0), max(high, 1.0)
    bin_h, bin_w = high / size[0], wide / size[1]
    grid_h, grid_w = sampling or math.ceil(bin_h), sampling or math.ceil(bin_w)
    out = []
    for row, column in itertools.product(range(size[0]), range(size[1])):
        total = image.new_zeros(image.shape[0])
        for at_y, at_x in itertools.product(range(grid_h), range(grid_w)):
            y = top + (row + (at_y + 0.5) / grid_h) * bin_h
            x = left + (column + (at_x + 0.5) / grid_w) * bin_w
            if -1 <= y <= height and -1 <= x <= width:
                y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
                total = total + _bilinear(image, image.new_tensor(y), image.new_tensor(x))
        out.append(total / max(1, grid_h * grid_w))
    return torch.stack(out, 1).reshape(-1, *size)


ROIS = torch.tensor([[0, 1.2, 2.1, 9.7, 8.3], [1, -4, -3, 5, 6], [1, 10, 3, 26, 30], [0, 4, 4, 4.5, 4.2]]).double()


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling", [0, 2])
def test_roi_align_and_its_gradient(aligned: bool, sampling: int) -> None:
    image = _random(3, 2, 3, 8, 9)
    ours, theirs = image.clone().requires_grad_(), image.clone().requires_grad_()
    out = mmcv.ops.roi_align(ours, ROIS, (3, 2), 0.5, sampling, "avg", aligned)
    wanted = torch.stack(
        [_roi_align_reference(theirs[int(roi[0])], roi[1:], (3, 2), 0.5, sampling, aligned) for roi in ROIS]
    )
    torch.testing.assert_close(out, wanted)
    pull = _random(4, *out.shape)
    (out * pull).sum().backward()
    (wanted * pull).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    assert ours.grad is not None
    assert ours.grad.abs().sum() > 0


def test_roi_align_in_bf16_keeps_the_type_and_rounds_once() -> None:
    image = _random(3, 1, 2, 8, 8).bfloat16().requires_grad_()
    out = mmcv.ops.roi_align(image, ROIS[:1].float(), (3, 3), 1.0, 0, "avg", True)
    exact = mmcv.ops.roi_align(image.detach().float(), ROIS[:1].float(), (3, 3), 1.0, 0, "avg", True)
    assert out.dtype is torch.bfloat16
    assert torch.equal(out, exact.bfloat16())
    out.float().sum().backward()
    assert image.grad is not None
    assert image.grad.dtype is torch.bfloat16


def test_roi_align_by_maximum_is_refused_by_name() -> None:
    with pytest.raises(CytolineError, match="roi_align"):
        mmcv.ops.roi_align(_random(3, 1, 1, 8, 8), ROIS[:1], (3, 3), 1.0, 0, "max", True)


STRIDE, PADDING, DILATION, GROUPS, DEFORM_GROUPS = (2, 1), (1, 2), (1, 2), 2, 2


def _deform_conv_reference(image: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor) -> Tensor:
    """[B, O, h, w]: each kernel tap reads the image where its offset points, then a plain convolution."""
    kernel_h, kernel_w = weight.shape[2:]
    taps = kernel_h * kernel_w
    per_deform, per_group = image.shape[1] // DEFORM_GROUPS, image.shape[1] // GROUPS
    result = []
    for number, row, column in itertools.product(range(len(image)), range(offset.shape[2]), range(offset.shape[3])):
        sampled = []
        for group, tap in itertools.product(range(DEFORM_GROUPS), range(taps)):
            move = offset[number, (group * taps + tap) * 2 : (group * taps + tap) * 2 + 2, row, column]
            y = row * STRIDE[0] - PADDING[0] + tap // kernel_w * DILATION[0] + move[0]
            x = column * STRIDE[1] - PADDING[1] + tap % kernel_w * DILATION[1] + move[1]
            value = _bilinear(image[number, group * per_deform : (group + 1) * per_deform], y, x)
            scale = 1.0 if mask is None else mask[number, group * taps + tap, row, column]
            sampled.append(value * scale)
        columns = torch.stack(sampled).reshape(DEFORM_GROUPS, taps, per_deform).transpose(1, 2).reshape(-1, taps)
        filters = weight.reshape(GROUPS, -1, per_group * taps)
        result.append(torch.einsum("gok,gk->go", filters, columns.reshape(GROUPS, -1)).reshape(-1))
    shape = (len(image), offset.shape[2], offset.shape[3], -1)
    return torch.stack(result).reshape(shape).permute(0, 3, 1, 2)


def _deform_inputs() -> list[Tensor]:
    taps, size = 3 * 2, (3, 8)  # of the output for 5 x 6 pixels
    return [
        _random(21, 2, 4, 5, 6),
        _random(22, 2, DEFORM_GROUPS * 2 * taps, *size, low=-1.4, high=1.4),
        _random(23, 2, DEFORM_GROUPS * taps, *size, low=0),
        _random(24, 6, 4 // GROUPS, 3, 2),
        _random(25, 6),
    ]


def _compare(ours: Callable[..., Tensor], reference: Callable[..., Tensor], inputs: list[Tensor]) -> None:
    results = []
    for function in (ours, reference):
        at = [item.clone().requires_grad_() for item in inputs]
        out = function(*at)
        pull = _random(30, *out.shape)
        results.append((out, torch.autograd.grad((out * pull).sum(), at)))
    torch.testing.assert_close(results[0][0], results[1][0])
    for found, wanted in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(found, wanted)
        assert wanted.abs().sum() > 0


def test_modulated_deformable_convolution_and_its_five_gradients() -> None:
    def ours(image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        out: Tensor = ModulatedDeformConv2dFunction.apply(
            image, offset, mask, weight, bias, STRIDE, PADDING, DILATION, GROUPS, DEFORM_GROUPS
        )
        return out

    def reference(image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return _deform_conv_reference(image, offset, mask, weight) + bias[:, None, None]

    _compare(ours, reference, _deform_inputs())


def test_modulated_deformable_convolution_without_bias() -> None:
    image, offset, mask, weight, _ = _deform_inputs()
    out = ModulatedDeformConv2dFunction.apply(
        image, offset, mask, weight.requires_grad_(), None, STRIDE, PADDING, DILATION, GROUPS, DEFORM_GROUPS
    )
    torch.testing.assert_close(out, _deform_conv_reference(image, offset, mask, weight))
    out.sum().backward()
    assert weight.grad is not None


def test_deformable_convolution_and_its_three_gradients() -> None:
    def ours(image: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
        out: Tensor = DeformConv2dFunction.apply(
            image, offset, weight, STRIDE, PADDING, DILATION, GROUPS, DEFORM_GROUPS
        )
        return out

    image, offset, _, weight, _ = _deform_inputs()
    _compare(
        ours, lambda image, offset, weight: _deform_conv_reference(image, offset, None, weight), [image, offset, weight]
    )


def test_an_operation_that_is_not_there_fails_by_name_when_it_is_called() -> None:
    with pytest.raises(CytolineError, match="ball_query_forward") as caught:
        mmcv.ops.ball_query(0, 0.2, 3, torch.zeros(1, 4, 3), torch.zeros(1, 2, 3))
    assert "configs/" in caught.value.remedy


def test_mmcv_reports_what_stands_in_for_its_compiler() -> None:
    assert "torchvision" in mmcv.ops.get_compiler_version()
    assert mmcv.ops.get_compiling_cuda_version() == (torch.version.cuda or "not available")
