"""The network: SRVGGNetCompact (Real-ESRGAN's compact form), started as a plain bicubic enlargement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from spandrel.architectures.Compact import Compact
from torch import Tensor

CARRIED = 27
"""Features that carry the input through: each of 3 colours at each of 3 x 3 neighbouring pixels."""


def new_network(factor: int, features: int, blocks: int, mean: Sequence[float] = (0.5, 0.5, 0.5)) -> Any:
    """A network whose output is, before any training, the bicubic enlargement of its input.

    The first layer copies each pixel's 3 x 3 neighbours, less the ``mean`` colour (0..1), into ``CARRIED``
    features; the middle layers hand these on (a PReLU of slope 1 changes nothing), and the last 3 x 3 layer
    sees 5 x 5 pixels, which is all that a bicubic kernel needs.  Training then has only to learn what a
    filter cannot do; from random weights the same number of steps does not even reach the filter.  The mean
    is taken off because Adam's first steps all have one size: on features far from 0 they shift every pixel
    at once, and the first hundred steps would only repair that.
    """
    if features <= CARRIED:
        raise ValueError(f"more than {CARRIED} features are needed")
    net = Compact(num_in_ch=3, num_out_ch=3, num_feat=features, num_conv=blocks, upscale=factor, act_type="prelu")
    layers: list[Any] = [layer for layer in net.body if isinstance(layer, torch.nn.Conv2d)]
    first, *middle, last = layers
    with torch.no_grad():
        first.weight[:CARRIED] = _neighbours()
        for layer in middle:
            layer.weight[:CARRIED] = 0
            layer.weight[range(CARRIED), range(CARRIED), 1, 1] = 1
            layer.bias[:CARRIED] = 0
        first.bias[:CARRIED] = -torch.tensor(mean).repeat_interleave(9)
        for slopes in (layer.weight for layer in net.body if isinstance(layer, torch.nn.PReLU)):
            slopes[:CARRIED] = 1
        last.bias.zero_()
        last.weight.zero_()
        last.weight[:, :CARRIED] = _enlarging(factor)
    return net


def _neighbours() -> Tensor:
    """[27, 3, 3, 3]: feature 9 * colour + 3 * row + column is that colour one step in that direction."""
    return torch.eye(CARRIED).view(CARRIED, 3, 3, 3)


def _enlarging(factor: int) -> Tensor:
    """[3 * factor**2, 27, 3, 3]: bicubic enlargement less the nearest neighbour that the network adds by itself."""
    weights = torch.zeros(3, factor, factor, 3, 3, 3, 3, 3)  # colour, phase y, x, carried colour, row, column, kernel
    for phase_y in range(factor):
        for phase_x in range(factor):
            kernel = torch.outer(_taps(phase_y, factor), _taps(phase_x, factor))
            kernel[2, 2] -= 1
            for colour in range(3):
                weights[colour, phase_y, phase_x, colour] = _spread(kernel)
    return weights.view(3 * factor**2, CARRIED, 3, 3)


def _spread(kernel: Tensor) -> Tensor:
    """A 5 x 5 kernel as [3, 3, 3, 3]: first the neighbour that is carried, then the place in the last layer."""
    spread = torch.zeros(3, 3, 3, 3)
    for row in range(5):
        for column in range(5):
            carried_row, carried_column = min(max(row - 1, 0), 2), min(max(column - 1, 0), 2)
            spread[carried_row, carried_column, row - carried_row, column - carried_column] = kernel[row, column]
    return spread


def _taps(phase: int, factor: int) -> Tensor:
    """Weights of the pixels -2..2 for one of the ``factor`` output pixels of a pixel (Keys 1981, a = -1/2)."""
    centre = (phase + 0.5) / factor - 0.5
    distance = (torch.arange(-2, 3, dtype=torch.float64) - centre).abs()
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    taps = torch.where(distance <= 1, near, torch.where(distance < 2, far, torch.zeros_like(far)))
    return (taps / taps.sum()).float()
