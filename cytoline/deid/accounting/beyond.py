"""What a JPEG codes beyond the picture's edge: whole blocks are coded, and every viewer cuts them off.

A lossless crop leaves up to 15 rows and columns of what was there, and a tile of a slide can hide most of itself.
The frame header is given the size that is really coded, the decoder shows it, and what lies beyond must be one
colour or the picture's edge drawn out, as encoders fill it, give or take what lossy coding does.
Not proven: faint things there, of less contrast than ``TOLERANCE``.
Source: ITU-T T.81 A.2.4.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cytoline.deid.accounting.jpeg_frame import PROGRESSIVE, Frame

TOLERANCE = np.array([64, 40, 40], np.int16)
"""Levels of brightness and colours that coding may add: fillings of quality 75 and 30 were up to 57 and 25 away."""
SHARE = 0.01
"""Of the hidden pixels that may differ by more."""
MOST_PIXELS = 1 << 28


def coded_size(frame: Frame, interleaved: bool) -> tuple[int, int]:
    """Width and height of all blocks that every scan codes."""
    unit_x = unit_y = 8
    if interleaved and frame.marker != PROGRESSIVE and len(frame.components) > 1:
        unit_x *= max(item.across for item in frame.components)
        unit_y *= max(item.down for item in frame.components)
    return -(-frame.width // unit_x) * unit_x, -(-frame.height // unit_y) * unit_y


def hides(content: bytes, frame_at: int, size: tuple[int, int], inside: tuple[int, int], tables: bytes = b"") -> bool:
    """Whether something can be seen beyond ``inside`` that is neither one colour nor the edge drawn out.

    ``frame_at`` is where the body of SOF begins, ``size`` what is coded, ``tables`` segments that the file lacks.
    True also where that cannot be looked at.
    """
    if size[0] * size[1] > MOST_PIXELS or max(size) > 65_500:
        return True
    patched = (
        content[: frame_at + 1] + size[1].to_bytes(2, "big") + size[0].to_bytes(2, "big") + content[frame_at + 5 :]
    )
    try:
        with Image.open(io.BytesIO(patched[:2] + tables + patched[2:]), formats=("JPEG",)) as image:
            pixels = np.asarray(image.convert("YCbCr"))
    except MemoryError:
        raise
    except Exception:  # decoders raise anything
        return True
    if pixels.shape[:2] != (size[1], size[0]):
        return True
    return not (_is_edge(pixels, *inside) or _is_even(pixels, *inside))


def _is_edge(whole: NDArray[np.uint8], width: int, height: int) -> bool:
    right = _differing(whole[:height, width:], whole[:height, width - 1 : width])
    below = _differing(whole[height:], np.take(whole[height - 1 : height], _clamped(whole.shape[1], width), axis=1))
    return right <= SHARE and below <= SHARE


def _is_even(whole: NDArray[np.uint8], width: int, height: int) -> bool:
    """One colour, but for the blocks at the edge, into which the picture rings."""
    parts = [whole[:height, width:].reshape(-1, whole.shape[2]), whole[height:].reshape(-1, whole.shape[2])]
    beyond = np.concatenate(parts)
    colour = np.median(beyond, axis=0).astype(np.uint8)
    return all(_differing(part, colour[None]) <= SHARE for part in parts)


def _differing(pixels: NDArray[np.uint8], expected: NDArray[np.uint8]) -> float:
    if not pixels.size:
        return 0.0
    away = np.abs(pixels.astype(np.int16) - expected.astype(np.int16))
    return float((away > TOLERANCE).any(axis=-1).mean())


def _clamped(across: int, width: int) -> NDArray[np.intp]:
    return np.asarray(np.minimum(np.arange(across), width - 1), np.intp)
