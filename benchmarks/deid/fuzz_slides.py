"""Slides to mutate in the codings that no hiding place has: deflate, LZW, none, JPEG 2000, BigTIFF."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from benchmarks.deid.canary import Canary
from benchmarks.deid.ground import swatch
from benchmarks.deid.place import Make
from benchmarks.deid.tiff_bytes import Entries, Tiff, ascii_, long, short
from cytoline.images import RGB

SIDE = 64
_NONE, _LZW, _DEFLATE, _JPEG_2000_RGB = 1, 5, 8, 33005
_Code = Callable[[RGB], bytes]


def makes() -> dict[str, Make]:
    """Name -> writer."""
    return {
        "deflate": _slide(_DEFLATE, lambda tile: zlib.compress(tile.tobytes())),
        "deflate-big": _slide(_DEFLATE, lambda tile: zlib.compress(tile.tobytes()), big=True),
        "none": _slide(_NONE, lambda tile: tile.tobytes()),
        "lzw": _slide(_LZW, _lzw),
        "jpeg-2000": _slide(_JPEG_2000_RGB, _codestream),
    }


def _slide(compression: int, code: _Code, big: bool = False) -> Make:
    """Two levels, words in the first one's description."""

    def make(canary: Canary) -> bytes:
        tiff, rgb = Tiff(big), swatch(canary.token)[:SIDE, : 2 * SIDE]
        first = _tiled(tiff, rgb, compression, code, {270: ascii_(canary.text), 315: ascii_(canary.name)})
        return tiff.chain([first, _tiled(tiff, rgb[::2, ::2].copy(), compression, code, {254: long(1)})])

    return make


def _tiled(tiff: Tiff, rgb: RGB, compression: int, code: _Code, extra: Entries) -> int:
    height, width, _ = rgb.shape
    offsets, counts = [], []
    for y in range(0, height, SIDE):
        for x in range(0, width, SIDE):
            data = code(_square(rgb[y : y + SIDE, x : x + SIDE]))
            offsets.append(tiff.put(data))
            counts.append(len(data))
    coding = {258: short(8, 8, 8), 259: short(compression), 262: short(2), 277: short(3)}
    tiles = {322: long(SIDE), 323: long(SIDE), 324: long(*offsets), 325: long(*counts)}
    return tiff.directory({256: long(width), 257: long(height), **coding, **tiles, **extra})


def _square(part: RGB) -> RGB:
    """On grey up to the tile's full size."""
    tile = np.full((SIDE, SIDE, 3), 245, np.uint8)
    tile[: part.shape[0], : part.shape[1]] = part
    return tile


def _lzw(tile: RGB) -> bytes:
    """The one strip of a TIFF that libtiff writes."""
    out = io.BytesIO()
    Image.fromarray(tile).save(out, "TIFF", compression="tiff_lzw", tiffinfo={278: SIDE})
    with Image.open(out) as image:
        tags = image.tag_v2  # type: ignore[attr-defined]
        return out.getvalue()[tags[273][0] :][: tags[279][0]]


def _codestream(tile: RGB) -> bytes:
    out = io.BytesIO()
    Image.fromarray(tile).save(out, "JPEG2000", no_jp2=True, mct=0)
    return out.getvalue()
