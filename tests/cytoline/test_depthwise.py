"""Slow depthwise convolutions: the same result, computed in float32, under the same names."""

from __future__ import annotations

import torch
from torch import nn

from cytoline import depthwise


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.Conv2d(8, 8, 3, stride=2, groups=8),
        nn.Conv2d(8, 8, 5, groups=8),
        nn.Conv2d(8, 8, 3, groups=8),
    )


def test_only_the_slow_ones_are_widened_and_names_stay() -> None:
    net = network()
    before = list(net.state_dict())
    assert depthwise.in_float32(net) == 2
    assert list(net.state_dict()) == before


def test_without_autocast_nothing_changes() -> None:
    plain, widened = network(), network()
    depthwise.in_float32(widened)
    inputs = torch.randn(2, 3, 24, 24)
    assert torch.equal(plain(inputs), widened(inputs))


def test_under_autocast_they_compute_in_float32_and_gradients_flow() -> None:
    net = network()
    seen: list[torch.dtype] = []
    original = net[1].forward
    net[1].forward = lambda inputs: (seen.append(inputs.dtype), original(inputs))[1]  # type: ignore[method-assign]
    depthwise.in_float32(net)
    with torch.autocast("cpu", torch.bfloat16):
        out = net(torch.randn(2, 3, 24, 24))
    assert seen == [torch.float32]
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_frozen_ones_stay_in_bf16_because_only_the_backward_pass_is_slow() -> None:
    net = network().requires_grad_(False)
    seen: list[torch.dtype] = []
    original = net[1].forward
    net[1].forward = lambda inputs: (seen.append(inputs.dtype), original(inputs))[1]  # type: ignore[method-assign]
    depthwise.in_float32(net)
    with torch.autocast("cpu", torch.bfloat16):
        net(torch.randn(2, 3, 24, 24))
    assert seen == [torch.bfloat16]
