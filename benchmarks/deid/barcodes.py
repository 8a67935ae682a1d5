"""Barcode labels on fields: six symbologies, four angles, two sizes, JPEG, and some that no reader can read.

Whether a code is readable is measured, with the reader that a de-identifier is likely to use too; an unreadable
code is still an identifier and must be covered or put aside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import zxingcpp
from numpy.typing import NDArray

from benchmarks.deid.canary import Canary
from benchmarks.deid.ground import FIELD_SIZE, purple_field
from benchmarks.deid.writing import FIELDS, FIRST_SEED, Ink, field_of
from cytoline.images import RGB
from cytoline.phantom.spec import stream

KINDS = ("QRCode", "DataMatrix", "Aztec", "PDF417", "Code128", "Code39")
LINEAR = ("Code128", "Code39")
ANGLES = (0, 90, 15, 45)
SMALL, LARGE = 2, 4
"""Pixels per module."""
SIZE = (900, 700)
BLUR = 2.5
CLEAN, FIRST_CLEAN = 40, 500
Plan = tuple[str, int, int, int | None, float]
"""Kind, angle, pixels per module, JPEG quality, sigma of the blur."""
_PAPER = (250, 249, 244)


@dataclass(frozen=True)
class Label:
    """One field with one code.

    ``ink`` is the code's whole area: with only the dark modules repainted, a reader still reads it.
    """

    name: str
    kind: str
    value: str
    image: RGB
    ink: Ink
    quality: int | None
    readable: bool

    @property
    def file(self) -> tuple[str, bytes]:
        """Suffix and bytes."""
        return coded(self.image, self.quality)


def coded(image: RGB, quality: int | None = None) -> tuple[str, bytes]:
    """Suffix and bytes: a fast PNG, or a JPEG of that quality."""
    suffix, options = (
        (".png", [cv2.IMWRITE_PNG_COMPRESSION, 1]) if quality is None else (".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality])
    )
    done, data = cv2.imencode(suffix, image[:, :, ::-1], options)
    if not done:
        raise RuntimeError(f"OpenCV could not write {suffix}")
    return suffix, data.tobytes()


def labels() -> Iterator[Label]:
    """60: every kind at every angle in both sizes, then small upright ones as JPEG, then small blurred ones."""
    plans: list[Plan] = [
        (kind, angle, size, None, 0.0) for kind in KINDS for angle in ANGLES for size in (SMALL, LARGE)
    ]
    plans += [(kind, 0, SMALL, 60, 0.0) for kind in KINDS]
    plans += [(kind, 0, SMALL, None, BLUR) for kind in KINDS]
    for number, (kind, angle, size, quality, blur) in enumerate(plans):
        yield label(kind, angle, size, quality, blur, FIRST_SEED + number % FIELDS)


def clean_fields() -> Iterator[RGB]:
    """40 fields without words or codes, for false alarms; the first 20 serve the search for words as well."""
    return (purple_field(FIRST_CLEAN + number) for number in range(CLEAN))


def label(kind: str, angle: int, module: int, quality: int | None, blur: float, seed: int) -> Label:
    """A paper label with one code, turned by ``angle`` degrees, blurred with that sigma, on a part of a field."""
    name = f"{kind}-{angle}-{module}px" + (f"-jpeg{quality}" if quality else "") + ("-blurred" if blur else "")
    value = Canary.of(f"barcode/{name}").accession[: 8 if kind in LINEAR else None]
    paper, area = _paper(kind, value, module)
    paper, area, present = _turned(paper, area, angle)
    if blur:
        paper = np.asarray(cv2.GaussianBlur(paper, (0, 0), blur))
    h, w = area.shape
    field = field_of(seed, FIELD_SIZE)[: SIZE[1], : SIZE[0]].copy()
    rng = stream(seed, 18, angle, module)
    x, y = int(rng.integers(8, SIZE[0] - w - 8)), int(rng.integers(8, SIZE[1] - h - 8))
    region = field[y : y + h, x : x + w]
    region[present] = paper[present][:, None] * np.array(_PAPER) // 255
    ink = np.zeros(field.shape[:2], bool)
    ink[y : y + h, x : x + w] = area
    decoded = _as_stored(field, quality)
    return Label(name, kind, value, field, ink, quality, value in texts_in(decoded))


def texts_in(image: RGB) -> list[str]:
    """What the reader reads, at any angle that it tries."""
    found = zxingcpp.read_barcodes(image, try_rotate=True, try_downscale=True, try_invert=True)
    return [code.text for code in found]


def _as_stored(image: RGB, quality: int | None) -> RGB:
    if quality is None:
        return image
    data = np.frombuffer(coded(image, quality)[1], np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[:, :, ::-1].copy()


def _paper(kind: str, value: str, module: int) -> tuple[NDArray[Any], Ink]:
    """Grey paper with a quiet zone of six modules, and the code's area on it."""
    code = zxingcpp.create_barcode(value, getattr(zxingcpp.BarcodeFormat, kind))
    pixels = np.array(code.to_image(scale=1, add_quiet_zones=False))
    if kind in LINEAR:
        pixels = np.repeat(pixels[:1], 24, axis=0)
    large = np.kron(pixels, np.ones((module, module), np.uint8)).astype(np.uint8)
    quiet = 6 * module
    return np.pad(large, quiet, constant_values=255), np.pad(np.ones(large.shape, bool), quiet)


def _turned(paper: NDArray[Any], area: Ink, angle: int) -> tuple[NDArray[Any], Ink, Ink]:
    """Paper, the code's area and where paper is, on the rectangle that holds the turned label."""
    h, w = paper.shape
    turn = cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), angle, 1)
    cos, sin = abs(turn[0, 0]), abs(turn[0, 1])
    wide, tall = int(np.ceil(h * sin + w * cos)), int(np.ceil(h * cos + w * sin))
    turn[:, 2] += ((wide - w) / 2, (tall - h) / 2)

    def warped(plane: NDArray[Any], how: int) -> NDArray[Any]:
        return np.asarray(cv2.warpAffine(plane, turn, (wide, tall), flags=how))

    present = warped(np.full((h, w), 255, np.uint8), cv2.INTER_NEAREST) > 0
    return warped(paper, cv2.INTER_LINEAR), warped(area.astype(np.uint8), cv2.INTER_NEAREST) > 0, present
