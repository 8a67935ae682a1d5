"""upscaling: every method enlarges by its factor; weights that cannot be trusted or do not fit are refused."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from spandrel.architectures.Compact import Compact

from cytoline.errors import CytolineError
from cytoline.upscaling import WEIGHTS, Method, Upscaler, open_upscaler


def _patch(height: int = 12, width: int = 17, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _weights(path: Path, factor: int = 2, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    net = Compact(num_in_ch=3, num_out_ch=3, num_feat=8, num_conv=1, upscale=factor, act_type="prelu")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(net.state_dict(), path)
    return path


@pytest.fixture(params=["none", "lanczos", "compact", "file"])
def upscaler(request: pytest.FixtureRequest, tmp_path: Path) -> Upscaler:
    method: Method = request.param
    path = _weights(tmp_path / "model" / WEIGHTS)
    return open_upscaler(method, 2, path.parent if method == "compact" else path)


def test_each_method_enlarges_by_its_factor(upscaler: Upscaler) -> None:
    enlarged = upscaler.enlarge(_patch())
    assert enlarged.shape == (12 * upscaler.factor, 17 * upscaler.factor, 3)
    assert enlarged.dtype == np.uint8


def test_many_patches_come_back_in_their_order_whatever_their_sizes(upscaler: Upscaler) -> None:
    patches = [_patch(12, 17, 1), _patch(9, 9, 2), _patch(12, 17, 3), _patch(40, 8, 4)]
    together = upscaler.enlarge_many(patches)
    for patch, enlarged in zip(patches, together, strict=True):
        # A batch may differ from a single patch in the last digit of a float, so by one grey level at most.
        assert np.abs(enlarged.astype(int) - upscaler.enlarge(patch)).max() <= 1


def test_compact_and_file_read_the_same_network(tmp_path: Path) -> None:
    path = _weights(tmp_path / WEIGHTS)
    compact, file = open_upscaler("compact", 2, tmp_path), open_upscaler("file", 2, path)
    assert np.array_equal(compact.enlarge(_patch()), file.enlarge(_patch()))


def test_a_network_does_not_darken_the_edge(tmp_path: Path) -> None:
    """A net of averages: with its own zero padding the outermost pixels would lose brightness."""
    net = Compact(num_in_ch=3, num_out_ch=3, num_feat=8, num_conv=1, upscale=2, act_type="prelu")
    for value in net.state_dict().values():
        value.fill_(1 / 90)
    save_file(net.state_dict(), tmp_path / WEIGHTS)
    shown = open_upscaler("compact", 2, tmp_path).enlarge(np.full((9, 9, 3), 100, dtype=np.uint8))
    assert shown.min() == shown.max()


def test_lanczos_keeps_a_flat_patch_flat() -> None:
    flat = np.full((10, 10, 3), 137, dtype=np.uint8)
    assert (open_upscaler("lanczos", 4).enlarge(flat) == 137).all()


@pytest.mark.parametrize("name", ["model.pth", "model.pt", "model.ckpt", "model.bin", "model"])
def test_a_pickle_is_refused_by_name_and_never_read(tmp_path: Path, name: str) -> None:
    trap = tmp_path / "sprung"
    path = tmp_path / name
    path.write_bytes(pickle.dumps(_Trap(trap)))
    with pytest.raises(CytolineError, match=name) as caught:
        open_upscaler("file", 2, path)
    assert "safetensors" in caught.value.remedy
    assert not trap.exists()


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


def test_a_pickle_under_another_name_is_refused_too(tmp_path: Path) -> None:
    trap, path = tmp_path / "sprung", tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(_Trap(trap)))
    with pytest.raises(CytolineError, match=r"model\.safetensors"):
        open_upscaler("file", 2, path)
    assert not trap.exists()


def test_weights_of_an_unknown_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"something.weight": torch.zeros(3, 3)}, path)
    with pytest.raises(CytolineError, match="spandrel"):
        open_upscaler("file", 2, path)


def test_another_factor_is_refused_with_both_numbers(tmp_path: Path) -> None:
    _weights(tmp_path / WEIGHTS, factor=4)
    with pytest.raises(CytolineError, match=r"4 times.*factor is 2"):
        open_upscaler("compact", 2, tmp_path)


@pytest.mark.parametrize("weights", [None, Path()])
def test_method_file_without_a_file_says_which_param_to_set(weights: Path | None) -> None:
    with pytest.raises(CytolineError) as caught:
        open_upscaler("file", 2, weights)
    assert "upscale.file" in caught.value.remedy


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(CytolineError, match="is missing"):
        open_upscaler("compact", 2, tmp_path)


def test_a_filter_needs_no_torch() -> None:
    code = (
        "import sys, numpy as np; from cytoline.upscaling import open_upscaler;"
        "open_upscaler('lanczos', 2).enlarge(np.zeros((8, 8, 3), np.uint8));"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
