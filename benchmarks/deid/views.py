"""The ways to look at a file's bytes in which words can hide from a plain search.

Every view is bounded: what a header claims is never believed, and a stream that would grow too large is cut off
and reported as not fully searched.
"""

from __future__ import annotations

import base64
import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

BUDGET = 128 * 2**20
"""Bytes that all streams of one file may inflate to, taken together."""
MAX_PIXELS = 60_000_000
MAX_FRAMES = 32
_LEAST = 8
"""Bytes below which a stream is noise that happened to look like one."""
_STEP = 2**20
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{40,}={0,2}")
_PNG = b"\x89PNG\r\n\x1a\n"
_LOCAL = b"PK\x03\x04"


@dataclass
class Budget:
    """What is left to spend; ``complete`` turns false once something had to be left out."""

    left: int = BUDGET
    complete: bool = True


def inner_data(data: bytes, budget: Budget) -> Iterator[tuple[str, bytes]]:
    """(kind of view, bytes) of everything packed into ``data``."""
    yield from (("inflated", stream) for stream in _zlib_streams(data, budget))
    yield from (("zip", stream) for stream in _zip_members(data, budget))
    if data[128:132] == b"DICM":
        yield "inflated", _deflated_dicom(data, budget)
    if data.startswith(_PNG):
        for joined in _png_streams(data):
            yield from (("inflated", stream) for stream in _zlib_streams(joined, budget))
    yield from (("base64", decoded) for decoded in _base64_runs(data))
    if data[:2] == b"BM":
        yield "padding", _bmp_padding(data)


def frames(data: bytes, budget: Budget) -> Iterator[bytes]:
    """The decoded pixels of each frame: interleaved, then channel by channel."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(data))
        except UnidentifiedImageError:
            return
        except Exception:  # an image, but too large or too broken to be looked at
            budget.complete = False
            return
        try:
            count = int(getattr(image, "n_frames", 1))
            budget.complete &= count <= MAX_FRAMES
            for number in range(min(count, MAX_FRAMES)):
                image.seek(number)
                if image.width * image.height > MAX_PIXELS:
                    budget.complete = False
                    return
                image.load()
                pixels = np.asarray(image)
                yield pixels.tobytes()
                if pixels.ndim == 3:
                    yield from (pixels[:, :, channel].tobytes() for channel in range(pixels.shape[2]))
        except Exception:  # broken pixels cannot be searched, so nothing may be claimed about them
            budget.complete = False


def _inflate(data: bytes, at: int, bits: int, budget: Budget) -> bytes:
    """What the stream at ``at`` holds up to an error, its end or the budget's."""
    unpacker, out = zlib.decompressobj(bits), bytearray()
    try:
        pending = data[at : at + _STEP]
        at += _STEP
        while pending and not unpacker.eof:
            if budget.left <= 0:
                budget.complete = False
                break
            piece = unpacker.decompress(pending, min(_STEP, budget.left))
            budget.left -= len(piece)
            out += piece
            pending = unpacker.unconsumed_tail
            if not pending and at < len(data):
                pending = data[at : at + _STEP]
                at += _STEP
            elif not piece:
                break
    except zlib.error:
        pass  # what came before the error was read all the same
    return bytes(out)


def _zlib_streams(data: bytes, budget: Budget) -> Iterator[bytes]:
    """Wherever two bytes could be a zlib header (RFC 1950, 2.2) or a gzip header (RFC 1952)."""
    for match in re.finditer(rb"[\x08\x18\x28\x38\x48\x58\x68\x78](?=([\x00-\x1f\x40-\x5f\x80-\x9f\xc0-\xdf]))", data):
        at = match.start()
        if (data[at] * 256 + data[at + 1]) % 31 == 0:
            stream = _inflate(data, at, zlib.MAX_WBITS, budget)
            if len(stream) >= _LEAST:
                yield stream
    for match in re.finditer(rb"\x1f\x8b\x08", data):
        yield _inflate(data, match.start(), 16 + zlib.MAX_WBITS, budget)


def _zip_members(data: bytes, budget: Budget) -> Iterator[bytes]:
    """By local headers, wherever they lie: also behind an image's end."""
    at = data.find(_LOCAL)
    while at >= 0:
        if len(data) >= at + 30:
            method, name, extra = (int(struct.unpack_from("<H", data, at + place)[0]) for place in (8, 26, 28))
            if method == 8:
                yield _inflate(data, at + 30 + name + extra, -zlib.MAX_WBITS, budget)
            elif method != 0:
                budget.complete = False
        at = data.find(_LOCAL, at + 4)


def _deflated_dicom(data: bytes, budget: Budget) -> bytes:
    """PS3.5 A.5: everything behind the file meta information is one raw stream."""
    if data[132:140] != b"\x02\0\0\0UL\x04\0":
        return b""
    return _inflate(data, 144 + int.from_bytes(data[140:144], "little"), -zlib.MAX_WBITS, budget)


def _png_streams(data: bytes) -> Iterator[bytes]:
    """The bodies of all IDAT chunks in one piece, and those of all fdAT chunks."""
    parts: dict[bytes, bytearray] = {b"IDAT": bytearray(), b"fdAT": bytearray()}
    at = len(_PNG)
    while at + 8 <= len(data):
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if name in parts:
            parts[name] += data[at + 8 + (4 if name == b"fdAT" else 0) : at + 8 + size]
        at += 12 + size
    yield from (bytes(part) for part in parts.values() if part)


def _base64_runs(data: bytes) -> Iterator[bytes]:
    for match in _BASE64.finditer(data):
        run = match.group().rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        run = run[: len(run) - (len(run) % 4 == 1)]
        yield base64.b64decode(run + b"=" * (-len(run) % 4))


def _bmp_padding(data: bytes) -> bytes:
    """The bytes that fill each row up to a multiple of four, in both orders of rows."""
    if len(data) < 54:
        return b""
    start, width, height, depth = (*struct.unpack_from("<I4xii", data, 10), *struct.unpack_from("<H", data, 28))
    used = (abs(width) * depth + 7) // 8
    row = used + -used % 4
    if not 0 < used < len(data) or used == row:
        return b""
    pads = [data[at + used : at + row] for at in range(start, min(len(data), start + abs(height) * row), row)]
    return b"".join(pads) + b"".join(reversed(pads))
