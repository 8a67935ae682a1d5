"""Hiding places in a PNG's chunks, its compressed stream, its palette and behind its end (W3C PNG third edition)."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from benchmarks.deid import icc_bytes, xmp_text
from benchmarks.deid.canary import Canary, Kind
from benchmarks.deid.ground import swatch
from benchmarks.deid.place import Make, Place, in_file
from benchmarks.deid.tiff_bytes import ascii_, exif_block
from cytoline.images import RGB

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = b"\0\0\0\0IEND\xaeB`\x82"


def places() -> list[Place]:
    """Every place of a PNG."""
    makes: dict[str, Make] = {**_WORDS, **_PROFILES, **_PALETTE, **_PRIVATE, **_STREAM, **_BEHIND}
    carries: dict[str, Kind] = {"tIME": "quad", "sPLT-entries": "token", "PLTE-unused": "token"}
    return [in_file(f"png/{name}", "png", "image.png", make, carries.get(name, "text")) for name, make in makes.items()]


def chunk(name: bytes, body: bytes) -> bytes:
    """Length, name, body, check sum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def rows(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    """Unfiltered scan lines."""
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def header(rgb: RGB, colour: int) -> bytes:
    """Signature and IHDR; ``colour`` is 2 for RGB, 3 for a palette, 6 for RGBA."""
    return SIGNATURE + chunk(b"IHDR", struct.pack(">2I5B", rgb.shape[1], rgb.shape[0], 8, colour, 0, 0, 0))


def png(canary: Canary, before: bytes = b"", data: bytes | None = None, after: bytes = b"") -> bytes:
    """RGB, with chunks before and after the one IDAT chunk, whose body may be given."""
    rgb = swatch(canary.token)
    body = zlib.compress(rows(rgb)) if data is None else data
    return header(rgb, 2) + before + chunk(b"IDAT", body) + after + END


def _chunk_with(name: bytes, head: bytes = b"", packed: bool = False, tail: bytes = b"") -> Make:
    def make(canary: Canary) -> bytes:
        text = canary.text.encode()
        return png(canary, chunk(name, head + (zlib.compress(text * 3) if packed else text) + tail))

    return make


def _raw_profile(canary: Canary) -> bytes:
    """How ImageMagick keeps Exif in old PNGs: hexadecimal in lines of 72."""
    block = b"Exif\0\0" + exif_block({315: ascii_(canary.text)}, {}, {}, {})
    text = block.hex()
    lines = "\n".join(text[i : i + 72] for i in range(0, len(text), 72))
    packed = zlib.compress(f"\nexif\n{len(block):8d}\n{lines}\n".encode())
    return png(canary, chunk(b"zTXt", b"Raw profile type exif\0\0" + packed))


def _exif(canary: Canary) -> bytes:
    return chunk(b"eXIf", exif_block({315: ascii_(canary.text)}, {}, {}, {}))


_WORDS: dict[str, Make] = {
    "tEXt": _chunk_with(b"tEXt", b"Author\0"),
    "tEXt-keyword": _chunk_with(b"tEXt", tail=b"\0yes"),
    "zTXt": _chunk_with(b"zTXt", b"Comment\0\0", packed=True),
    "iTXt": _chunk_with(b"iTXt", b"Patient\0\0\0\0\0"),
    "iTXt-compressed": _chunk_with(b"iTXt", b"Patient\0\x01\0\0\0", packed=True),
    "iTXt-translated-keyword": _chunk_with(b"iTXt", b"Title\0\0\0de\0", tail=b"\0yes"),
    "iTXt-xmp": lambda c: png(c, chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp_text.packet(c.text))),
    "tEXt-after-IDAT": lambda c: png(c, after=chunk(b"tEXt", b"Author\0" + c.text.encode())),
    "eXIf": lambda c: png(c, _exif(c)),
    "eXIf-after-IDAT": lambda c: png(c, after=_exif(c)),
    "zTXt-raw-profile": _raw_profile,
    # Year, month, day and hour: four bytes that are a moment.
    "tIME": lambda c: png(c, chunk(b"tIME", c.quad + b"\x1e\x1e\x07")),
}


_PROFILES: dict[str, Make] = {
    "iCCP-name": lambda c: png(c, chunk(b"iCCP", c.text.encode()[:79] + b"\0\0" + zlib.compress(icc_bytes.profile()))),
    "iCCP-body": lambda c: png(c, chunk(b"iCCP", b"ICC\0\0" + zlib.compress(icc_bytes.profile(copyright_=c.text)))),
    "iCCP-surplus": lambda c: png(c, chunk(b"iCCP", b"ICC\0\0" + zlib.compress(icc_bytes.profile()) + c.text.encode())),
}


def _with_palette(canary: Canary, palette: bytes, more: bytes = b"") -> bytes:
    """64 grey levels, then the given entries, to which no pixel refers."""
    rgb = swatch(canary.token)
    used = bytes(np.repeat(np.arange(0, 256, 4, dtype=np.uint8), 3))
    palette += bytes(-len(palette) % 3)
    body = zlib.compress(rows(rgb[:, :, 1] // 4))
    return header(rgb, 3) + chunk(b"PLTE", used + palette) + more + chunk(b"IDAT", body) + END


def _histogram(canary: Canary) -> bytes:
    words = canary.text.encode().ljust(2 * 64, b"\0")
    return _with_palette(canary, b"", chunk(b"hIST", words[: 2 * 64]))


def _suggested_palette(canary: Canary) -> bytes:
    """Samples of one byte: R, G, B, alpha and a frequency of two."""
    entries = canary.token.encode()
    return png(canary, chunk(b"sPLT", b"palette\0\x08" + entries + bytes(-len(entries) % 6)))


_PALETTE: dict[str, Make] = {
    "PLTE-unused": lambda c: _with_palette(c, c.token.encode()),
    "tRNS-unused": lambda c: _with_palette(c, bytes(3 * 100), chunk(b"tRNS", b"\xff" * 64 + c.text.encode())),
    "hIST": _histogram,
    "sPLT-name": _chunk_with(b"sPLT", tail=b"\0\x08" + bytes(6)),
    "sPLT-entries": _suggested_palette,
    "pCAL": _chunk_with(b"pCAL", tail=b"\0" + bytes(8) + b"\0\x02um\0" + b"0\0" + b"1"),
}

_PRIVATE: dict[str, Make] = {
    "private-chunk": _chunk_with(b"prVt"),
    "private-chunk-after-IDAT": lambda c: png(c, after=chunk(b"prVt", c.text.encode())),
    "caBX-c2pa": _chunk_with(b"caBX", b"\0\0\0\x60jumb"),
    "dSIG": _chunk_with(b"dSIG"),
}


def _hidden_by_alpha(canary: Canary) -> bytes:
    """The colours of pixels that nobody sees spell the text; opaque pixels follow."""
    rgb = swatch(canary.token)
    rgba = np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
    letters = np.frombuffer(canary.text.encode(), np.uint8)
    rgba[0, : len(letters), 0], rgba[0, : len(letters), 3] = letters, 0
    return header(rgb, 6) + chunk(b"IDAT", zlib.compress(rows(rgba))) + END


def _second_frame(canary: Canary) -> bytes:
    """An animation whose second frame, never shown by viewers of stills, holds the text as pixels."""
    rgb = swatch(canary.token)
    letters = canary.text.encode()
    letters += bytes(-len(letters) % 3)
    control = ">5I2H2B"
    first = struct.pack(control, 0, rgb.shape[1], rgb.shape[0], 0, 0, 1, 10, 0, 0)
    second = struct.pack(control, 1, len(letters) // 3, 1, 0, 0, 1, 10, 0, 0)
    frame = chunk(b"fdAT", struct.pack(">I", 2) + zlib.compress(b"\0" + letters))
    return png(
        canary,
        chunk(b"acTL", struct.pack(">2I", 2, 0)) + chunk(b"fcTL", first),
        after=chunk(b"fcTL", second) + frame,
    )


_STREAM: dict[str, Make] = {
    "pixels-under-alpha": _hidden_by_alpha,
    "animation-frame": _second_frame,
    "IDAT-rows-too-many": lambda c: png(c, data=zlib.compress(rows(swatch(c.token)) + c.text.encode() * 2)),
    "IDAT-after-stream": lambda c: png(c, data=zlib.compress(rows(swatch(c.token))) + c.text.encode()),
    "IDAT-second": lambda c: png(c, after=chunk(b"IDAT", c.text.encode())),
}

_BEHIND: dict[str, Make] = {
    "after-IEND-text": lambda c: png(c) + c.text.encode(),
    "after-IEND-chunk": lambda c: png(c) + chunk(b"tEXt", b"Author\0" + c.text.encode()),
    "IEND-body": lambda c: png(c)[: -len(END)] + chunk(b"IEND", c.text.encode()),
}
