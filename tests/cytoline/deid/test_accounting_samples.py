"""Files without anything hidden, of each format that can be accounted for, made by libraries; all must be clean."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from cytoline.deid.accounting import account
from cytoline.images import RGB, png_bytes

CANARY = b"SMITH^JANE12"


def picture(width: int = 101, height: int = 75) -> RGB:
    """Something like stained texture: many tones, soft edges."""
    noise = np.random.default_rng(7).normal(128, 30, (height, width, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 2)
    return np.clip((soft - soft.mean()) * 8 + 128, 0, 255).astype(np.uint8)


def saved(kind: str, mode: str = "RGB", size: tuple[int, int] = (101, 75), **options: Any) -> bytes:
    """Written by Pillow."""
    out = io.BytesIO()
    Image.fromarray(picture(*size)).convert(mode).save(out, kind, **options)
    return out.getvalue()


def paletted(kind: str, colours: int, **options: Any) -> bytes:
    """An image of 64 x 48 that uses all of its palette, and the palette has no more."""
    indices = (np.arange(64 * 48) // 7 % colours).astype(np.uint8).reshape(48, 64)
    image = Image.fromarray(indices, "P")
    image.putpalette([(index * 37 + at * 11) % 256 for index in range(colours) for at in range(3)])
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def tiff(data: Any = None, **options: Any) -> bytes:
    """Written by tifffile without any words."""
    out = io.BytesIO()
    opened = {key: options.pop(key) for key in ("bigtiff", "byteorder") if key in options}
    options = {"photometric": "rgb", "metadata": None, "software": False, "datetime": False} | options
    with tifffile.TiffWriter(out, **opened) as writer:
        writer.write(picture(128, 96) if data is None else data, **options)
    return out.getvalue()


def jpeg_tiles(rgb: RGB, side: int, **options: Any) -> Iterator[bytes]:
    """The picture cut into tiles, each a JPEG without a header."""
    for y in range(0, rgb.shape[0], side):
        for x in range(0, rgb.shape[1], side):
            tile = np.zeros((side, side, 3), np.uint8)
            part = rgb[y : y + side, x : x + side]
            tile[: part.shape[0], : part.shape[1]] = part
            out = io.BytesIO()
            Image.fromarray(tile).save(out, "JPEG", quality=80, **options)
            content = out.getvalue()
            yield b"\xff\xd8" + content[20:]  # Pillow's JFIF header is 18 bytes


Fields = dict[int, tuple[int, list[int] | bytes]]
"""Type and values by tag."""
_CODES = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 7: "B", 13: "I", 16: "Q"}


def built_tiff(pages: list[tuple[Fields, list[bytes]]], big: bool = False, order: str = "<") -> bytes:
    """A TIFF made field by field: for each page its fields and its tiles."""
    word, head, width = ("Q", "Q", 8) if big else ("I", "H", 4)
    mark = b"II" if order == "<" else b"MM"
    out = bytearray(
        mark + struct.pack(order + "H", 43 if big else 42) + (struct.pack(order + "HH", 8, 0) if big else b"")
    )
    link = len(out)
    out += bytes(width)

    def put(content: bytes) -> int:
        out.extend(b"\0" * (len(out) % 2))
        out.extend(content)
        return len(out) - len(content)

    for fields, tiles in pages:
        starts = [put(tile) for tile in tiles]
        where, sizes = (324, 325) if 322 in fields else (273, 279)
        fields = {**fields, where: (16 if big else 4, starts), sizes: (4, [len(tile) for tile in tiles])}
        entries = b""
        for tag, (kind, values) in sorted(fields.items()):
            value = values if isinstance(values, bytes) else struct.pack(f"{order}{len(values)}{_CODES[kind]}", *values)
            count = len(value) // {5: 8}.get(kind, struct.calcsize(_CODES[kind]))
            room = value.ljust(width, b"\0") if len(value) <= width else struct.pack(order + word, put(value))
            entries += struct.pack(f"{order}HH{word}", tag, kind, count) + room
        at = put(struct.pack(order + head, len(fields)) + entries + bytes(width))
        out[link : link + width] = struct.pack(order + word, at)
        link = len(out) - width
    return bytes(out)


def level(power: int, tiles: list[bytes] | None = None, **more: Any) -> tuple[Fields, list[bytes]]:
    """One level of a pyramid of JPEG tiles over a picture of 200 x 136."""
    rgb = np.ascontiguousarray(picture(200, 136)[:: 1 << power, :: 1 << power])
    fields: Fields = {
        254: (4, [1 if power else 0]),
        256: (4, [rgb.shape[1]]),
        257: (4, [rgb.shape[0]]),
        258: (3, [8, 8, 8]),
        259: (3, [7]),
        262: (3, [6]),
        277: (3, [3]),
        322: (3, [64]),
        323: (3, [64]),
        530: (3, [2, 2]),
    }
    return {**fields, **more.get("fields", {})}, tiles or list(jpeg_tiles(rgb, 64))


def pyramid(big: bool = False, order: str = "<") -> bytes:
    """Three levels."""
    return built_tiff([level(0), level(1), level(2)], big, order)


def with_tag(content: bytes, tag: int, kind: int, count: int, value: bytes) -> bytes:
    """A little-endian classic TIFF whose first directory is written again at the end, with one field more."""
    at = struct.unpack_from("<I", content, 4)[0]
    number = struct.unpack_from("<H", content, at)[0]
    entries = [content[at + 2 + 12 * index :][:12] for index in range(number)]
    following = content[at + 2 + 12 * number :][:4]
    out = content + b"\0" * (len(content) % 2)
    room = value.ljust(4, b"\0")
    if len(value) > 4:
        room, out = struct.pack("<I", len(out)), out + value + b"\0" * (len(value) % 2)
    entries.append(struct.pack("<HHI", tag, kind, count) + room)
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry)[0])
    directory = struct.pack("<H", number + 1) + b"".join(entries) + following
    return out[:4] + struct.pack("<I", len(out)) + out[8:] + directory


CLEAN = {
    "jpeg": lambda: saved("JPEG"),
    "jpeg grey": lambda: saved("JPEG", "L", quality=95),
    "jpeg cmyk": lambda: saved("JPEG", "CMYK"),
    "jpeg 4:4:4": lambda: saved("JPEG", quality=97, subsampling=0),
    "jpeg 4:2:2": lambda: saved("JPEG", subsampling=1, optimize=True),
    "jpeg with restarts": lambda: saved("JPEG", restart_marker_blocks=3),
    "jpeg larger than a chunk": lambda: saved("JPEG", size=(400, 300), quality=98, subsampling=0),
    "jpeg progressive": lambda: saved("JPEG", progressive=True, quality=95),
    "jpeg progressive with restarts": lambda: saved("JPEG", progressive=True, restart_marker_rows=1),
    "jpeg progressive grey": lambda: saved("JPEG", "L", progressive=True),
    "png": lambda: saved("PNG"),
    "png by the house": lambda: png_bytes(picture()),
    "png grey": lambda: saved("PNG", "L"),
    "png with transparency": lambda: saved("PNG", "RGBA"),
    "png one bit": lambda: saved("PNG", "1"),
    "png with resolution": lambda: saved("PNG", dpi=(600, 600)),
    "png 16 bits": lambda: bytes(cv2.imencode(".png", picture().astype(np.uint16) * 257)[1]),
    "png 256 colours": lambda: paletted("PNG", 256),
    "png 5 colours": lambda: paletted("PNG", 5),
    "bmp": lambda: saved("BMP"),
    "bmp 32 bits": lambda: saved("BMP", "RGBA"),
    "bmp 256 colours": lambda: paletted("BMP", 256),
    "tiff": tiff,
    "tiff big-endian": lambda: tiff(byteorder=">"),
    "bigtiff": lambda: tiff(bigtiff=True),
    "tiff strips": lambda: tiff(rowsperstrip=7),
    "tiff deflate tiles": lambda: tiff(compression="zlib", tile=(64, 64)),
    "tiff deflate tiles, predictor, edges": lambda: tiff(
        picture(200, 136), compression="zlib", predictor=True, tile=(64, 64)
    ),
    "tiff planar": lambda: tiff(np.ascontiguousarray(picture().transpose(2, 0, 1)), planarconfig="separate"),
    "tiff by Pillow": lambda: saved("TIFF"),
    "tiff LZW": lambda: saved("TIFF", compression="tiff_lzw"),
    "tiff LZW large": lambda: saved("TIFF", size=(300, 200), compression="tiff_lzw"),
    "tiff PackBits": lambda: saved("TIFF", compression="packbits"),
    "tiff JPEG with shared tables": lambda: saved("TIFF", size=(112, 80), compression="jpeg"),
    "tiff with resolution": lambda: tiff(resolution=(40000, 40000), resolutionunit="CENTIMETER"),
    "pyramid": pyramid,
    "pyramid, BigTIFF": lambda: pyramid(big=True),
    "pyramid, big-endian": lambda: pyramid(order=">"),
}
"""By name; called when needed."""


@pytest.mark.parametrize("name", CLEAN)
def test_a_file_of_pixels_is_clean(name: str) -> None:
    assert account(CLEAN[name]()) == []
