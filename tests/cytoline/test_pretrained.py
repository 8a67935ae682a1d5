"""Initial weights: the packaged ones fit, others are checked before they are read, and offline is said clearly."""

from __future__ import annotations

import hashlib
import pickle
from collections import OrderedDict
from pathlib import Path

import cv2
import numpy as np
import pytest
import timm
import torch
import yaml
from numpy.typing import NDArray
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from torch import nn

from cytoline import models, pretrained
from cytoline.errors import CytolineError

REPOSITORY = Path(__file__).parents[2]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _table(folder: Path, **entry: object) -> Path:
    path = folder / "weights.yaml"
    whole = {"license": "MIT", "trained_on": "a test", "fresh": ["1.*"], **entry}
    path.write_text(yaml.safe_dump({"tiny": whole}), encoding="utf-8")
    return path


def _model(classes: int = 2) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.Linear(3, classes))


PALACE, DAISY = 698, 985
"""ImageNet classes of the two photographs that scikit-learn brings along."""


def test_the_packaged_lite0_fits_timm_strictly_and_recognises_photographs() -> None:
    state = pretrained.imagenet_lite0_state()
    assert len(state) == 247
    features = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=(2, 3, 4))
    pretrained.adopt(features, state, unused=("conv_head.*", "bn2.*", "classifier.*"))
    # Many tensors share a shape; only a network that has each in its place sees what is on a picture.
    model = timm.create_model("tf_efficientnet_lite0")
    pretrained.adopt(model, state)
    photographs = np.stack([_square(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")])
    with torch.inference_mode():
        best = model.eval()((torch.from_numpy(photographs).permute(0, 3, 1, 2).float() - 127.5) / 127.5).argmax(1)
    assert best.tolist() == [PALACE, DAISY]


def _square(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    spare = (image.shape[1] - image.shape[0]) // 2
    return np.asarray(cv2.resize(image[:, spare:-spare], (224, 224), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def test_every_entry_of_the_table_is_valid_and_belongs_to_a_configuration() -> None:
    table = REPOSITORY / pretrained.TABLE
    names = set(yaml.safe_load(table.read_text(encoding="utf-8")))
    configs = {
        path.stem for kind in ("detector", "classifier") for path in (REPOSITORY / "configs" / kind).glob("*.py")
    }
    assert names == configs
    for name in names:
        entry = pretrained.published(name, table)
        if entry.url is not None:
            assert entry.url.startswith("https://")
            assert entry.url.endswith(f"-{entry.sha256[:8]}.pth")


def test_an_entry_is_fetched_checked_and_put_in_place(tmp_path: Path) -> None:
    source = _model(classes=7)
    path = tmp_path / "published.pth"
    # The form in which OpenMMLab publishes: a state_dict beside plain facts.
    torch.save({"meta": {"epoch": 12, "classes": ("a", "b")}, "state_dict": OrderedDict(source.state_dict())}, path)
    table = _table(tmp_path, url=str(path), sha256=_digest(path)[:8])
    model = _model(classes=2)
    before = model[1].weight.clone()  # type: ignore[index]
    origin = pretrained.initialise(model, "tiny", "default", table, tmp_path / "cache")
    assert torch.equal(model[0].weight, source[0].weight)  # type: ignore[index]
    assert torch.equal(model[1].weight, before)  # type: ignore[index]
    assert origin is not None
    assert origin.digest == _digest(path)


def test_none_leaves_the_model_alone(tmp_path: Path) -> None:
    model = _model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert pretrained.initialise(model, "tiny", "none", tmp_path / "no table") is None
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_an_own_safetensors_file_takes_the_prefix(tmp_path: Path) -> None:
    source = nn.Linear(4, 3)
    path = tmp_path / "own.safetensors"
    save_file(source.state_dict(), path)
    model = _model()
    pretrained.initialise(model, "tiny", f"{path}#{_digest(path)}", _table(tmp_path, sha256="0" * 8, prefix="0."))
    assert torch.equal(model[0].weight, source.weight)  # type: ignore[index]


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"0.weight": torch.zeros(9, 9), "0.bias": torch.zeros(3)}, path)
    with pytest.raises(CytolineError, match=r"0\.weight"):
        pretrained.initialise(_model(), "tiny", f"{path}#{_digest(path)}", _table(tmp_path, sha256="0" * 8))


def test_published_weights_with_more_than_the_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "more.safetensors"
    save_file({**_model().state_dict(), "2.weight": torch.zeros(1)}, path)
    table = _table(tmp_path, url=str(path), sha256=_digest(path))
    with pytest.raises(CytolineError, match=r"2\.weight"):
        pretrained.initialise(_model(), "tiny", "default", table)


class _Hostile:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.victim,))


@pytest.mark.parametrize("legacy", [True, False])
def test_a_pickle_that_runs_code_is_refused_even_with_the_right_digest(tmp_path: Path, legacy: bool) -> None:
    path, victim = tmp_path / "bad.pth", tmp_path / "was here"
    payload = {"state_dict": {"a": torch.zeros(1)}, "meta": _Hostile(victim)}
    torch.save(payload, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CytolineError, match="more than tensors"):
        pretrained.read_weights(path, _digest(path))
    assert not victim.exists()
    torch.load(path, weights_only=False)
    assert victim.exists(), "the file would not have done any harm: the test proves nothing"


def test_an_own_file_is_not_opened_without_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "own.pth"
    torch.save({"0.weight": torch.zeros(3, 4), "0.bias": torch.zeros(3)}, path)
    table = _table(tmp_path, sha256="0" * 8)
    with pytest.raises(CytolineError, match="sha256") as caught:
        pretrained.initialise(_model(), "tiny", str(path), table)
    assert f"#{_digest(path)}" in caught.value.remedy
    model = _model()
    pretrained.initialise(model, "tiny", f"{path}#{_digest(path)}", table)
    assert model[0].weight.abs().sum() == 0  # type: ignore[index]
    with pytest.raises(CytolineError, match="not the expected one"):
        pretrained.initialise(model, "tiny", f"{path}#{'0' * 64}", table)
    with pytest.raises(CytolineError, match="cannot be read"):
        pretrained.initialise(model, "tiny", f"{tmp_path / 'gone.pth'}#{'0' * 64}", table)


def test_training_goes_on_from_a_model_folder(tmp_path: Path) -> None:
    source = _model()
    port = models.Port(name="x", shape=(4,), dtype="float32", meaning="anything")
    card = models.ModelCard(
        name="cell detector",
        version="1",
        stage="detector",
        intended_use="a test",
        limits=("all",),
        inputs=(port,),
        outputs=(port,),
        training_data={"none": "0" * 32},
        metrics={},
        versions={"torch": torch.__version__},
        seed=0,
    )
    saved = models.save_model(tmp_path / "m", source.state_dict(), "x = 1", card, [])
    model = _model()
    weights = f"{tmp_path / 'm'}#{saved.files[models.WEIGHTS]}"
    origin = pretrained.initialise(model, "tiny", weights, _table(tmp_path, sha256="0" * 8))
    assert torch.equal(model[1].weight, source[1].weight)  # type: ignore[index]
    assert origin is not None
    assert origin.name == "initial weights: cell detector trained before"


@pytest.mark.parametrize("content", [b"", b"not weights", pickle.dumps({"a": 1}), pickle.dumps([1, 2])])
def test_broken_files_are_refused(tmp_path: Path, content: bytes) -> None:
    for name in ("x.pth", "x.safetensors"):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(CytolineError):
            pretrained.read_weights(path, _digest(path))


def test_a_download_with_another_digest_is_not_kept(tmp_path: Path) -> None:
    url, cache = "https://weights.invalid/x-00000000.pth", tmp_path / "cache"
    cache.mkdir()
    kept = cache / f"{'0' * 8}-x-00000000.pth"
    kept.write_bytes(b"something else")
    with pytest.raises(CytolineError, match="not the expected one"):
        pretrained.fetch_weights(url, "0" * 8, cache)
    assert not kept.exists()


def test_offline_is_one_clear_error(tmp_path: Path) -> None:
    table = _table(tmp_path, url="https://weights.invalid/x-00000000.pth", sha256="0" * 8)
    with pytest.raises(CytolineError, match="could not be fetched") as caught:
        pretrained.initialise(_model(), "tiny", "default", table, tmp_path / "cache")
    assert "weights.invalid" in caught.value.remedy
    assert "none" in caught.value.remedy
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("weights", ["https://weights.invalid/x.pth", "http://weights.invalid/x.pth#" + "0" * 64])
def test_an_address_needs_https_and_a_digest(tmp_path: Path, weights: str) -> None:
    with pytest.raises(CytolineError, match=r"sha256|https"):
        pretrained.initialise(_model(), "tiny", weights, _table(tmp_path, sha256="0" * 8), tmp_path / "cache")


def test_a_configuration_without_entry_is_named(tmp_path: Path) -> None:
    with pytest.raises(CytolineError, match="huge"):
        pretrained.initialise(_model(), "huge", "default", _table(tmp_path, sha256="0" * 8))
