"""A JPEG tile made self-contained and bare: frame, the tables that it uses, scan; the coded pixels stay bit for bit.

The tables come into each tile (some 600 bytes) instead of a shared JPEGTables tag: libjpeg keeps tables from tile to
tile, so a tile that had to be coded anew with its own would spoil those after it in libtiff.
Sources: ITU T.81, annex B; TIFF Technical Note 2 (JPEG in TIFF).
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cytoline.deid import jpeg
from cytoline.deid.slide.refusal import CannotRecreate

Samples = NDArray[np.uint8]
"""Height x width x samples, as stored: YCbCr is not turned into RGB."""
Sampling = tuple[int, int]

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_STORED = b"\xff\xee\x00\x0eAdobe\0\x64\0\0\0\0\0"
"""Adobe's flag "no colour transformation", by which the decoder hands out what is stored."""
PILLOW_SAMPLING: dict[Sampling, str] = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0"}
_LARGEST_TABLES = 65536
_SEQUENTIAL = frozenset({0xC0, 0xC1})
_IDENTIFIERS = {(0,), (1,), (0, 1, 2), (1, 2, 3), (82, 71, 66)}
_CODED = re.compile(rb"(?:[^\xff]+|\xff[\x00\xd0-\xd7])*+", re.DOTALL)


@dataclass(frozen=True)
class JpegTile:
    """Parts of one tile that passed."""

    plain: bytes
    """Self-contained: SOI, tables, frame, scans, EOI."""
    width: int
    height: int
    components: int
    sampling: Sampling
    """Of the first component; that of the others is 1 x 1."""
    quantisers: tuple[int, ...]
    """Table number of each component."""


def shared_tables(content: bytes) -> bytes:
    """The segments in a JPEGTables tag, without SOI and EOI.  Raises ``CannotRecreate``."""
    if not content:
        return b""
    if len(content) > _LARGEST_TABLES or content[:2] != _SOI or content[-2:] != _EOI:
        raise CannotRecreate("damaged")
    return content[2:-2]


def bare(tile: bytes, tables: bytes) -> JpegTile:
    """Strip a tile of all that is not needed.  Raises ``jpeg.OddJpegError`` for what is not plain sequential JPEG."""
    if tile[:2] != _SOI:
        raise jpeg.OddJpegError("no start")
    parts = _parts(jpeg.rewrite(_SOI + tables + tile[2:]))
    known: dict[tuple[int, int], bytes] = {}
    restart = frame = scans = b""
    used: set[tuple[int, int]] = set()
    for marker, body, coded in parts:
        if scans and marker != jpeg.SOS:
            raise jpeg.OddJpegError("tables between scans")
        if marker in (jpeg.DQT, jpeg.DHT):
            known.update(_split(marker, body))
        elif marker == jpeg.DRI:
            restart = body
        elif marker in _SEQUENTIAL:
            frame = body
            used |= {(jpeg.DQT, number) for number in body[8::3]}
            head = _segment(marker, body)
        elif marker == jpeg.SOS:
            used |= _scan_tables(body)
            scans += _segment(marker, body) + coded
        elif marker != jpeg.APP14:
            raise jpeg.OddJpegError("coding")
    if not frame or not scans or len(restart) not in (0, 2) or not used <= known.keys():
        raise jpeg.OddJpegError("tables")
    defined = b"".join(_segment(marker, known[marker, number]) for marker, number in sorted(used, reverse=True))
    defined += _segment(jpeg.DRI, restart) if any(restart) else b""
    return _described(frame, _SOI + defined + head + scans + _EOI)


def stored_samples(plain: bytes) -> Samples:
    """Decode a self-contained tile without a change of colour space.  Raises ``jpeg.OddJpegError``."""
    return _samples(_decode(plain))


def read(tile: JpegTile) -> tuple[Samples, bool]:
    """The samples, and whether all coded bytes are needed for them.  Raises ``jpeg.OddJpegError``."""
    pixels = _decode(tile.plain)
    try:
        return _samples(pixels), not jpeg.may_hide_words(tile.plain, _decode)
    except jpeg.OddJpegError:  # changed on purpose it need not decode
        return _samples(pixels), False


def _decode(plain: bytes) -> Samples:
    """Height x width x 1: a pixel's three samples side by side in one number, which compares four times as fast."""
    try:
        with Image.open(io.BytesIO(_SOI + _STORED + plain[2:]), formats=("JPEG",)) as image:
            if image.mode == "L":
                return np.asarray(image, dtype=np.uint8)[:, :, None]
            content = image.tobytes("raw", "RGBX")
            return np.frombuffer(content, np.uint32).reshape(image.height, image.width, 1)  # type: ignore[return-value]
    except MemoryError:
        raise
    except Exception:  # decoders raise anything on broken files
        raise jpeg.OddJpegError("does not decode") from None


def _samples(pixels: Samples) -> Samples:
    return pixels if pixels.dtype == np.uint8 else pixels.view(np.uint8)[:, :, :3]


def encode(samples: Samples, like: JpegTile) -> bytes:
    """Code samples anew with the quantisation and sampling of ``like``: what did not change stays nearly as it was."""
    with Image.open(io.BytesIO(like.plain), formats=("JPEG",)) as image:
        tables = image.quantization  # type: ignore[attr-defined]
    wanted = [tables[number] for number in like.quantisers]
    out = io.BytesIO()
    if like.components == 1:
        Image.fromarray(samples[:, :, 0]).save(out, "JPEG", qtables=wanted)
    else:
        # Labelled YCbCr whatever it is: the encoder then stores the samples as they are.
        height, width = samples.shape[:2]
        labelled = Image.frombytes("YCbCr", (width, height), np.ascontiguousarray(samples).tobytes())
        labelled.save(out, "JPEG", qtables=wanted, subsampling=PILLOW_SAMPLING[like.sampling])
    return bare(out.getvalue(), b"").plain


def _parts(rewritten: bytes) -> list[tuple[int, bytes, bytes]]:
    """(marker, body, coded bytes after it) of a file that ``jpeg.rewrite`` made."""
    parts, at = [], 2
    while rewritten[at : at + 2] != _EOI:
        marker, end = rewritten[at + 1], at + 2 + int.from_bytes(rewritten[at + 2 : at + 4], "big")
        body, start = rewritten[at + 4 : end], end
        if marker == jpeg.SOS and (coded := _CODED.match(rewritten, end)):
            end = coded.end()
        parts.append((marker, body, rewritten[start:end]))
        at = end
    return parts


def _split(marker: int, body: bytes) -> dict[tuple[int, int], bytes]:
    """The tables of one segment by number; their lengths must add up."""
    tables, at = {}, 0
    while at < len(body):
        kind, number = body[at] >> 4, body[at] & 15
        size = 1 + 64 * (1 + kind) if marker == jpeg.DQT else 17 + sum(body[at + 1 : at + 17])
        if at + size > len(body) or kind > 1 or number > 3:
            raise jpeg.OddJpegError("table")
        tables[marker, number if marker == jpeg.DQT else body[at]] = body[at : at + size]
        at += size
    return tables


def _scan_tables(body: bytes) -> set[tuple[int, int]]:
    """Huffman tables that a sequential scan names."""
    if not body or len(body) != 4 + 2 * body[0] or body[-3:] != b"\x00\x3f\x00":
        raise jpeg.OddJpegError("scan")
    selectors = body[2 : 1 + 2 * body[0] : 2]
    return {(jpeg.DHT, both >> 4) for both in selectors} | {(jpeg.DHT, 0x10 | both & 15) for both in selectors}


def _described(frame: bytes, plain: bytes) -> JpegTile:
    components, identifiers = frame[5], tuple(frame[6::3])
    factors = [(item >> 4, item & 15) for item in frame[7::3]]
    # What a frame may say freely (names of the components, a lone one's sampling) is held to a list too.
    if frame[0] != 8 or identifiers not in _IDENTIFIERS or any(factor != (1, 1) for factor in factors[1:]):
        raise jpeg.OddJpegError("frame")
    if jpeg.verify(plain) is not None:
        raise jpeg.OddJpegError("check")
    return JpegTile(
        plain=plain,
        height=int.from_bytes(frame[1:3], "big"),
        width=int.from_bytes(frame[3:5], "big"),
        components=components,
        sampling=factors[0],
        quantisers=tuple(frame[8::3]),
    )


def _segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body
