"""Smooth noise, drawn once per field and cut wherever a texture is needed."""

from __future__ import annotations

from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[Any]
"""float32 [height, width]"""


def smooth_noise(rng: np.random.Generator, size: tuple[int, int], grain: float) -> Plane:
    """Noise of about unit spread whose features are ``grain`` pixels wide; ``size`` is (height, width)."""
    rows, columns = (max(2, int(np.ceil(side / grain)) + 1) for side in size)
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC), np.float32) * 1.3


class Noise:
    """Three grains of noise from which windows are cut at random places."""

    SIDE = 640
    GRAINS: ClassVar[dict[str, float]] = {"wide": 60.0, "clump": 6.5, "fine": 2.5}

    def __init__(self, rng: np.random.Generator) -> None:
        self._planes = {name: smooth_noise(rng, (self.SIDE, self.SIDE), grain) for name, grain in self.GRAINS.items()}

    def cut(self, rng: np.random.Generator, grain: str, shape: tuple[int, int]) -> Plane:
        """A window of (height, width), repeated in the rare case that it is larger than the plane."""
        plane = self._planes[grain]
        if max(shape) > self.SIDE:
            times = -(-max(shape) // self.SIDE)
            plane = np.tile(plane, (times, times))
        y, x = (int(rng.integers(0, plane.shape[i] - shape[i] + 1)) for i in (0, 1))
        return plane[y : y + shape[0], x : x + shape[1]]


def filled(points: NDArray[Any], shape: tuple[int, int]) -> Plane:
    """Antialiased mask in 0..1 of a polygon given as float (x, y) rows."""
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / 255


def blurred(plane: Plane, sigma: float) -> Plane:
    """Gaussian blur; below a twentieth of a pixel nothing happens."""
    return plane if sigma < 0.05 else np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)
