"""Slides with secrets in them, written tag by tag for the tests of slides; how those look at what is made of them."""

from __future__ import annotations

import base64
import io
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import openslide
import tifffile
from PIL import Image

from cytoline.images import RGB

SECRET = b"Rosalind Achterberg 1957-03-28"
TILE = 64
SIZE = (600, 440)
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 13: 4, 16: 8}
CODES = {3: "H", 4: "I", 5: "I", 13: "I", 16: "Q"}

Coder = Callable[[RGB], bytes]


@dataclass
class Planted:
    """A page: values by tag as (kind, numbers or bytes), tiles, and pages below it."""

    tags: dict[int, tuple[int, Sequence[int] | bytes]]
    tiles: list[bytes]
    subs: list[Planted] = field(default_factory=list)
    places: tuple[int, int] = (324, 325)


def tiff(
    pages: Sequence[Planted],
    order: str = "<",
    big: bool = False,
    unlinked: Sequence[Planted] = (),
    gap: bytes = b"",
    tail: bytes = b"",
) -> bytes:
    """A TIFF of these pages; ``unlinked`` ones are written but no IFD leads to them."""
    number = "Q" if big else "I"
    magic = (b"II" if order == "<" else b"MM") + struct.pack(
        order + ("HHH" if big else "H"), *((43, 8, 0) if big else (42,))
    )
    out = bytearray(magic + struct.pack(order + number, 0))
    link = len(magic)
    for page in pages:
        start, after = _add(out, page, order, big)
        out[link : link + (8 if big else 4)] = struct.pack(order + number, start)
        link = after
        out += gap
    for page in unlinked:
        _add(out, page, order, big)
    return bytes(out + tail)


def _add(out: bytearray, page: Planted, order: str, big: bool) -> tuple[int, int]:
    """Append a page; where its IFD is, and where that keeps the place of the next."""
    tags = dict(page.tags)
    if page.tiles:
        offsets = []
        for tile in page.tiles:
            offsets.append(len(out))
            out += tile
        tags.setdefault(page.places[0], (16 if big else 4, offsets))
        tags.setdefault(page.places[1], (4, [len(tile) for tile in page.tiles]))
    if page.subs:
        tags[330] = (13, [_add(out, sub, order, big)[0] for sub in page.subs])
    entries = b""
    inline = 8 if big else 4
    for tag, (kind, values) in sorted(tags.items()):
        raw = values if isinstance(values, bytes) else struct.pack(f"{order}{len(values)}{CODES[kind]}", *values)
        head = struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, len(raw) // SIZES[kind])
        if len(raw) > inline:
            place = len(out)
            out += raw
            raw = struct.pack(order + ("Q" if big else "I"), place)
        entries += head + raw.ljust(inline, b"\0")
    start = len(out)
    out += struct.pack(order + ("Q" if big else "H"), len(tags)) + entries + bytes(inline)
    return start, len(out) - inline


def picture(size: tuple[int, int] = SIZE) -> RGB:
    """Coloured blobs on a light ground, smooth enough for JPEG, unlike each other everywhere."""
    y, x = np.mgrid[: size[1], : size[0]].astype(np.float32)
    parts = [200 + 40 * np.sin(x / 37 + y / 53), 150 + 60 * np.sin(x / 23 - y / 41), 190 + 50 * np.cos(x / 61 + y / 29)]
    return np.stack(parts, axis=2).astype(np.uint8)


def label_picture(size: tuple[int, int]) -> RGB:
    rgb = np.full((size[1], size[0], 3), 250, np.uint8)
    cv2.putText(rgb, "R ACHTERBERG", (5, size[1] // 2), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (0, 0, 0), 3)
    return rgb


def half(rgb: RGB, times: int) -> RGB:
    return np.asarray(
        cv2.resize(rgb, (rgb.shape[1] // times, rgb.shape[0] // times), interpolation=cv2.INTER_AREA), np.uint8
    )


def noise(shape: tuple[int, ...]) -> RGB:
    return np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)


def tiles_of(rgb: RGB, code: Coder, tile: int = TILE) -> list[bytes]:
    """Coded tiles; what lies beyond the picture is noise, in which anything could be written."""
    height, width = rgb.shape[:2]
    across, down = -(-width // tile), -(-height // tile)
    whole = noise((down * tile, across * tile, 3))
    whole[:height, :width] = rgb
    return [
        code(np.ascontiguousarray(whole[y : y + tile, x : x + tile]))
        for y in range(0, down * tile, tile)
        for x in range(0, across * tile, tile)
    ]


def jpeg_coder(subsampling: str = "4:2:0", spoil: Callable[[bytes], bytes] = lambda tile: tile, **more: int) -> Coder:
    """YCbCr JPEG without the tables that ``jpeg_tables`` has (with them if ``streamtype`` is 0)."""

    def code(rgb: RGB) -> bytes:
        out = io.BytesIO()
        Image.fromarray(rgb).save(out, "JPEG", quality=80, subsampling=subsampling, **({"streamtype": 2} | more))
        return spoil(out.getvalue())

    return code


def jpeg_tables(subsampling: str = "4:2:0") -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture((16, 16))).save(out, "JPEG", quality=80, subsampling=subsampling, streamtype=1)
    return out.getvalue()


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


def spoiled(tile: bytes) -> bytes:
    """Secrets in a comment, an Exif segment and behind the end."""
    return tile[:2] + segment(0xFE, SECRET) + segment(0xE1, b"Exif\0\0" + SECRET) + tile[2:] + SECRET


def page(
    rgb: RGB, tiles: list[bytes], compression: int, photometric: int, **tags: tuple[int, Sequence[int] | bytes]
) -> Planted:
    """``tags`` as ``t270=(2, b"...")``; (0, b"") takes one away."""
    given: dict[int, tuple[int, Sequence[int] | bytes]] = {
        254: (4, [0]),
        256: (4, [rgb.shape[1]]),
        257: (4, [rgb.shape[0]]),
        258: (3, [8, 8, 8]),
        259: (3, [compression]),
        262: (3, [photometric]),
        277: (3, [3]),
        284: (3, [1]),
        322: (3, [TILE]),
        323: (3, [TILE]),
    }
    given |= {int(name[1:]): value for name, value in tags.items()}
    return Planted({tag: value for tag, value in given.items() if value[0]}, tiles)


def stripped(rgb: RGB, kind: int, **tags: tuple[int, Sequence[int] | bytes]) -> Planted:
    """A label or macro page as scanners write it: one strip."""
    made = page(
        rgb, [rgb.tobytes()], 1, 2, t254=(4, [kind]), t322=(0, b""), t323=(0, b""), t278=(4, [rgb.shape[0]]), **tags
    )
    made.places = (273, 279)
    return made


def planted_svs(**layout: object) -> bytes:
    """An SVS as scanners make it, with a secret in every place that DEID.md names."""
    rgb = picture()
    describing = b"Aperio Image Library v12.2\r\n600x440|User = %s|MPP = 0.2532|Date = 01/02/03" % SECRET
    wide = SECRET.decode().encode("utf-16-le")
    tables = jpeg_tables()
    secrets: dict[str, tuple[int, Sequence[int] | bytes]] = {
        "t270": (2, describing + b"\0"),
        "t305": (2, SECRET + b"\0"),
        "t306": (2, b"1957:03:28 00:00:00\0"),
        "t315": (2, SECRET + b"\0"),
        "t316": (2, base64.b64encode(SECRET) + b"\0"),
        "t347": (7, tables[:2] + segment(0xFE, SECRET) + segment(0xE2, b"ICC_PROFILE\0\1\1" + SECRET) + tables[2:]),
        "t700": (1, b"<x:xmpmeta><dc:creator>" + SECRET + b"</dc:creator></x:xmpmeta>"),
        "t34675": (7, zlib.compress(SECRET) + wide),
        "t65000": (2, SECRET + b"\0"),
        "t65123": (1, wide),
    }
    code = jpeg_coder(spoil=spoiled)
    levels = [page(part, tiles_of(part, code), 7, 6, **secrets) for part in (rgb, half(rgb, 2), half(rgb, 4))]
    levels[0].subs = [page(rgb[:100, :100], [SECRET] * 4, 1, 2, t270=(2, SECRET))]
    aside = label_picture((150, 110))  # tiled, marked as a reduction, of a level's very size
    pages = [
        levels[0],
        stripped(half(rgb, 4), 0, t270=(2, describing)),
        page(label_picture((300, 220)), tiles_of(label_picture((300, 220)), jpeg_coder(streamtype=0)), 7, 6),
        levels[1],
        page(aside, tiles_of(aside, jpeg_coder(streamtype=0)), 7, 6, t254=(4, [1])),
        levels[2],
        stripped(label_picture((200, 200)), 1, t270=(2, SECRET)),
        stripped(label_picture((400, 200)), 9, t270=(2, SECRET)),
    ]
    return tiff(
        pages, unlinked=[stripped(label_picture((64, 64)), 0, t270=(2, SECRET))], gap=SECRET, tail=SECRET, **layout
    )  # type: ignore[arg-type]


def leaks(content: bytes) -> int:
    """In how many forms the secret is in the file: plain, UTF-16, base64 (any phase), in any deflate stream."""
    words = SECRET.decode()
    needles = [SECRET, SECRET.upper(), SECRET.lower(), words.encode("utf-16-le"), words.encode("utf-16-be")]
    needles += [base64.b64encode(bytes(pad) + SECRET)[8:-8] for pad in range(3)] + [b"1957:03:28", b"Achterberg"]
    streams = [content]
    for start in re.finditer(rb"[\x08\x18\x28\x38\x48\x58\x68\x78][\x01\x5e\x9c\xda\x20\x7d\xbb\xf9]", content):
        try:
            streams.append(zlib.decompressobj().decompress(content[start.start() :], 1 << 20))
        except zlib.error:
            continue
    return sum(needle in stream for needle in needles for stream in streams)


def made(tmp_path: Path, content: bytes) -> tuple[Path, Path]:
    """Where a slide of this content lies, and where one made anew of it goes."""
    source, target = tmp_path / "source.svs", tmp_path / "out" / "target.tif"
    source.write_bytes(content)
    return source, target


def whole(path: Path, level: int = 0) -> RGB:
    with openslide.OpenSlide(path) as slide:
        region = slide.read_region((0, 0), level, slide.level_dimensions[level])
        return np.asarray(region.convert("RGB"), np.uint8)


def raw_tiles(path: Path, number: int = 0) -> list[bytes]:
    with tifffile.TiffFile(path) as file:
        found = file.pages[number]
        content = path.read_bytes()
        return [content[at : at + n] for at, n in zip(found.dataoffsets, found.databytecounts, strict=True)]


def is_inner(number: int) -> bool:
    """Whether a base tile lies wholly inside the picture."""
    y, x = divmod(number, -(-SIZE[0] // TILE))
    return (x + 1) * TILE <= SIZE[0] and (y + 1) * TILE <= SIZE[1]
