"""Why a DICOM file is not made anew, in closed words, and how large one may be."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

Reason = Literal[
    "not_dicom",  # no preamble, no DICM
    "damaged",  # the structure does not hold together, or pixels are missing
    "too_large",  # beyond the limits
    "transfer_syntax",  # a coding that nothing here can read
    "pixel_format",  # bits, samples or colours outside the closed list
    "no_image",  # a report, a document, a plan, a presentation state: words by nature, or no pixels
    "slide_label",  # label, overview or thumbnail of a slide: an identifier as such
    "text_remains",  # writing is found again after each round of painting
]
REASONS: tuple[str, ...] = get_args(Reason)


class CannotRecreate(Exception):  # noqa: N818 (says what it is)
    """Quarantine the file.  The message is the reason alone, never a value out of the file."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason

    def __reduce__(self) -> tuple[type[CannotRecreate], tuple[Reason]]:
        return (type(self), (self.reason,))


@dataclass(frozen=True)
class Limits:
    """What a file may claim before it is believed."""

    max_pixels: int = 200_000_000
    """Of one frame."""
    max_frames: int = 200_000
    max_header: int = 1 << 27
    """Bytes before the pixel data."""
    max_native: int = 0xFFFFFFFE
    """Bytes of uncompressed pixel data; the standard's length field holds no more."""
    margin: int = 8
    """Pixels around what was found that are painted too."""


@contextmanager
def guarded(reason: Reason = "damaged") -> Iterator[None]:
    """What a library raises over a hostile file becomes ``reason``; its warnings, which quote values, go nowhere."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "pydicom.pixels", "PIL")]
    before = [logger.disabled for logger in loggers]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for logger in loggers:
                logger.disabled = True
            yield
    except (CannotRecreate, MemoryError):
        raise
    except Exception:
        raise CannotRecreate(reason) from None
    finally:
        for logger, was in zip(loggers, before, strict=True):
            logger.disabled = was
