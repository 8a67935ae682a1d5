"""The images that canaries are planted in, and the fields that words are written on: purple, textured, invented."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache

import cv2
import numpy as np

from cytoline.images import RGB
from cytoline.phantom.field import render_field
from cytoline.phantom.plan import plan_fields
from cytoline.phantom.spec import PhantomSpec, stream
from cytoline.phantom.textures import smooth_noise

FIELD_SIZE = (1250, 800)
"""Width and height in pixels of the fields that words are written on."""
SWATCH_SIZE = (320, 240)
_size: ContextVar[tuple[int, int]] = ContextVar("_size", default=SWATCH_SIZE)

_PURPLE = np.array([0.62, 1.05, 0.34], np.float32)
"""Absorbance in R, G, B of one unit of dye: green light goes, red and blue pass."""
_STREAM = 0xDE1D
"""First key of the random streams, so that they are not those of the phantom."""


def purple_field(seed: int, size: tuple[int, int] = FIELD_SIZE) -> RGB:
    """A phantom field without overlay, its dyes turned into one purple dye on an uneven veil of the same.

    The veil is what thick smears and bad washing leave; a search for words is led astray by its grain.
    """
    width, height = size
    spec = PhantomSpec(
        seed=seed,
        patients=1,
        slides_per_patient=1,
        fields_per_slide=1,
        width=width,
        height=height,
        cells_min=30,
        cells_max=45,
        burned_in=0,
        problems=(),
    )
    image = render_field(spec, next(iter(plan_fields(spec)))).image.astype(np.float32)
    dye = -np.log(np.clip(image.mean(axis=2), 4, 250) / 250)
    return _stained(dye, seed)


@contextmanager
def swatches_of(size: tuple[int, int]) -> Iterator[None]:
    """Within, hiding places get pictures of this width and height: a mutation of a small file is cheap to judge."""
    before = _size.set(size)
    try:
        yield
    finally:
        _size.reset(before)


def swatch(place: str) -> RGB:
    """A small image for a hiding place, read-only; each has its own, so that none is a copy of another."""
    return _swatch(place, _size.get())


@lru_cache(maxsize=8)
def _swatch(place: str, size: tuple[int, int]) -> RGB:
    seed = int.from_bytes(hashlib.sha256(place.encode()).digest()[:4], "big")
    width, height = size
    rng = stream(_STREAM, 1, seed)
    dye = np.clip(0.25 * smooth_noise(rng, (height, width), 40), 0, 1)
    for _ in range(6):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(dye, centre, int(rng.integers(10, 30)), float(rng.uniform(0.3, 0.9)), -1, cv2.LINE_AA)
    image = _stained(np.asarray(cv2.GaussianBlur(dye, (0, 0), 1.5), np.float32), seed)
    image.setflags(write=False)
    return image


def _stained(dye: np.ndarray[tuple[int, ...], np.dtype[np.float32]], seed: int) -> RGB:
    rng = stream(_STREAM, 2, seed)
    size = (dye.shape[0], dye.shape[1])
    veil = 0.28 + 0.05 * smooth_noise(rng, size, 70) + 0.025 * smooth_noise(rng, size, 9)
    grain = 0.02 * smooth_noise(rng, size, 2.2)
    total = np.clip(0.75 * dye + veil + grain, 0, None).astype(np.float32)
    light = 246 * np.exp(-total[..., None] * _PURPLE)
    light += 1.5 * rng.standard_normal(light.shape, dtype=np.float32)
    return np.asarray(np.clip(np.round(light), 0, 255), np.uint8)
