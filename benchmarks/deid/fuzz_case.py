"""What is fuzzed and what comes of it.  Imports nothing, so that the watch over the workers is quick to start."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

Format = Literal["jpeg", "png", "bmp", "tiff", "webp", "heic", "svs", "ndpi", "dicom", "dicom-frames", "dicom-wsi"]
FORMATS: tuple[Format, ...] = get_args(Format)

Outcome = Literal["passed", "refused", "in_pixels", "failed"]
"""``in_pixels``: a canary is among the samples (see ``fuzz_pixels``)."""
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


class Case(NamedTuple):
    """Which file."""

    format: Format
    number: int


class Verdict(NamedTuple):
    """``what`` is the reason of a refusal or the kind of a failure."""

    outcome: Outcome
    what: str
    seconds: float
    """CPU."""
