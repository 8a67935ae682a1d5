"""upscale: the same patches, larger; what did not change is not enlarged again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from planted_cells import content, in_process, inside, picture, write_params
from safetensors.torch import save_file
from spandrel.architectures.Compact import Compact

from cytoline.errors import CytolineError
from cytoline.images import png_bytes, read_image, resize
from cytoline.patches import PATCHES, PatchRecord, write_patches
from cytoline.shards import Shards, write_shards
from stages import upscale
from stages.upscale import Enlarging, enlarge, main

PATCH_FOLDER, MODEL, OUT = Path("data/patches"), Path("models/upscaler"), Path("data/upscaled")


@pytest.fixture(autouse=True)
def no_workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "with_workers" not in request.fixturenames:
        monkeypatch.setattr(upscale, "worker_pool", in_process)


@pytest.fixture
def with_workers() -> None:
    """Asks for real worker processes."""


def _named(folder: Path) -> str:
    """The planted weights as `upscale.file` wants them."""
    file = MODEL / "weights.safetensors"
    return f"{file}#{hashlib.sha256((folder / file).read_bytes()).hexdigest()}"


def _plant(folder: Path, count: int = 3) -> None:
    (folder / PATCH_FOLDER).mkdir(parents=True, exist_ok=True)
    records, entries = [], []
    for number in range(count):
        record = PatchRecord(
            patch_id=f"i{number // 2}-a{number:04}",
            image_id=f"i{number // 2}",
            patient="p",
            source="s",
            split="train",
            origin="annotated",
            label="NILM",
            bbox=(1, 1, 8, 8),
        )
        records.append(record)
        entries.append((record.file, png_bytes(picture([(3, 3, 8, 8)], number, (16 + number, 16)))))
    for old in (folder / PATCH_FOLDER).iterdir():
        old.unlink()
    write_shards(folder / PATCH_FOLDER, entries)
    write_patches(folder / PATCH_FOLDER, records)


def _weights(folder: Path, seed: int = 0) -> None:
    torch.manual_seed(seed)
    net = Compact(num_in_ch=3, num_out_ch=3, num_feat=8, num_conv=1, upscale=2, act_type="prelu")
    (folder / MODEL).mkdir(parents=True, exist_ok=True)
    save_file(net.state_dict(), folder / MODEL / "weights.safetensors")


def _run(folder: Path, **params: object) -> Shards:
    write_params(folder, upscale=dict(params))
    with inside(folder):
        main(patches=PATCH_FOLDER, upscaler=MODEL, out=OUT)
    return Shards(folder / OUT)


@pytest.mark.parametrize("digest", ["", "#" + "0" * 64])
def test_a_model_file_that_is_not_the_named_one_is_refused(tmp_path: Path, digest: str) -> None:
    _plant(tmp_path)
    _weights(tmp_path)
    with pytest.raises(CytolineError, match="sha256") as refused:
        _run(tmp_path, method="file", file=str(MODEL / "weights.safetensors") + digest)
    assert _named(tmp_path) in refused.value.remedy


@pytest.mark.parametrize(("method", "times"), [("none", 1), ("lanczos", 2), ("compact", 2), ("file", 2)])
def test_every_patch_is_there_with_its_name_and_larger(tmp_path: Path, method: str, times: int) -> None:
    _plant(tmp_path)
    _weights(tmp_path)
    (tmp_path / PATCH_FOLDER / "summary.json").write_text('{"cut": {"context": 1.4, "min_px": 24}}')
    made = _run(tmp_path, method=method, file=_named(tmp_path) if method == "file" else "")
    before = Shards(tmp_path / PATCH_FOLDER)
    assert set(made) == set(before)
    for name in made:
        small, large = read_image(before[name]), read_image(made[name])
        assert large.shape == (small.shape[0] * times, small.shape[1] * times, 3)
    assert (tmp_path / OUT / PATCHES).read_bytes() == (tmp_path / PATCH_FOLDER / PATCHES).read_bytes()
    told = json.loads((tmp_path / OUT / "method.json").read_text())
    assert (told["method"], told["factor"]) == (method, times)
    assert (told["context"], told["min_px"]) == (1.4, 24)
    assert (told["weights_sha256"] is None) == (method in {"none", "lanczos"})


def test_lanczos_is_pillows(tmp_path: Path, with_workers: None) -> None:
    _plant(tmp_path, 1)
    made = _run(tmp_path, method="lanczos", factor=4)
    small = read_image(Shards(tmp_path / PATCH_FOLDER)["i0-a0000.png"])
    assert np.array_equal(read_image(made["i0-a0000.png"]), resize(small, (64, 64), "lanczos"))


def test_new_weights_give_new_patches(tmp_path: Path) -> None:
    _plant(tmp_path)
    _weights(tmp_path, seed=0)
    first = content_of(_run(tmp_path, method="compact"))
    _weights(tmp_path, seed=1)
    second = content_of(_run(tmp_path, method="compact"))
    assert all(first[name] != second[name] for name in first)


def content_of(shards: Shards) -> dict[str, bytes]:
    return {name: shards[name] for name in shards}


def test_what_was_enlarged_before_is_taken_from_the_memo_store(tmp_path: Path) -> None:
    _plant(tmp_path, 4)
    before = content_of(_run(tmp_path))
    stored = {path: path.stat().st_mtime_ns for path in (tmp_path / ".cytoline/memo/results").rglob("*")}
    _plant(tmp_path, 5)
    after = content_of(_run(tmp_path))
    assert {name: after[name] for name in before} == before
    now = {path for path in (tmp_path / ".cytoline/memo/results").rglob("*") if path.is_file()}
    assert len(now - set(stored)) == 1


def test_the_same_again_is_the_same_bytes(tmp_path: Path) -> None:
    outs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        _plant(tmp_path / name)
        _weights(tmp_path / name)
        _run(tmp_path / name, method="compact")
        outs.append(content(tmp_path / name / OUT))
    assert outs[0] == outs[1]


def test_a_refused_file_leaves_the_last_out_intact(tmp_path: Path) -> None:
    _plant(tmp_path)
    _run(tmp_path)
    before = content(tmp_path / OUT)
    (tmp_path / "model.pth").write_bytes(b"\x80\x04.")
    with pytest.raises(CytolineError, match=r"model\.pth"):
        _run(tmp_path, method="file", file="model.pth")
    assert content(tmp_path / OUT) == before


def test_method_none_does_not_touch_the_bytes() -> None:
    content = png_bytes(picture([], 0, (16, 16)))
    unchanged = Enlarging(method="none", factor=1, weights=None, sha256=None)
    assert enlarge(("a.png",), (content,), unchanged) == {"a.png": content}
