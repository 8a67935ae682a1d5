"""From dye to bytes: Beer-Lambert through a stain batch, then a scanner's lamp, lens and sensor."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cytoline.phantom.drawing import SUPER, Layers
from cytoline.phantom.textures import blurred, smooth_noise

# Absorbance in R, G, B of one unit of hematoxylin, light green, eosin and orange G, per staining batch:
# fresh; blue, heavy hematoxylin; faded and yellowish; eosin-heavy.
STAINS = np.array(
    [
        [[1.16, 1.20, 0.66], [0.80, 0.34, 0.36], [0.06, 0.82, 0.50], [0.02, 0.50, 1.30]],
        [[1.36, 1.22, 0.58], [0.95, 0.42, 0.28], [0.10, 0.78, 0.40], [0.04, 0.48, 1.20]],
        [[1.00, 1.12, 0.74], [0.62, 0.30, 0.40], [0.05, 0.62, 0.52], [0.02, 0.42, 1.15]],
        [[1.12, 1.28, 0.72], [0.70, 0.44, 0.34], [0.06, 0.98, 0.58], [0.02, 0.58, 1.35]],
    ],
    np.float32,
)


@dataclass(frozen=True)
class Scanner:
    """Lamp colour (RGB at no absorption), fall-off to the corners, blur in field pixels, sharpening, noise."""

    lamp: tuple[float, float, float]
    vignetting: float
    blur: float
    sharpening: float
    noise: float
    gamma: float


SCANNERS = (
    Scanner((240, 240, 238), 0.05, 0.45, 0.5, 2.0, 1.0),
    Scanner((236, 231, 219), 0.14, 0.75, 0.0, 3.5, 0.95),
    Scanner((226, 233, 241), 0.08, 0.55, 0.9, 2.8, 1.08),
)


def develop(layers: Layers, batch: int, scanner: int, defocus: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turn dye layers [4, H, W] into an RGB image of half their size.  ``defocus`` is a sigma in field pixels."""
    lens = SCANNERS[scanner]
    stain = STAINS[batch] * rng.uniform(0.92, 1.08, (4, 1)).astype(np.float32)
    height, width = layers.shape[1] // SUPER, layers.shape[2] // SUPER
    # cv2.transform, not a BLAS product: no thread pool of its own, and the same sums on every run.
    absorbed = np.asarray(cv2.transform(cv2.merge(list(layers)), -stain.T), np.float32)
    light = np.exp(absorbed, out=absorbed)
    sigma = float(np.hypot(lens.blur, defocus)) * SUPER
    small = cv2.resize(blurred(light, sigma), (width, height), interpolation=cv2.INTER_AREA)
    image = np.asarray(small, np.float32) ** np.float32(lens.gamma)
    image *= _lamp(lens, (height, width), rng)
    if lens.sharpening:
        image += np.float32(lens.sharpening) * (image - blurred(image, 1.2))
    grain = rng.standard_normal(image.shape, dtype=np.float32)
    image += np.float32(lens.noise) * (0.5 + 0.5 * image / 255) * grain
    return np.asarray(np.clip(np.round(image), 0, 255), np.uint8)


def _lamp(lens: Scanner, shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Uneven light: the corners fall off around an axis that is never quite centred."""
    rows = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None] - np.float32(rng.uniform(-0.2, 0.2))
    columns = np.linspace(-1, 1, shape[1], dtype=np.float32)[None] - np.float32(rng.uniform(-0.2, 0.2))
    fall = 1 - np.float32(lens.vignetting) * (rows**2 + columns**2) / 2
    drift = 1 + np.float32(0.008) * smooth_noise(rng, shape, 160)
    colour = np.array(lens.lamp, np.float32) * rng.uniform(0.98, 1.015, 3).astype(np.float32)
    return np.asarray((fall * drift)[..., None] * colour, np.float32)
