"""Training state survives the trip to disk without pickle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from cytoline import training_state


def stepped(net: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    torch.manual_seed(seed)
    optimizer.zero_grad()
    net(torch.randn(4, 3)).square().sum().backward()
    optimizer.step()


def test_an_optimizer_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    stepped(net, optimizer, 1)
    training_state.write(tmp_path / "s", {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 1})
    stepped(net, optimizer, 2)

    other = nn.Linear(3, 2)
    again = torch.optim.AdamW(other.parameters(), lr=0.9)
    saved = training_state.read(tmp_path / "s")
    assert saved is not None
    assert saved["epoch"] == 1
    other.load_state_dict(saved["model"])
    again.load_state_dict(saved["optimizer"])
    stepped(other, again, 2)
    assert torch.equal(net.weight, other.weight)


def test_kinds_of_values_come_back_as_they_were(tmp_path: Path) -> None:
    state = {"a": {1: torch.arange(3), "b": (1, 2.5)}, "c": [None, True, "x"], "d": float("-inf"), "e": {}}
    training_state.write(tmp_path / "s", state)
    back = training_state.read(tmp_path / "s")
    assert back is not None
    assert torch.equal(back["a"][1], torch.arange(3))
    assert back["a"]["b"] == (1, 2.5)
    assert back["c"] == state["c"]
    assert back["d"] == state["d"]
    assert back["e"] == {}


def test_what_has_no_plain_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="object"):
        training_state.write(tmp_path / "s", {"x": object()})
    assert not (tmp_path / "s").exists()


def test_a_broken_state_is_no_state(tmp_path: Path) -> None:
    assert training_state.read(tmp_path / "none") is None
    training_state.write(tmp_path / "s", {"x": torch.zeros(2)})
    (tmp_path / "s" / training_state.TENSORS).write_bytes(b"\x00" * 9)
    assert training_state.read(tmp_path / "s") is None
    training_state.write(tmp_path / "s", {"x": torch.zeros(2)})
    (tmp_path / "s" / training_state.SHAPE).write_text(json.dumps({"__pairs__": [["x", {"__tensor__": "7"}]]}))
    assert training_state.read(tmp_path / "s") is None
