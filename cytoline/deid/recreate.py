"""One raw image -> one clean file, or a reason why not.  The unit of work that the memo store remembers."""

from __future__ import annotations

from dataclasses import dataclass
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
from cytoline.deid.review.decisions import Ruling, corners
from cytoline.deid.review.suspects import outside, weak_text
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
    regions: tuple[Polygon, ...] = ()
    """Where the reason lies, on the turned picture."""
    route: Literal["jpeg_rewrite", "png_anew"] | None = None
    orientation: int = UPRIGHT
    width: int = 0
    height: int = 0
    painted: tuple[tuple[Polygon, ...], ...] = ()
    """Polygons of each round of painting, on the turned picture."""
    texts: int = 0
    barcodes: int = 0
    doubtful: int = 0


@dataclass(frozen=True)
class _Searched:
    """The picture after painting, how it was painted, and what is still suspected in it."""

    rgb: RGB
    rounds: tuple[tuple[Polygon, ...], ...]
    first: Hits
    reason: Reason | None
    regions: tuple[Polygon, ...]


def recreate(raw: Path, width: int, height: int, params: AnonymizeParams) -> dict[str, bytes]:
    """Files ``outcome.json`` and, unless it names a reason, the image.  Nobody has looked at it."""
    return recreate_ruled(raw, width, height, None, params)


def recreate_ruled(
    raw: Path, width: int, height: int, ruling: Ruling | None, params: AnonymizeParams
) -> dict[str, bytes]:
    """The same under a reviewer's ruling, which sets suspicions aside and nothing else.

    What cannot be read, has another size than collected or fails the account of its bytes is kept back all the same.
    """
    try:
        content = raw.read_bytes()
        _, _, kind = probe(content, params.max_pixels)
        stored = read_image(content, params.max_pixels)
    except UnreadableImage as error:
        return _kept_back(_reason(error))
    if stored.shape[:2] != (height, width):
        return _kept_back("size_differs")
    orientation = read_orientation(content)
    searched = _search(turn_pixels(stored, orientation), ruling or Ruling(), params)
    if searched.reason is not None:
        return _kept_back(searched.reason, searched.regions)
    outcome = Outcome(
        orientation=orientation,
        width=searched.rgb.shape[1],
        height=searched.rgb.shape[0],
        painted=searched.rounds,
        texts=len(searched.first.texts),
        barcodes=len(searched.first.barcodes),
        doubtful=searched.first.doubtful,
    )
    return _written(content if kind in ("JPEG", "MPO") else None, searched.rgb, outcome)


def lossless_jpeg(source: bytes, rgb: RGB) -> bytes | None:
    """A JPEG's own bits without its words; None where PNG is safer (odd structure, bytes that no pixel needs).

    ``rgb`` is what the source decodes to, and what the result must decode to.

    Two proofs that share no code: the decoder's (``may_hide_words``) and a walk through the coded blocks (``account``).
    """
    try:
        plain = jpeg.rewrite(source)
        same = jpeg.verify(plain) is None and np.array_equal(read_image(plain), rgb)
        if not same or jpeg.may_hide_words(plain, read_image) or account(plain):
            return None
    except (jpeg.OddJpegError, UnreadableImage):
        return None
    return plain


def painted_mask(outcome: Outcome, margin: int) -> Mask:
    """The painted pixels again, for the boxes that they touch."""
    polygons = [polygon for round_ in outcome.painted for polygon in round_]
    return mask_of(polygons, (outcome.width, outcome.height), margin)


def _search(rgb: RGB, ruling: Ruling, params: AnonymizeParams) -> _Searched:
    """Paint what a reviewer marked; search, paint, and search the result again until nothing is found."""
    size = (rgb.shape[1], rgb.shape[0])
    marked = tuple(corners(box) for box in ruling.regions)
    rounds = [marked] if marked else []
    mask = mask_of(marked, size, params.margin)
    rgb = paint(rgb, mask) if marked else rgb
    first = hits = find_marks(rgb, params)
    for _ in range(ATTEMPTS):
        if not hits.all:
            break
        rounds.append(hits.all)
        rgb = paint(rgb, mask_of(hits.all, size, params.margin))
        hits = find_marks(rgb, params)
    reason, regions = (None, ()) if ruling.release else _suspicion(rgb, mask, first, hits, params)
    return _Searched(rgb, tuple(rounds), first, reason, regions)


def _suspicion(
    rgb: RGB, mask: Mask, first: Hits, last: Hits, params: AnonymizeParams
) -> tuple[Reason | None, tuple[Polygon, ...]]:
    """Why a person must look at the painted picture, and where; ``mask`` is what one has painted over already."""
    # Of the last search: dense writing looks like a barcode until it is painted over.
    unread, remaining = outside(last.unread, mask), outside(last.all, mask)
    if unread:
        return "barcode_like", unread + remaining
    if remaining:
        return "text_remains", remaining
    ink = outside(last.ink + last.weak_ink if params.review else last.ink, mask)
    if ink:
        return "pen_or_handwriting", ink
    if not params.review or not first.doubtful:
        return None, ()
    weak = outside(weak_text(rgb, params), mask)
    # A reviewer who painted something has seen the picture: only what can be pointed at is asked about again.
    return (None, ()) if mask.any() and not weak else ("doubtful_text", weak)


def _written(source: bytes | None, rgb: RGB, outcome: Outcome) -> dict[str, bytes]:
    """The JPEG's own bits where nothing was painted or turned, else PNG; either is checked before it counts."""
    if source is not None and not outcome.painted and outcome.orientation == UPRIGHT:
        plain = lossless_jpeg(source, rgb)
        if plain is not None:
            done = outcome.model_copy(update={"file": "image.jpg", "route": "jpeg_rewrite"})
            return {OUTCOME: _encoded(done), "image.jpg": plain}
    content = png_bytes(rgb)
    if account(content) or not np.array_equal(read_image(content), rgb):
        return _kept_back("check_failed")
    done = outcome.model_copy(update={"file": "image.png", "route": "png_anew"})
    return {OUTCOME: _encoded(done), "image.png": content}


def _kept_back(reason: Reason, regions: tuple[Polygon, ...] = ()) -> dict[str, bytes]:
    return {OUTCOME: _encoded(Outcome(reason=reason, regions=regions))}


def _encoded(outcome: Outcome) -> bytes:
    return outcome.model_dump_json().encode()


def _reason(error: UnreadableImage) -> Reason:
    return error.reason if error.reason in ("too_large", "unsupported") else "unreadable"
