"""What the network learns from: patches as they are (large) and the same patches made small."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cytoline.images import RGB, read_image
from cytoline.patches import PatchRecord
from cytoline.shards import Shards

MIN_SIDE = 16
"""Smaller patches have too few pixels to judge an enlargement by."""

BLUR_SIGMA = 0.5
NOISE_LEVELS = 1.5
"""Most blur (pixels of the large patch) and noise (grey levels) mixed into the small patches while training."""


@dataclass(frozen=True)
class Cell:
    """One patch and whose it is."""

    patient: str
    pixels: RGB


def choose(patches: Iterable[PatchRecord], split: str, limit: int) -> list[PatchRecord]:
    """At most ``limit`` annotated patches of one part, by the hash of their ids: a growing data set shifts few."""
    ours = [patch for patch in patches if patch.split == split and patch.origin == "annotated"]
    ours.sort(key=lambda patch: hashlib.sha256(patch.patch_id.encode()).digest())
    return ours[:limit]


def load(patches: Iterable[PatchRecord], shards: Shards) -> list[Cell]:
    """Decode; patches too small to be halved are left out."""
    cells = (Cell(patch.patient, read_image(shards[patch.file])) for patch in patches)
    return [cell for cell in cells if min(cell.pixels.shape[:2]) >= MIN_SIDE]


def mean_colour(cells: Sequence[Cell]) -> list[float]:
    """Mean red, green and blue of all pixels, 0..1."""
    sums = np.sum([cell.pixels.reshape(-1, 3).sum(axis=0, dtype=np.int64) for cell in cells], axis=0)
    pixels = sum(cell.pixels.size // 3 for cell in cells)
    return [float(level) / pixels / 255 for level in sums]


def shrink(large: RGB, factor: int) -> tuple[RGB, RGB]:
    """The patch cut to a multiple of ``factor``, and its area average: one small pixel per factor x factor."""
    height, width = (side // factor * factor for side in large.shape[:2])
    cut = large[:height, :width]
    blocks = cut.reshape(height // factor, factor, width // factor, factor, 3).astype(np.float32)
    return cut, np.floor(blocks.mean(axis=(1, 3)) + 0.5).astype(np.uint8)


def random_squares(cells: Sequence[Cell], count: int, side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """uint8 [count, side, side, 3]: random places of random patches, turned and flipped; small ones are mirrored."""
    squares = []
    for index in rng.integers(len(cells), size=count):
        pixels = cells[index].pixels
        height, width = pixels.shape[:2]
        if min(height, width) < side:
            pixels = _grown(pixels, side)
            height, width = pixels.shape[:2]
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
        square = np.rot90(pixels[top : top + side, left : left + side], k=int(rng.integers(4)))
        squares.append(square[:, ::-1] if rng.integers(2) else square)
    return np.stack(squares)


def _grown(pixels: RGB, side: int) -> RGB:
    """At least ``side`` in both directions, mirrored at the borders."""
    height, width = pixels.shape[:2]
    grow = [(0, max(0, side - height)), (0, max(0, side - width)), (0, 0)]
    return np.pad(pixels, grow, mode="symmetric")


def degrade(large: Tensor, factor: int, generator: torch.Generator) -> Tensor:
    """Small versions of float [N, 3, h, w] in 0..1: area average of a slightly blurred picture, noise, 8-bit levels.

    Blur and noise keep the network from learning to undo the averaging alone, which no microscope does.
    """
    blurred = large
    sigma = float(torch.rand((), generator=generator)) * 2 * BLUR_SIGMA - BLUR_SIGMA
    if sigma > 0.1:
        blurred = _blur(large, sigma)
    small = F.avg_pool2d(blurred, factor)
    noise = torch.randn(small.shape, generator=generator).to(small.device)
    strength = float(torch.rand((), generator=generator)) * NOISE_LEVELS / 255
    return ((small + strength * noise).clamp(0, 1) * 255).round() / 255


def _blur(pictures: Tensor, sigma: float) -> Tensor:
    taps = torch.arange(-2, 3, dtype=torch.float32, device=pictures.device)
    kernel = torch.exp(-(taps**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).to(pictures.dtype)
    padded = F.pad(pictures, (2, 2, 2, 2), mode="replicate")
    across = F.conv2d(padded, kernel.view(1, 1, 1, 5).repeat(3, 1, 1, 1), groups=3)
    return F.conv2d(across, kernel.view(1, 1, 5, 1).repeat(3, 1, 1, 1), groups=3)
