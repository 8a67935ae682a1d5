"""Regions of a whole slide as pictures: by coordinates, by QuPath's annotations, or on a grid over the tissue.

Read through OpenSlide.  Sizes are checked before anything is read; where the slide is transparent it is white.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import openslide
from PIL import Image

from cytoline.errors import CytolineError
from cytoline.images import RGB, resize

MAX_REGION_PIXELS = 50_000_000
THUMBNAIL = 2048
"""Pixels of the longer side of the picture in which tissue is looked for."""
MAX_THUMBNAIL_SOURCE = 64_000_000
"""Pixels of the level that the thumbnail is made of; a large slide without reductions has no grid."""
LEAST_SATURATION = 12
"""Of 255: a threshold below it would take the noise of an empty slide for tissue."""
FINEST, COARSEST = 0.01, 100.0
"""Plausible microns per pixel."""

Reason = Literal["unreadable", "outside", "too_large", "no_mpp"]


class UnreadableRegion(CytolineError):  # noqa: N818 (says what it is)
    """A slide or region that cannot be read; ``reason`` is fit for a table, the message names no file."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(
            f"a region of a slide cannot be read ({reason.replace('_', ' ')})",
            "check that the slide opens in a viewer and that the regions lie inside it",
        )
        self.reason: Reason = reason

    def __reduce__(self) -> tuple[type[UnreadableRegion], tuple[Reason]]:  # type: ignore[override]
        return (type(self), (self.reason,))


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of level 0, and what it was called."""

    x: int
    y: int
    w: int
    h: int
    label: str | None = None


@dataclass(frozen=True)
class Region:
    """A box and its picture; one pixel of ``rgb`` is ``level0_per_px`` pixels of level 0."""

    x: int
    y: int
    w: int
    h: int
    level0_per_px: float
    label: str | None
    rgb: RGB


def slide_mpp(source: Path) -> tuple[float, float] | None:
    """Microns per pixel of level 0, x and y, or None.  Raises ``UnreadableRegion``."""
    with _opened(source) as slide:
        return _mpp(slide)


def regions(
    source: Path, boxes: Iterable[Box], mpp: float | None = None, max_pixels: int = MAX_REGION_PIXELS
) -> Iterator[Region]:
    """The boxes in turn, at level 0 or at ``mpp`` microns per pixel.

    Raises ``UnreadableRegion``: "outside" for a box that is not wholly inside, "too_large" for one that would read
    more than ``max_pixels``, "no_mpp" where ``mpp`` is asked of a slide without calibration.
    """
    with _opened(source) as slide:
        per_px = _level0_per_px(slide, mpp)
        for box in boxes:
            yield _read(slide, box, per_px, max_pixels)


def tissue_grid(source: Path, tile: int, mpp: float | None = None, least_tissue: float = 0.25) -> tuple[Box, ...]:
    """Boxes of ``tile`` pixels at ``mpp``, row by row, at least ``least_tissue`` of each coloured like tissue.

    Tissue is what is more saturated than Otsu's threshold on a thumbnail.  Raises ``UnreadableRegion``.
    """
    with _opened(source) as slide:
        width, height = slide.dimensions
        side = max(1, round(tile * _level0_per_px(slide, mpp)))
        mask = _tissue(slide)
        fx, fy = mask.shape[1] / width, mask.shape[0] / height
        found = []
        for y in range(0, height - side + 1, side):
            for x in range(0, width - side + 1, side):
                part = mask[int(y * fy) : math.ceil((y + side) * fy), int(x * fx) : math.ceil((x + side) * fx)]
                if part.size and float(part.mean()) >= least_tissue:
                    found.append(Box(x, y, side, side))
        return tuple(found)


@contextmanager
def _opened(source: Path) -> Iterator[openslide.OpenSlide]:
    """OpenSlide's errors, which quote the file, become ours."""
    try:
        with openslide.OpenSlide(source) as slide:
            yield slide
    except (openslide.OpenSlideError, OSError):
        raise UnreadableRegion("unreadable") from None


def _mpp(slide: openslide.OpenSlide) -> tuple[float, float] | None:
    values = []
    for name in (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y):
        try:
            values.append(float(slide.properties[name]))
        except (KeyError, ValueError):
            return None
    # "not <=" also refuses NaN.
    return (values[0], values[1]) if all(FINEST <= value <= COARSEST for value in values) else None


def _level0_per_px(slide: openslide.OpenSlide, mpp: float | None) -> float:
    if mpp is None:
        return 1.0
    own = _mpp(slide)
    if own is None or not FINEST <= mpp <= COARSEST:
        raise UnreadableRegion("no_mpp")
    return mpp / ((own[0] + own[1]) / 2)


def _read(slide: openslide.OpenSlide, box: Box, per_px: float, max_pixels: int) -> Region:
    width, height = slide.dimensions
    if box.w <= 0 or box.h <= 0 or box.x < 0 or box.y < 0 or box.x + box.w > width or box.y + box.h > height:
        raise UnreadableRegion("outside")
    level = slide.get_best_level_for_downsample(per_px * 1.001)  # 3.9998 is meant to be 4
    factor = float(slide.level_downsamples[level])
    read = (max(1, round(box.w / factor)), max(1, round(box.h / factor)))
    wanted = (max(1, round(box.w / per_px)), max(1, round(box.h / per_px)))
    if max(read[0] * read[1], wanted[0] * wanted[1]) > max_pixels:
        raise UnreadableRegion("too_large")
    rgb = _on_white(slide.read_region((box.x, box.y), level, read))
    if wanted != read:
        rgb = resize(rgb, wanted, "area" if wanted[0] < read[0] else "lanczos")
    return Region(box.x, box.y, box.w, box.h, per_px, box.label, rgb)


def _tissue(slide: openslide.OpenSlide) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """A thumbnail's pixels, True where there is tissue."""
    scale = min(1.0, THUMBNAIL / max(slide.dimensions))
    size = tuple(max(1, round(side * scale)) for side in slide.dimensions)
    level = slide.get_best_level_for_downsample(1.001 / scale)
    if math.prod(slide.level_dimensions[level]) > MAX_THUMBNAIL_SOURCE:
        raise UnreadableRegion("too_large")
    rgb = resize(_on_white(slide.read_region((0, 0), level, slide.level_dimensions[level])), (size[0], size[1]), "area")
    saturation = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)[:, :, 1]
    threshold, _ = cv2.threshold(saturation, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return np.asarray(saturation > max(threshold, LEAST_SATURATION), dtype=np.bool_)


def _on_white(image: Image.Image) -> RGB:
    ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(ground, image).convert("RGB"), dtype=np.uint8)
