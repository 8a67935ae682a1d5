"""Images in and out: hostile files are refused before they are decoded, equal pixels give equal bytes."""

from __future__ import annotations

import errno
import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from cytoline import atomic, heif
from cytoline.errors import CytolineError

RGB = NDArray[np.uint8]
"""Height x width x 3, uint8, red first."""

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
"""The formats that Pillow tries (HEIF goes to ``heif``).  Others run code (EPS) or have no place in microscopy."""

MAX_PIXELS = 200_000_000
PNG_LEVEL = 3

Reason = Literal["empty", "unknown_format", "too_large", "truncated", "unsupported"]

Method = Literal["nearest", "bilinear", "bicubic", "lanczos", "area"]

_METHODS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "area": Image.Resampling.BOX,
}

_LIMIT_LOCK = threading.Lock()


class UnreadableImage(CytolineError):  # noqa: N818 (says what it is)
    """A file that is no image we can read; ``reason`` is fit for a table, the message names no file."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"an image cannot be read: {detail}", "replace or remove the file, then run again")
        self.reason: Reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[UnreadableImage], tuple[Reason, str]]:
        return (type(self), (self.reason, self.detail))


def probe(source: Path | bytes, max_pixels: int = MAX_PIXELS) -> tuple[int, int, str]:
    """Width, height and format (one of ``FORMATS``, or HEIF) from the header alone.  Raises ``UnreadableImage``."""
    with _opened(source, max_pixels, pixels=False) as image:
        return (image.width, image.height, "JPEG" if image.format == "MPO" else str(image.format))


def read_image(source: Path | bytes, max_pixels: int = MAX_PIXELS, *, exif_orientation: bool = False) -> RGB:
    """Decode to RGB.  Transparency is laid on white (a slide's empty ground), 16-bit grey keeps its top 8 bits.

    The pixel count is checked before anything is decoded.  EXIF orientation is applied only when asked:
    annotations are made on stored pixels.  Raises ``UnreadableImage``.
    """
    with _opened(source, max_pixels, pixels=True) as image:
        image.load()
        turned = ImageOps.exif_transpose(image) if exif_orientation else image
        return np.array(_flat(turned), dtype=np.uint8)


def png_bytes(rgb: RGB) -> bytes:
    """Encode as PNG without any metadata; the same pixels always give the same bytes."""
    _check(rgb)
    done, encoded = cv2.imencode(".png", rgb[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])
    if not done:
        raise ValueError("PNG encoding failed")
    return encoded.tobytes()


def write_png(path: Path, rgb: RGB) -> None:
    """Write a PNG in one step."""
    atomic.write_bytes(path, png_bytes(rgb))


def resize(rgb: RGB, size: tuple[int, int], method: Method = "lanczos") -> RGB:
    """Resample to ``size`` = (width, height) in pixels; shrinking is anti-aliased except for ``nearest``."""
    _check(rgb)
    return np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).resize(size, _METHODS[method]), dtype=np.uint8)


@contextmanager
def _opened(source: Path | bytes, max_pixels: int, *, pixels: bool) -> Iterator[Image.Image]:
    """Open, judge the header, give the image; whatever a decoder raises becomes UnreadableImage.

    What Pillow opens is not decoded yet; a HEIF is, if ``pixels`` are wanted.
    """
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    if size == 0:
        raise UnreadableImage("empty", "the file is empty")
    try:
        with _undecoded(source, max_pixels, pixels) as image:
            _judge(image, max_pixels)
            yield image
    except CytolineError:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage("unknown_format", f"it is none of {', '.join((*FORMATS, 'HEIF'))}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadableImage("too_large", f"it claims more than {max_pixels:,} pixels") from None
    except MemoryError:  # says something about this machine, nothing about the file
        raise
    except Exception as error:  # a broken file can make a decoder raise anything
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            # The disk or the system failed (EIO, EMFILE).  Decoders set no number; EINVAL is a seek to nowhere.
            raise
        raise UnreadableImage("truncated", f"it is truncated or damaged ({type(error).__name__})") from None


def _undecoded(source: Path | bytes, max_pixels: int, pixels: bool) -> Image.Image:
    if heif.claims(source):
        if (len(source) if isinstance(source, bytes) else source.stat().st_size) > heif.MAX_BYTES:
            raise UnreadableImage("too_large", f"it is a HEIC of more than {heif.MAX_BYTES >> 20} MB")
        content = source if isinstance(source, bytes) else source.read_bytes()
        return heif.opened(content, max_pixels, pixels=pixels)
    handle = io.BytesIO(source) if isinstance(source, bytes) else source
    with _pixel_limit(max_pixels):
        return Image.open(handle, formats=FORMATS)


@contextmanager
def _pixel_limit(max_pixels: int) -> Iterator[None]:
    """Pillow's own bomb check is a global with a warning; make it ours, and an error, for one image."""
    with _LIMIT_LOCK, warnings.catch_warnings():
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = max_pixels
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _judge(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise UnreadableImage("too_large", f"{image.width} x {image.height} is more than {max_pixels:,} pixels")
    # An MPO is a phone's JPEG with a preview behind it; its first picture is the image.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise UnreadableImage("unsupported", "it holds several pages; save each as its own file")
    if image.format == "TIFF" and image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9):
        # Pillow turns a TIFF's pixels while it decodes, and boxes that were made on stored pixels stay where they were.
        raise UnreadableImage("unsupported", "its orientation tag turns a TIFF; save it upright, without the tag")
    if image.mode == "F":
        raise UnreadableImage("unsupported", "floating-point pixels have no defined white")


def _flat(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        deep = np.asarray(image)
        grey = np.clip(deep.astype(np.int64) >> 8, 0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(ground, layer).convert("RGB")
    return image.convert("RGB")


def _check(rgb: RGB) -> None:
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise ValueError(f"expected height x width x 3 uint8, got {rgb.shape} {rgb.dtype}")
