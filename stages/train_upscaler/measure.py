"""How good an enlargement is: PSNR and SSIM against the patch it was shrunk from, beside bicubic and Lanczos."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import structural_similarity

from cytoline.images import RGB
from cytoline.upscaling import Resampled, Upscaler
from stages.train_upscaler.samples import Cell, shrink

MAX_PSNR = 60.0
"""A perfect patch counts as this many dB: a mean with infinities in it says nothing."""

RESAMPLES = 1000

Scores = NDArray[np.float64]
"""[patches, 2]: PSNR in dB and SSIM."""


def psnr(a: RGB, b: RGB) -> float:
    """Peak signal to noise ratio over all pixels and channels, dB, at most ``MAX_PSNR``."""
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return MAX_PSNR if error == 0 else min(MAX_PSNR, 10 * float(np.log10(255**2 / error)))


def ssim(a: RGB, b: RGB) -> float:
    """Structural similarity (Wang et al. 2004; 7 x 7 window, mean of the channels)."""
    return float(structural_similarity(a, b, channel_axis=2))


def score(upscaler: Upscaler, cells: Sequence[Cell]) -> Scores:
    """Shrink each patch, enlarge it again, compare."""
    pairs = [shrink(cell.pixels, upscaler.factor) for cell in cells]
    enlarged = upscaler.enlarge_many([small for _, small in pairs])
    rows = [(psnr(large, made), ssim(large, made)) for (large, _), made in zip(pairs, enlarged, strict=True)]
    return np.asarray(rows, dtype=np.float64).reshape(-1, 2)


def compare(upscaler: Upscaler, cells: Sequence[Cell], seed: int) -> dict[str, float]:
    """Figures of the network and of both filters on held-out patches, 95 % intervals over patients."""
    if not cells:
        return {}
    ours = score(upscaler, cells)
    lanczos = score(Resampled(upscaler.factor), cells)
    bicubic = score(Resampled(upscaler.factor, Image.Resampling.BICUBIC), cells)
    patients = [cell.patient for cell in cells]
    figures: dict[str, float] = {"patches": len(cells), "patients": len(set(patients))}
    for column, name in enumerate(("psnr", "ssim")):
        figures[f"bicubic_{name}"] = float(bicubic[:, column].mean())
        figures[f"lanczos_{name}"] = float(lanczos[:, column].mean())
        best = bicubic if figures[f"bicubic_{name}"] > figures[f"lanczos_{name}"] else lanczos
        for key, values in ((name, ours[:, column]), (f"{name}_gain", (ours - best)[:, column])):
            figures[key] = float(values.mean())
            if figures["patients"] > 1:  # one patient says nothing of how much patients differ
                figures[f"{key}_low"], figures[f"{key}_high"] = interval(values, patients, seed)
    return {name: round(value, 6) for name, value in figures.items()}


def interval(values: NDArray[np.float64], patients: Sequence[str], seed: int) -> tuple[float, float]:
    """95 % bootstrap interval of the mean; patients are drawn, not patches, since patches of one are alike."""
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    sums = np.bincount(owner, weights=values, minlength=len(names))
    counts = np.bincount(owner, minlength=len(names))
    draws = np.random.default_rng(seed).integers(len(names), size=(RESAMPLES, len(names)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
