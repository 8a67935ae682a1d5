"""Depthwise convolutions in float32 inside bf16 training on a CPU, where oneDNN's bf16 backward is slow.

Measured on two cores (AVX512-BF16, AMX), EfficientNet-lite0, batch 8 of 512x384: the backward pass of a 3x3
depthwise convolution with stride 2 took 510 ms in bf16 and 92 ms in float32, that of a 5x5 one 257 ms and
68 ms.  Done in float32, a whole step of the backbone went from 3.6 s to 2.2 s.
See docs/decisions/003-training-on-two-cores.md.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def in_float32(model: nn.Module) -> int:
    """Make the slow depthwise convolutions of ``model`` compute in float32; returns how many there are.

    Their inputs and outputs stay bf16, names and weights of the model do not change.
    """
    slow = [module for module in model.modules() if isinstance(module, nn.Conv2d) and _is_slow(module)]
    for module in slow:
        module.forward = _widened(module, module.forward)  # type: ignore[method-assign, assignment]
    return len(slow)


def _is_slow(module: nn.Conv2d) -> bool:
    return module.groups == module.in_channels > 1 and (module.stride[0] > 1 or module.kernel_size[0] > 3)


def _widened(module: nn.Conv2d, forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def widened(inputs: Tensor) -> Tensor:
        # Only the backward pass is slow: frozen layers have none.
        if not torch.is_autocast_enabled("cpu") or not (inputs.requires_grad or module.weight.requires_grad):
            return forward(inputs)
        with torch.autocast("cpu", enabled=False):
            return forward(inputs.float()).to(torch.bfloat16)

    return widened
