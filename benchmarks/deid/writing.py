"""Words burned into fields, in 17 conditions of 12 texts each, with the exact pixels of their ink as the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from benchmarks.deid.canary import Canary
from benchmarks.deid.ground import FIELD_SIZE, purple_field
from cytoline.images import RGB
from cytoline.phantom.spec import stream

TEXTS, PER_PAGE, FIELDS = 12, 3, 24
LARGE_SIZE, LARGE_FIELDS = (3264, 2448), 4
FIRST_SEED = 100
FAINTEST = 0.25
"""Coverage below which a pixel at the edge of a stroke gets no ink: otherwise rounding would decide what is ink."""
FOUND = 0.95
"""Share of a text's ink that must be changed for it to count as hidden."""
ECHO = 0.8
"""Correlation of input and output around the ink from which on the strokes are still there, in whatever colours."""
CLEAR = 14
"""Pixels between two texts and between a text and the border."""

Ink = NDArray[np.bool_]
Alpha = NDArray[np.float32]
Blend = Callable[[NDArray[np.float32], Alpha], NDArray[np.float32]]
"""(pixels below the text [h, w, 3], coverage [h, w, 1] from 0 to 1) to pixels with ink."""


@dataclass(frozen=True)
class Condition:
    """How a text is written.  ``strip`` is one of "", "label", "bar" and "caption"; ``quality`` makes it a JPEG."""

    name: str
    size: int
    blend: Blend
    angle: float = 0
    strip: str = ""
    quality: int | None = None
    contrast: int | None = None


@dataclass(frozen=True)
class Page:
    """One field with three texts.  ``ground`` is the image without ink, ``drawn`` the one with it, before JPEG."""

    condition: Condition
    number: int
    texts: tuple[str, ...]
    ground: RGB
    drawn: RGB
    inks: tuple[Ink, ...]

    @property
    def file(self) -> tuple[str, bytes]:
        """Suffix and bytes."""
        suffix, options = (
            (".png", [cv2.IMWRITE_PNG_COMPRESSION, 1])
            if self.condition.quality is None
            else (".jpg", [cv2.IMWRITE_JPEG_QUALITY, self.condition.quality])
        )
        done, coded = cv2.imencode(suffix, self.drawn[:, :, ::-1], options)
        if not done:
            raise RuntimeError(f"OpenCV could not write {suffix}")
        return suffix, coded.tobytes()

    @property
    def answer(self) -> bytes:
        """A PNG with the number of the text, from 1, where its ink is."""
        marks = np.zeros(self.ground.shape[:2], np.uint8)
        for number, ink in enumerate(self.inks, 1):
            marks[ink] = number
        return cv2.imencode(".png", marks)[1].tobytes()


def _coloured(*colour: int) -> Blend:
    paint = np.array(colour, np.float32)
    return lambda ground, alpha: ground + alpha * (paint - ground)


def _fainter(levels: int) -> Blend:
    """Every pixel by so many grey levels darker, or lighter where the ground is dark: its texture shows through."""

    def blend(ground: NDArray[np.float32], alpha: Alpha) -> NDArray[np.float32]:
        sign = -1 if float(ground.mean()) > 128 else 1
        return ground + sign * levels * alpha

    return blend


def _veil(ground: NDArray[np.float32], alpha: Alpha) -> NDArray[np.float32]:
    return ground + 0.35 * alpha * (255 - ground)


_BLACK, _WHITE, _YELLOW = _coloured(8, 8, 10), _coloured(255, 255, 255), _coloured(255, 240, 20)

CONDITIONS: tuple[Condition, ...] = (
    Condition("size-14", 14, _BLACK),
    Condition("size-40", 40, _BLACK),
    Condition("white", 24, _WHITE),
    Condition("yellow", 24, _YELLOW),
    Condition("rotated-90", 24, _BLACK, angle=90),
    Condition("rotated-plus-15", 24, _BLACK, angle=15),
    Condition("rotated-minus-15", 24, _BLACK, angle=-15),
    *(Condition(f"contrast-{levels}", 28, _fainter(levels), contrast=levels) for levels in (15, 25, 40, 60)),
    Condition("watermark", 64, _veil),
    Condition("label-box", 22, _BLACK, strip="label"),
    Condition("jpeg-30", 24, _BLACK, quality=30),
    Condition("jpeg-60", 24, _BLACK, quality=60),
    Condition("viewer-bar", 16, _coloured(225, 225, 228), strip="bar"),
    Condition("book-caption", 20, _coloured(40, 40, 44), strip="caption"),
)


def pages(size: tuple[int, int] = FIELD_SIZE) -> Iterator[Page]:
    """68 pages, 204 texts, on ``FIELDS`` fields in turn; ``size`` is that of the fields."""
    number = 0
    for condition in CONDITIONS:
        for part in range(TEXTS // PER_PAGE):
            yield page(condition, part, FIRST_SEED + number % FIELDS, size)
            number += 1


def large_pages() -> Iterator[Page]:
    """One page, three texts, of each condition on fields of a phone's size: writing is a smaller part of these."""
    for number, condition in enumerate(CONDITIONS):
        yield page(condition, 0, FIRST_SEED + number % LARGE_FIELDS, LARGE_SIZE)


def page(condition: Condition, number: int, seed: int, size: tuple[int, int] = FIELD_SIZE) -> Page:
    """The ``number``-th page of a condition on the field of ``seed``.  Raises ``ValueError`` for too small a field."""
    rng = stream(seed, 17, CONDITIONS.index(condition), number)
    ground = field_of(seed, size).copy()
    texts = tuple(_text(condition, number * PER_PAGE + i) for i in range(PER_PAGE))
    shapes = [_letters(text, condition.size, condition.angle) for text in texts]
    spots = _spots(condition, [shape.shape for shape in shapes], ground, rng)
    if condition.strip == "label":
        for (x, y), shape in zip(spots, shapes, strict=True):
            corner = (x + shape.shape[1] + CLEAR, y + shape.shape[0] + CLEAR)
            cv2.rectangle(ground, (x - CLEAR, y - CLEAR), corner, (250, 249, 244), -1)
            cv2.rectangle(ground, (x - CLEAR, y - CLEAR), corner, (60, 60, 60), 1)
    drawn, inks = ground.copy(), []
    for (x, y), shape in zip(spots, shapes, strict=True):
        h, w = shape.shape
        if x + w > size[0] or y + h > size[1]:
            raise ValueError("the field is too small for the texts")
        below = ground[y : y + h, x : x + w].astype(np.float32)
        above = np.clip(np.round(condition.blend(below, shape[..., None])), 0, 255).astype(np.uint8)
        ink = np.zeros(ground.shape[:2], bool)
        ink[y : y + h, x : x + w] = shape > 0
        drawn[ink] = above[shape > 0]
        inks.append(ink)
    return Page(condition, number, texts, ground, drawn, tuple(inks))


def covered(before: RGB, after: RGB, ink: Ink, tolerance: int = 0) -> float:
    """Share of the ink whose pixels differ by more than ``tolerance`` in some channel; 0 for another size.

    A lossless output needs no tolerance; for a lossy one give what its coding changes by itself.
    """
    if before.shape != after.shape or not ink.any():
        return 0.0
    apart = np.abs(before[ink].astype(np.int16) - after[ink].astype(np.int16)).max(axis=1)
    return float((apart > tolerance).mean())


def echo(before: RGB, after: RGB, ink: Ink) -> float:
    """How far the output follows the input on the ink and 3 pixels around it: 0 (not at all) to 1.

    Coding an image anew, or giving it other colours, changes every pixel and hides nothing.
    """
    near = np.asarray(cv2.dilate(ink.astype(np.uint8), np.ones((7, 7), np.uint8))) > 0
    one, two = (image[near].astype(np.float64) for image in (before, after))
    one, two = one - one.mean(axis=0), two - two.mean(axis=0)
    size = np.sqrt((one**2).sum(axis=0) * (two**2).sum(axis=0))
    # By channel, since yellow words on purple are as bright as what they stand on.
    return float(np.max(np.abs((one * two).sum(axis=0)) / np.maximum(size, 1e-9)))


def hidden(before: RGB, after: RGB, ink: Ink, tolerance: int = 0) -> bool:
    """Whether a text counts as found and covered: its pixels are changed and its strokes are gone."""
    return covered(before, after, ink, tolerance) >= FOUND and echo(before, after, ink) < ECHO


@lru_cache(maxsize=FIELDS)
def field_of(seed: int, size: tuple[int, int]) -> RGB:
    """A field that is kept, since several pages are written on each; copy it before writing."""
    return purple_field(seed, size)


def _text(condition: Condition, number: int) -> str:
    canary = Canary.of(f"text/{condition.name}/{number:02d}")
    if condition.strip == "bar":
        clock = canary.taken.strftime("%H:%M:%S  %d.%m.%Y")
        return (clock, f"{canary.name.replace('^', '_')} - Viewer", f"https://lab.example/case/{canary.accession}")[
            number % PER_PAGE
        ]
    name = f"{canary.family}, {canary.given}"
    if condition.strip == "caption":
        return f"Fig. {number + 1}.{number % 7}  {name}, {canary.iso}, {canary.accession}"
    return (name, f"geb. {canary.iso}", canary.accession, f"MRN {canary.digits[:8]}")[number % 4]


def _letters(text: str, size: int, angle: float) -> Alpha:
    """Coverage of a text on a rectangle that just holds it, in the font that Pillow brings along."""
    font = ImageFont.load_default(size)
    left, top, right, bottom = (round(side) for side in font.getbbox(text))
    canvas = Image.new("L", (right - left + 4, bottom - top + 4))
    ImageDraw.Draw(canvas).text((2 - left, 2 - top), text, fill=255, font=font)
    if angle:
        canvas = canvas.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    alpha = np.asarray(canvas, np.float32) / 255
    alpha = np.where(alpha < FAINTEST, np.float32(0), alpha)
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    return np.asarray(alpha[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], np.float32)


def _spots(
    condition: Condition, shapes: list[tuple[int, ...]], ground: RGB, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Upper left corners.  Draws the strip of a bar or caption into ``ground``."""
    height, width, _ = ground.shape
    if condition.strip == "bar":
        top = 0 if rng.random() < 0.5 else height - 34
        ground[top : top + 34] = (43, 45, 50)
        return [(12 + i * width // PER_PAGE, top + 8) for i in range(len(shapes))]
    if condition.strip == "caption":
        tall = 30 * len(shapes) + 20
        ground[height - tall :] = (248, 247, 242)
        return [(24, height - tall + 12 + 30 * i) for i in range(len(shapes))]
    return _scattered(shapes, (width, height), rng)


def _scattered(shapes: list[tuple[int, ...]], size: tuple[int, int], rng: np.random.Generator) -> list[tuple[int, int]]:
    """Anywhere, but apart from each other; raises ``ValueError`` where they cannot be laid out."""
    taken: NDArray[Any] = np.zeros((size[1], size[0]), bool)
    edge = 2 * CLEAR
    spots = []
    for h, w in shapes:
        for _attempt in range(500):
            if size[0] - w - edge <= edge or size[1] - h - edge <= edge:
                break
            x, y = int(rng.integers(edge, size[0] - w - edge)), int(rng.integers(edge, size[1] - h - edge))
            around = (slice(y - edge, y + h + edge), slice(x - edge, x + w + edge))
            if not taken[around].any():
                taken[around] = True
                spots.append((x, y))
                break
    if len(spots) != len(shapes):
        raise ValueError("the field is too small for the texts")
    return spots
