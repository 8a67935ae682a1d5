"""A slide made anew: a fresh pyramid of the source's own tiles, and nothing of the source but the picture.

Kept: the tiles of the base and its reductions, their geometry, microns per pixel typed again as a number.
NDPI, SCN, BIF, Philips, MRXS, VMS and the like are refused: their picture is more than tiles in rows.
JPEG 2000 tiles (33003, 33005) are decoded and written as deflate: bytes that no pixel needs cannot be told from
those of a lossy coding, and OpenSlide reads such tiles only in a file that names its scanner.  The pixels stay, the
file grows.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openslide

from cytoline.deid.polygon import Look, Polygon
from cytoline.deid.slide.coding import IN_YCBCR, JPEG, Tile
from cytoline.deid.slide.level import Level
from cytoline.deid.slide.limits import SlideLimits
from cytoline.deid.slide.outcome import SlideOutcome
from cytoline.deid.slide.pyramid import FULL, REDUCED, Pyramid, read_pyramid
from cytoline.deid.slide.redaction import Redaction, search
from cytoline.deid.slide.refusal import CannotRecreate
from cytoline.deid.slide.tiff_read import NDPI_VERSION, opened, pages
from cytoline.deid.slide.tiff_write import CLASSIC_LIMIT, LONG, RATIONAL, SHORT, Field, PyramidWriter
from cytoline.images import RGB

_VENDORS = {None, "aperio", "generic-tiff"}
"""As OpenSlide names them: formats whose picture is the tiles in rows and nothing else."""
_PER_CENTIMETRE, _CENTIMETRE = 10000.0, 3
_SCALE = 100_000
"""Both numbers of a resolution are multiplied by, to hold the digits."""
_MOST_PAGES = 64


def is_slide(source: Path) -> bool:
    """Whether this is a tiled TIFF or an NDPI, so that no other reader should take it.  Never raises for content."""
    try:
        with opened(source) as file:
            return any(page.tiled or NDPI_VERSION in page for page in pages(file, _MOST_PAGES))
    except CannotRecreate:
        return False


def recreate_slide(
    source: Path, target: Path, look: Look | None = None, limits: SlideLimits | None = None
) -> SlideOutcome:
    """Write ``target`` in one step.  Raises ``CannotRecreate``; then there is no ``target``.

    ``look`` finds text and barcodes in a picture; without it the pixels are not searched.
    """
    limits = limits or SlideLimits()
    with opened(source) as file:
        pyramid = read_pyramid(file, limits)
        _refuse_vendors(source)
        redaction = Redaction(pyramid.levels[0], limits.margin)
        rounds: tuple[tuple[Polygon, ...], ...] = ()
        if look is not None:
            redaction, rounds = search(pyramid.levels, look, limits)
        done = _write(target, pyramid, redaction)
    base = pyramid.levels[0]
    return SlideOutcome(
        width=base.width,
        height=base.height,
        levels=len(pyramid.levels),
        mpp=pyramid.mpp,
        left_out=pyramid.left_out,
        searched=look is not None,
        painted=rounds,
        tiles=done.total(),
        tiles_copied=done["copied"],
        tiles_edge=done["edge"],
        tiles_painted=done["painted"],
        tiles_recoded=done["recoded"],
    )


def _refuse_vendors(source: Path) -> None:
    try:
        vendor = openslide.OpenSlide.detect_format(source)
    except openslide.OpenSlideError:
        raise CannotRecreate("damaged") from None
    if vendor not in _VENDORS:
        raise CannotRecreate("vendor_format")


def _write(target: Path, pyramid: Pyramid, redaction: Redaction) -> Counter[str]:
    """Tile by tile into a temporary file, which then takes the target's name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    big = sum(level.bytes_at_most for level in pyramid.levels) > CLASSIC_LIMIT
    done: Counter[str] = Counter()
    try:
        with temporary.open("xb") as handle:
            writer = PyramidWriter(handle, big)
            for level in pyramid.levels:
                writer.add_page(_fields(level, pyramid), _tiles(level, redaction, done))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return done


def _tiles(level: Level, redaction: Redaction, done: Counter[str]) -> Iterator[bytes]:
    for number in range(len(level.offsets)):
        tile = level.tile(number)
        x, y = level.place(number)
        width, height = min(level.coding.width, level.width - x), min(level.coding.height, level.height - y)
        samples, painted = _painted(tile, level, redaction, (x, y, width, height))
        blank = _blanked(samples, width, height)
        if tile.plain is not None and blank is tile.samples:
            done["copied"] += 1
            yield tile.plain
            continue
        done["painted" if painted else "edge" if blank is not samples else "recoded"] += 1
        yield level.coding.encode(blank, tile)


def _painted(tile: Tile, level: Level, redaction: Redaction, place: tuple[int, int, int, int]) -> tuple[RGB, bool]:
    """The samples with the patches laid over; only painted pixels change, the others keep their stored values."""
    x, y, width, height = place
    if not redaction.touches(level, (x, y, x + width, y + height)):
        return tile.samples, False
    seen = level.coding.to_rgb(tile.samples[:height, :width])
    over, mask = redaction.lay_over(level, x, y, seen)
    if not mask.any():
        return tile.samples, False
    samples = tile.samples.copy()
    samples[:height, :width][mask == 1] = level.coding.from_rgb(over)[mask == 1]
    return samples, True


def _blanked(samples: RGB, width: int, height: int) -> RGB:
    """With the last column and row drawn out over what lies beyond the picture, unless that is of one colour."""
    beyond = np.concatenate(
        [samples[:height, width:].reshape(-1, samples.shape[2]), samples[height:].reshape(-1, samples.shape[2])]
    )
    if not len(beyond) or (beyond == beyond[0]).all():
        return samples
    blank = samples.copy()
    blank[:height, width:] = blank[:height, width - 1 : width]
    blank[height:] = blank[height - 1 : height]
    return blank


def _fields(level: Level, pyramid: Pyramid) -> dict[int, Field]:
    coding, base = level.coding, pyramid.levels[0]
    fields = {
        254: Field(LONG, (FULL if level is base else REDUCED,)),
        256: Field(LONG, (level.width,)),
        257: Field(LONG, (level.height,)),
        258: Field(SHORT, (8,) * coding.samples),
        259: Field(SHORT, (coding.written_compression,)),
        262: Field(SHORT, (coding.photometric,)),
        277: Field(SHORT, (coding.samples,)),
        284: Field(SHORT, (1,)),
        322: Field(LONG, (coding.width,)),
        323: Field(LONG, (coding.height,)),
    }
    if coding.predictor != 1:
        fields[317] = Field(SHORT, (coding.predictor,))
    if coding.compression == JPEG and coding.photometric == IN_YCBCR:
        fields[530] = Field(SHORT, coding.sampling)
    if pyramid.mpp is not None:
        fields[282] = _resolution(pyramid.mpp[0] * base.width / level.width)
        fields[283] = _resolution(pyramid.mpp[1] * base.height / level.height)
        fields[296] = Field(SHORT, (_CENTIMETRE,))
    return fields


def _resolution(mpp: float) -> Field:
    """Pixels per centimetre, from microns per pixel to five digits: more of them would be a place for a code."""
    return Field(RATIONAL, (round(_PER_CENTIMETRE) * _SCALE, round(float(f"{mpp:.5g}") * _SCALE)))
