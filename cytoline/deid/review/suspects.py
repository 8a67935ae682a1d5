"""Where a picture still looks as if it held an identifier, once everything certain is painted over.

A code that nobody can read, text that comes back after every round of painting and, where ``anonymize.review`` asks
for it, weak hits of the text reader.  Weak hits are found by the same search with no demands on confidence and height.
It leaves out single characters (cells by the hundred read as an 8), so an image can be doubtful with no place to show.
"""

from __future__ import annotations

import numpy as np

from cytoline.deid.marks import find_marks
from cytoline.deid.painting import Mask, mask_of
from cytoline.deid.params import AnonymizeParams
from cytoline.deid.polygon import Polygon
from cytoline.images import RGB

_LEAST_SCORE = 1e-6
INSIDE = 0.95
"""Share of a place that must lie under what a reviewer painted for it to be dealt with."""


def weak_text(rgb: RGB, params: AnonymizeParams) -> tuple[Polygon, ...]:
    """Places that read as two characters or more, however unsure the reader is."""
    loose = params.model_copy(update={"text_score": _LEAST_SCORE, "text_max_height": 1.0})
    return find_marks(rgb, loose).texts


def outside(places: tuple[Polygon, ...], painted: Mask) -> tuple[Polygon, ...]:
    """The places that the painted pixels do not cover."""
    size = (painted.shape[1], painted.shape[0])
    return tuple(place for place in places if _covered(mask_of([place], size, 0), painted) < INSIDE)


def _covered(place: Mask, painted: Mask) -> float:
    pixels = int(np.count_nonzero(place))
    return int(np.count_nonzero(place & painted)) / pixels if pixels else 0.0
