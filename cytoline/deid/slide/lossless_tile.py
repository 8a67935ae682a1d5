"""Tiles without loss: as they are, deflate, LZW.  Read to the last byte, written by us.

A deflate stream is copied only if it gives exactly the tile and nothing lies behind it; LZW becomes deflate, since
whatever follows its end code would have to be searched by a decoder of our own.  Source: TIFF 6.0, sections 13, 14.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from cytoline.deid.slide.jpeg_tile import Samples
from cytoline.deid.slide.refusal import CannotRecreate

NONE, LZW, DEFLATE = 1, 5, 8
LEVEL = 6


def inflate(raw: bytes, size: int) -> tuple[bytes, bool]:
    """The tile's bytes, and whether the stream holds them and no more.  Never gives more than ``size`` + 1 bytes."""
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(raw, size + 1)
    except zlib.error:
        raise CannotRecreate("damaged") from None
    if len(content) < size:
        raise CannotRecreate("damaged")
    exact = len(content) == size and inflater.eof and not inflater.unused_data and not inflater.unconsumed_tail
    return content[:size], exact


def unpack_lzw(raw: bytes, width: int, height: int, samples: int) -> bytes:
    """Decode with libtiff, by way of a TIFF of one strip in memory."""
    bits = struct.pack(f"<{samples}H", *[8] * samples).ljust(6, b"\0")
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, samples, 8 if samples == 1 else 8 + 2 + 9 * 12 + 4),
        (259, 3, 1, LZW),
        (262, 3, 1, 1 if samples == 1 else 2),
        (273, 4, 1, 8 + 2 + 9 * 12 + 4 + len(bits)),
        (277, 3, 1, samples),
        (278, 4, 1, height),
        (279, 4, 1, len(raw)),
    ]
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    head += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4) + bits
    try:
        with Image.open(io.BytesIO(head + raw), formats=("TIFF",)) as image:
            return image.tobytes()
    except MemoryError:
        raise
    except Exception:  # decoders raise anything on broken files
        raise CannotRecreate("damaged") from None


def undo_predictor(samples: Samples) -> Samples:
    """Horizontal differences back to values."""
    return np.asarray(np.cumsum(samples, axis=1, dtype=np.uint8), dtype=np.uint8)


def apply_predictor(samples: Samples) -> Samples:
    """Values to horizontal differences, modulo 256."""
    out = samples.copy()
    out[:, 1:] -= samples[:, :-1]
    return out


def deflate(content: bytes) -> bytes:
    """The same bytes always give the same stream."""
    return zlib.compress(content, LEVEL)
