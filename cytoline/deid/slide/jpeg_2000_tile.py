"""A JPEG 2000 codestream decoded to RGB.  Sources: ITU T.800, annexes A and I (the JP2 boxes laid around it)."""

from __future__ import annotations

import io
import struct
from typing import Literal

import numpy as np
from PIL import Image

from cytoline.deid.slide.refusal import CannotRecreate
from cytoline.images import RGB

Space = Literal["RGB", "YCbCr"]
_ENUMERATED = {"RGB": 16, "YCbCr": 18}
_SIZE = struct.Struct(">2sHHIIIIIIIIH")
"""SOC, then SIZ up to the number of components."""


def decode(codestream: bytes, space: Space, size: tuple[int, int]) -> RGB:
    """Pixels of exactly ``size`` = (width, height), three components.  Raises ``CannotRecreate``."""
    if len(codestream) < 2 + _SIZE.size or codestream[:4] != b"\xff\x4f\xff\x51":
        raise CannotRecreate("damaged")
    _, _, _, x1, y1, x0, y0, *_, components = _SIZE.unpack_from(codestream, 2)
    if (x1, y1) != size:  # before anything is decoded
        raise CannotRecreate("damaged")
    if components != 3 or x0 or y0:
        raise CannotRecreate("samples")
    header = _box(b"ihdr", struct.pack(">IIHBBBB", y1, x1, components, 7, 7, 0, 0))
    header += _box(b"colr", struct.pack(">BBBI", 1, 0, 0, _ENUMERATED[space]))
    boxes = _box(b"jP  ", b"\r\n\x87\n") + _box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + _box(b"jp2h", header)
    try:
        with Image.open(io.BytesIO(boxes + _box(b"jp2c", codestream)), formats=("JPEG2000",)) as image:
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except MemoryError:
        raise
    except Exception:  # decoders raise anything on broken files
        raise CannotRecreate("damaged") from None


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, name) + content
