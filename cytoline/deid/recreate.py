"""One raw image -> one clean file, or a reason why not.  The unit of work that the memo store remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from cytoline.deid import jpeg
from cytoline.deid.accounting import account
from cytoline.deid.audit import Reason
from cytoline.deid.marks import Hits, find_marks
from cytoline.deid.orientation import UPRIGHT, read_orientation, turn_pixels
from cytoline.deid.painting import Mask, mask_of, paint
from cytoline.deid.params import AnonymizeParams
from cytoline.deid.polygon import Polygon
from cytoline.images import RGB, UnreadableImage, png_bytes, probe, read_image

OUTCOME = "outcome.json"
ATTEMPTS = 4
"""Searches of one image: painting over one line can bring another to light."""


class Outcome(BaseModel):
    """What was done to one image; nothing in it says what was read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Literal["image.jpg", "image.png"] | None = None
    """Name of the result beside this; None if the original must be kept back."""
    reason: Reason | None = None
    route: Literal["jpeg_rewrite", "png_anew"] | None = None
    orientation: int = UPRIGHT
    width: int = 0
    height: int = 0
    painted: tuple[tuple[Polygon, ...], ...] = ()
    """Polygons of each round of painting, on the turned picture."""
    texts: int = 0
    barcodes: int = 0
    doubtful: int = 0


def recreate(raw: Path, width: int, height: int, params: AnonymizeParams) -> dict[str, bytes]:
    """Files ``outcome.json`` and, unless it names a reason, the image."""
    try:
        content = raw.read_bytes()
        _, _, kind = probe(content, params.max_pixels)
        stored = read_image(content, params.max_pixels)
    except UnreadableImage as error:
        return _kept_back(_reason(error))
    if stored.shape[:2] != (height, width):
        return _kept_back("size_differs")
    orientation = read_orientation(content)
    upright = turn_pixels(stored, orientation)
    painted, rounds, first, last = _paint_all(upright, params)
    if painted is None:
        return _kept_back("text_remains")
    if last.unread:  # of the last search: dense writing looks like a barcode until it is painted over
        return _kept_back("barcode_like")
    outcome = Outcome(
        orientation=orientation,
        width=upright.shape[1],
        height=upright.shape[0],
        painted=tuple(rounds),
        texts=len(first.texts),
        barcodes=len(first.barcodes),
        doubtful=first.doubtful,
    )
    return _written(content if kind in ("JPEG", "MPO") else None, painted, outcome)


def painted_mask(outcome: Outcome, margin: int) -> Mask:
    """The painted pixels again, for the boxes that they touch."""
    polygons = [polygon for round_ in outcome.painted for polygon in round_]
    return mask_of(polygons, (outcome.width, outcome.height), margin)


def _paint_all(rgb: RGB, params: AnonymizeParams) -> tuple[RGB | None, list[tuple[Polygon, ...]], Hits, Hits]:
    """Search, paint, and search the result again until nothing is found; what was found first and last."""
    rounds: list[tuple[Polygon, ...]] = []
    first = hits = find_marks(rgb, params)
    for _ in range(ATTEMPTS):
        if not hits.all:
            return rgb, rounds, first, hits
        rounds.append(hits.all)
        rgb = paint(rgb, mask_of(hits.all, (rgb.shape[1], rgb.shape[0]), params.margin))
        hits = find_marks(rgb, params)
    return None, rounds, first, hits


def _written(source: bytes | None, rgb: RGB, outcome: Outcome) -> dict[str, bytes]:
    """The JPEG's own bits where nothing was painted or turned, else PNG; either is checked before it counts."""
    if source is not None and not outcome.painted and outcome.orientation == UPRIGHT:
        plain = _rewritten(source, rgb)
        if plain is not None:
            done = outcome.model_copy(update={"file": "image.jpg", "route": "jpeg_rewrite"})
            return {OUTCOME: _encoded(done), "image.jpg": plain}
    content = png_bytes(rgb)
    if account(content) or not np.array_equal(read_image(content), rgb):
        return _kept_back("check_failed")
    done = outcome.model_copy(update={"file": "image.png", "route": "png_anew"})
    return {OUTCOME: _encoded(done), "image.png": content}


def _rewritten(source: bytes, rgb: RGB) -> bytes | None:
    """The lossless rewrite, or None where PNG is safer (odd structure, bytes that no pixel needs, other colours).

    Two proofs that share no code: the decoder's (``unread_tail``) and a walk through the coded blocks (``account``).
    """
    try:
        plain = jpeg.rewrite(source)
        same = jpeg.verify(plain) is None and np.array_equal(read_image(plain), rgb)
        if not same or jpeg.unread_tail(plain, rgb, read_image) or account(plain):
            return None
    except (jpeg.OddJpegError, UnreadableImage):
        return None
    return plain


def _kept_back(reason: Reason) -> dict[str, bytes]:
    return {OUTCOME: _encoded(Outcome(reason=reason))}


def _encoded(outcome: Outcome) -> bytes:
    return outcome.model_dump_json().encode()


def _reason(error: UnreadableImage) -> Reason:
    return error.reason if error.reason in ("too_large", "unsupported") else "unreadable"
