"""train_upscaler: starts from bicubic, learns from train only, is measured honestly; spandrel reads what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from planted_cells import content, inside, write_params
from skimage.metrics import peak_signal_noise_ratio
from spandrel import ModelLoader

from cytoline.errors import CytolineError
from cytoline.images import png_bytes
from cytoline.models import read_card, verify_model
from cytoline.patches import PatchRecord, write_patches
from cytoline.shards import Shards, write_shards
from cytoline.upscaling import Resampled, open_upscaler
from stages.train_upscaler import train
from stages.train_upscaler.measure import MAX_PSNR, compare, interval, psnr, score, ssim
from stages.train_upscaler.network import new_network
from stages.train_upscaler.samples import Cell, choose, degrade, random_squares, shrink

PATCH_FOLDER, OUT = Path("data/patches"), Path("models/upscaler")


def _texture(seed: int, side: int = 32) -> np.ndarray:
    """Round nuclei with outlines: detail that a better enlargement can bring back."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    levels = np.full((side, side, 3), 220.0)
    for _ in range(3):
        x, y, radius = (*rng.uniform(0, side, 2), rng.uniform(3, 7))
        distance = np.hypot(columns - x, rows - y)[..., None]
        levels -= rng.uniform(40, 90, 3) / (1 + np.exp(2 * (distance - radius)))
    return np.clip(levels + rng.normal(0, 1, levels.shape), 0, 255).astype(np.uint8)


def _plant(folder: Path, parts: dict[str, int], origin: str = "annotated", side: int = 32) -> None:
    (folder / PATCH_FOLDER).mkdir(parents=True)
    records, entries = [], []
    for part, count in parts.items():
        for number in range(count):
            record = PatchRecord.model_validate(
                {
                    "patch_id": f"{part}{number}-a0000",
                    "image_id": f"{part}{number}",
                    "patient": f"{part}-{number % 3}",
                    "source": "planted",
                    "split": part,
                    "origin": origin,
                    "label": "NILM",
                    "bbox": (0, 0, side, side),
                    "score": None,
                }
            )
            records.append(record)
            entries.append((record.file, png_bytes(_texture(len(records), side))))
    write_shards(folder / PATCH_FOLDER, entries)
    write_patches(folder / PATCH_FOLDER, records)


def _run(folder: Path, **params: object) -> Path:
    write_params(folder, upscaler=dict(params))
    with inside(folder):
        train.main(patches=PATCH_FOLDER, out=OUT)
    return folder / OUT


@pytest.fixture(autouse=True)
def no_tracking_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers there: training warns once and goes on, and no test waits for a database to be made."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")


@pytest.mark.parametrize("factor", [2, 4])
def test_an_untrained_network_is_bicubic(factor: int) -> None:
    pixels = np.random.default_rng(0).random((20, 24, 3), dtype=np.float32)
    with torch.no_grad():
        made = new_network(factor, 32, 3)(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    size = (24 * factor, 20 * factor)
    channels = [Image.fromarray(pixels[:, :, c]).resize(size, Image.Resampling.BICUBIC) for c in range(3)]
    inside_border = slice(3 * factor, -3 * factor)
    expected = np.stack([np.asarray(channel) for channel in channels], axis=2)
    assert made[inside_border, inside_border] == pytest.approx(expected[inside_border, inside_border], abs=1e-5)


def test_training_lowers_the_loss_and_beats_the_start(tmp_path: Path) -> None:
    _plant(tmp_path, {"train": 12, "val": 4, "test": 4})
    folder = _run(tmp_path, steps=40, learning_rate=0.001)
    history = json.loads((folder / "history.json").read_text())
    card = read_card(folder)
    assert history[-1]["val_psnr"] > history[0]["val_psnr"]
    assert card.metrics["psnr"] > card.metrics["bicubic_psnr"]
    assert card.metrics["val_psnr"] == max(row["val_psnr"] for row in history)


def test_the_model_folder_is_whole_and_spandrel_reads_it(tmp_path: Path) -> None:
    _plant(tmp_path, {"train": 4, "val": 2, "test": 2})
    folder = _run(tmp_path)
    verify_model(folder)
    descriptor = ModelLoader(device="cpu").load_from_file(folder / "weights.safetensors")
    assert (descriptor.architecture.id, descriptor.scale) == ("Compact", 2)
    assert open_upscaler("compact", 2, folder).enlarge(_texture(0)).shape == (64, 64, 3)
    card = read_card(folder)
    assert {"psnr", "psnr_low", "psnr_high", "ssim", "bicubic_psnr", "lanczos_psnr", "lanczos_ssim"} <= set(
        card.metrics
    )
    assert card.metrics["psnr_low"] <= card.metrics["psnr"] <= card.metrics["psnr_high"]
    assert card.metrics["patches"] == 2


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    outs = []
    for name in ("one", "two"):
        _plant(tmp_path / name, {"train": 4, "val": 2, "test": 2})
        outs.append(content(_run(tmp_path / name)))
    assert outs[0] == outs[1]


def test_only_annotated_train_patches_are_learned_from(tmp_path: Path) -> None:
    """Other val and test patches must not change the weights: with one checkpoint they cannot even select."""
    outs = []
    for name, held_out in (("one", 1), ("two", 5)):
        _plant(tmp_path / name, {"train": 4, "test": held_out})
        outs.append((_run(tmp_path / name) / "weights.safetensors").read_bytes())
    assert outs[0] == outs[1]


@pytest.mark.parametrize(
    ("parts", "origin", "side"),
    [({"val": 3}, "annotated", 32), ({"train": 3}, "background", 32), ({"train": 3}, "annotated", 12)],
)
def test_nothing_to_learn_from_is_an_error(tmp_path: Path, parts: dict, origin: str, side: int) -> None:
    _plant(tmp_path, parts, origin, side)
    with pytest.raises(CytolineError, match="no annotated patch"):
        _run(tmp_path)


def test_no_test_patches_means_no_test_figures(tmp_path: Path) -> None:
    _plant(tmp_path, {"train": 3})
    assert set(read_card(_run(tmp_path)).metrics) == {"train_patches"}


def test_an_interrupt_leaves_the_last_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _plant(tmp_path, {"train": 3})
    before = content(_run(tmp_path))

    def interrupted(*_: object) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path)
    assert content(tmp_path / OUT) == before


def test_psnr_agrees_with_scikit_image_and_is_capped() -> None:
    a, b = _texture(0), _texture(1)
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=255))
    assert psnr(a, a) == MAX_PSNR
    assert ssim(a, a) == pytest.approx(1)
    assert ssim(a, b) < 1


def test_the_better_enlargement_scores_better() -> None:
    cells = [Cell("p", _texture(seed)) for seed in range(3)]
    nearest, lanczos = Resampled(2, Image.Resampling.NEAREST), Resampled(2)
    assert (score(lanczos, cells) > score(nearest, cells)).all()


def test_the_gain_is_against_the_better_filter() -> None:
    cells = [Cell(f"p{seed}", _texture(seed)) for seed in range(4)]
    figures = compare(Resampled(2), cells, 0)
    assert figures["psnr"] == figures["lanczos_psnr"]
    assert figures["psnr_gain"] <= 0
    assert figures["patients"] == 4
    assert figures["psnr_low"] <= figures["psnr"] <= figures["psnr_high"]


def test_one_patient_gives_no_interval() -> None:
    figures = compare(Resampled(2), [Cell("p", _texture(seed)) for seed in range(4)], 0)
    assert {"psnr", "psnr_gain"} <= set(figures)
    assert not {name for name in figures if name.endswith(("_low", "_high"))}


def test_the_interval_is_over_patients() -> None:
    values = np.array([1.0] * 50 + [3.0])
    low, high = interval(values, ["a"] * 50 + ["b"], 0)
    assert (low, high) == (1.0, 3.0)
    assert interval(values, ["a"] * 51, 0) == pytest.approx((values.mean(), values.mean()))


def test_shrinking_averages_blocks() -> None:
    large = np.arange(5 * 6 * 3, dtype=np.uint8).reshape(5, 6, 3)
    cut, small = shrink(large, 2)
    assert np.array_equal(cut, large[:4, :6])
    assert small.shape == (2, 3, 3)
    assert small[0, 0, 0] == np.floor(large[:2, :2, 0].mean() + 0.5)


def test_degrading_keeps_the_mean_and_the_range() -> None:
    large = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for seed in range(4):
        small = degrade(large, 4, torch.Generator().manual_seed(seed))
        assert small.shape == (2, 3, 4, 4)
        assert 0 <= float(small.min()) <= float(small.max()) <= 1
        assert float(small.mean()) == pytest.approx(float(large.mean()), abs=0.01)


def test_squares_are_cut_from_small_patches_too() -> None:
    cells = [Cell("p", _texture(0, 20)), Cell("p", _texture(1, 64))]
    squares = random_squares(cells, 10, 48, np.random.default_rng(0))
    assert squares.shape == (10, 48, 48, 3)


def test_the_choice_is_by_hash_and_stable_under_growth(tmp_path: Path) -> None:
    from cytoline.patches import read_patches

    _plant(tmp_path, {"train": 20})
    patches = read_patches(tmp_path / PATCH_FOLDER)
    few = {patch.patch_id for patch in choose(patches, "train", 5)}
    kept = {patch.patch_id for patch in choose(patches[:-2], "train", 5)}
    assert len(few) == 5
    assert len(few & kept) >= 3
    assert choose(patches, "train", 5) == choose(list(reversed(patches)), "train", 5)
    assert len(Shards(tmp_path / PATCH_FOLDER)) == 20
