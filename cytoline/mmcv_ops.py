"""The operations of `mmcv._ext` that the shipped configurations need, on torchvision, for CPU and CUDA.

Names, argument orders and the habit of filling tensors that the caller made are those of mmcv's C++ binding
(`mmcv/ops/csrc/pytorch/pybind.cpp`).  Gradients come from autograd on torchvision's operation: one more
forward pass than compiled code needs, and only public interfaces.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torchvision
from torch import Tensor
from torchvision.ops import deform_conv2d, roi_align

from cytoline.errors import CytolineError

__all__ = [
    "deform_conv_backward_input",
    "deform_conv_backward_parameters",
    "deform_conv_forward",
    "get_compiler_version",
    "get_compiling_cuda_version",
    "modulated_deform_conv_backward",
    "modulated_deform_conv_forward",
    "nms",
    "nms_match",
    "roi_align_backward",
    "roi_align_forward",
    "softnms",
]

_AVERAGE = 1


def get_compiler_version() -> str:
    """What mmcv prints as its compiler."""
    return f"torchvision {torchvision.__version__} (cytoline.mmcv_ops, nothing compiled)"


def get_compiling_cuda_version() -> str:
    """What mmcv prints as the CUDA it was compiled with."""
    return torch.version.cuda or "not available"


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the kept boxes (xyxy, [N, 4]) by descending score; int64 [K].

    ``offset`` 1 counts pixels (width = x2 - x1 + 1), which is the same as moving the far corner by one.
    """
    if boxes.numel() == 0:
        return torch.empty(0, dtype=torch.long, device=boxes.device)
    kept: Tensor = torchvision.ops.nms(_moved(boxes.float(), offset), scores.float(), iou_threshold)
    return kept


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS (Bodla 2017): scores of overlapping boxes decay instead of vanishing.

    ``method`` 0 is plain NMS, 1 linear, 2 Gaussian.  Fills ``dets`` ([N, 5], xyxy and decayed score) from the
    top and gives the indices of its rows; int64 [K].
    """
    moved = _moved(boxes.float(), offset)
    left = torch.arange(len(boxes))
    current = scores.float().clone()
    kept: list[int] = []
    while len(left):
        best = int(left[current[left].argmax()])
        dets[len(kept)] = torch.cat([boxes[best], current[best : best + 1].to(boxes.dtype)])
        kept.append(best)
        left = left[left != best]
        overlap = torchvision.ops.box_iou(moved[best : best + 1], moved[left])[0]
        current[left] *= _decay(overlap, iou_threshold, sigma, method)
        left = left[current[left] >= min_score]
    return torch.tensor(kept, dtype=torch.long)


def _decay(overlap: Tensor, iou_threshold: float, sigma: float, method: int) -> Tensor:
    if method == 2:
        return torch.exp(-(overlap**2) / sigma)
    weight = torch.zeros_like(overlap) if method == 0 else 1 - overlap
    return torch.where(overlap >= iou_threshold, weight, torch.ones_like(overlap))


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Groups of row numbers of ``dets`` ([N, 5]): each kept box, then the ones it suppresses by descending score."""
    order = dets[:, 4].argsort(descending=True, stable=True)
    groups = []
    while len(order):
        overlap = torchvision.ops.box_iou(dets[order[:1], :4], dets[order, :4])[0]
        hit = overlap >= iou_threshold
        hit[0] = True  # a box without area overlaps nothing, not even itself
        groups.append([int(index) for index in order[hit]])
        order = order[~hit]
    return groups


def roi_align_forward(
    features: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign (He 2017) of ``features`` [B, C, H, W] at ``rois`` [N, 5] (image, xyxy) into ``output`` [N, C, h, w]."""
    _only_average(pool_mode)
    size = (aligned_height, aligned_width)
    output.copy_(_roi_align(_exact(features), _exact(rois), size, spatial_scale, sampling_ratio, aligned))


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Adds to ``grad_input`` [B, C, H, W] the gradient of RoIAlign, which does not depend on the input itself."""
    _only_average(pool_mode)
    size = (aligned_height, aligned_width)
    with torch.enable_grad():
        at = torch.zeros_like(grad_input, dtype=_exact(grad_input).dtype, requires_grad=True)
        out = _roi_align(at, _exact(rois), size, spatial_scale, sampling_ratio, aligned)
        (grad,) = torch.autograd.grad(out, at, _exact(grad_output))
    grad_input.add_(grad)


def _roi_align(
    image: Tensor, rois: Tensor, size: tuple[int, int], scale: float, sampling: int, aligned: bool
) -> Tensor:
    result: Tensor = roi_align(image, rois.to(image.dtype), size, scale, sampling if sampling > 0 else -1, aligned)
    return result


def _only_average(pool_mode: int) -> None:
    if pool_mode != _AVERAGE:
        raise CytolineError(
            "the mmcv operation `roi_align` was asked for pool_mode='max', which cytoline does not provide",
            "use pool_mode='avg' (the default) in the configuration's RoIAlign",
        )


def modulated_deform_conv_forward(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    *,
    with_bias: bool,
    **geometry: int,
) -> None:
    """Deformable convolution v2 (Zhu 2019) into ``output``; ``mask`` scales every sampled value."""
    parts = [features, offset, mask, weight, *([bias] if with_bias else [])]
    output.copy_(_deform_conv([_exact(part) for part in parts], True, **_named_v2(geometry)))


def modulated_deform_conv_backward(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    *,
    with_bias: bool,
    **geometry: int,
) -> None:
    """Adds the five gradients of ``modulated_deform_conv_forward`` to the ``grad_*`` tensors."""
    parts = [features, offset, mask, weight, *([bias] if with_bias else [])]
    sums = [grad_input, grad_offset, grad_mask, grad_weight, *([grad_bias] if with_bias else [])]
    _add_gradients(parts, sums, grad_output, True, **_named_v2(geometry))


def deform_conv_forward(
    features: Tensor, weight: Tensor, offset: Tensor, output: Tensor, columns: Tensor, ones: Tensor, **geometry: int
) -> None:
    """Deformable convolution v1 (Dai 2017), without mask and bias, into ``output``."""
    parts = [_exact(part) for part in (features, offset, weight)]
    output.copy_(_deform_conv(parts, False, **_named_v1(geometry)))


def deform_conv_backward_input(
    features: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **geometry: int,
) -> None:
    """Adds the gradients of ``deform_conv_forward`` for the input and the offsets."""
    _add_gradients(
        [features, offset, weight], [grad_input, grad_offset, None], grad_output, False, **_named_v1(geometry)
    )


def deform_conv_backward_parameters(
    features: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    *,
    scale: float,
    **geometry: int,
) -> None:
    """Adds ``scale`` times the gradient of ``deform_conv_forward`` for the weight."""
    weight = torch.zeros_like(grad_weight)  # the gradient for the weight does not depend on the weight
    sums = [None, None, grad_weight]
    _add_gradients([features, offset, weight], sums, grad_output * scale, False, **_named_v1(geometry))


Pair = tuple[int, int]


def _named_v1(geometry: dict[str, int]) -> dict[str, Pair]:
    return {
        "stride": (geometry["dH"], geometry["dW"]),
        "padding": (geometry["padH"], geometry["padW"]),
        "dilation": (geometry["dilationH"], geometry["dilationW"]),
    }


def _named_v2(geometry: dict[str, int]) -> dict[str, Pair]:
    return {
        "stride": (geometry["stride_h"], geometry["stride_w"]),
        "padding": (geometry["pad_h"], geometry["pad_w"]),
        "dilation": (geometry["dilation_h"], geometry["dilation_w"]),
    }


def _deform_conv(parts: Sequence[Tensor], masked: bool, **geometry: Pair) -> Tensor:
    """``parts``: features, offset, (mask,) weight(, bias).  torchvision reads both group counts from the shapes."""
    image, offset, *rest = parts
    mask = rest.pop(0) if masked else None
    weight, *bias = rest
    result: Tensor = deform_conv2d(image, offset, weight, bias[0] if bias else None, mask=mask, **geometry)
    return result


def _add_gradients(
    parts: Sequence[Tensor], sums: Sequence[Tensor | None], grad_output: Tensor, masked: bool, **geometry: Pair
) -> None:
    with torch.enable_grad():
        at = [_exact(part).detach().requires_grad_() for part in parts]
        wanted = [number for number, total in enumerate(sums) if total is not None]
        out = _deform_conv(at, masked, **geometry)
        gradients = torch.autograd.grad(out, [at[number] for number in wanted], _exact(grad_output))
    for number, gradient in zip(wanted, gradients, strict=True):
        total = sums[number]
        assert total is not None
        total.add_(gradient)


def _exact(tensor: Tensor) -> Tensor:
    """At least float32: torchvision's operations know no bfloat16 on the CPU."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _moved(boxes: Tensor, offset: int) -> Tensor:
    return boxes + boxes.new_tensor([0, 0, offset, offset]) if offset else boxes
