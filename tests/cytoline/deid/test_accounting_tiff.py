"""Words planted in each place of a TIFF or slide where readers do not look: every one must be found, at its place."""

from __future__ import annotations

import io
import mmap
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from test_accounting_jpeg import segment
from test_accounting_samples import (
    CANARY,
    Fields,
    built_tiff,
    jpeg_tiles,
    level,
    picture,
    pyramid,
    saved,
    tiff,
    with_tag,
)

from cytoline.deid.accounting import account
from cytoline.deid.finding import Finding

SHARED = Path("../shared/data/phi")
WORDY = [
    *range(269, 273), 285, 305, 306, 315, 316, 320, 333, 337, 700, 32781, 32932, 33432, 33723, 34377, 34665, 34853,
    34675, 37500, 37510, 37724, *range(40091, 40096), 42016, *range(42032, 42038), 42112, 42113, 50341, 65000, 65420,
    65480,
]  # fmt: skip


def edited(edit: Callable[[bytes], bytes]) -> bytes:
    """A pyramid whose last base tile is another one."""
    fields, tiles = level(0)
    return built_tiff([(fields, [*tiles[:-1], edit(tiles[-1])]), level(1)])


def field(**more: Any) -> bytes:
    """A pyramid with other fields in its first page, written ``t256=(type, values)``."""
    fields: Fields = {int(name[1:]): value for name, value in more.items()}
    return built_tiff([level(0, fields=fields), level(1)])


def tables(more: bytes) -> tuple[int, bytes]:
    return 7, b"\xff\xd8" + more + b"\xff\xd9"


def grey(side: int, compression: int, tile: bytes, **more: int) -> bytes:
    """One tile of 16 x 16 grey pixels over a picture of so many."""
    fields: Fields = {
        256: (4, [side]), 257: (4, [side]), 258: (3, [8]), 259: (3, [compression]), 262: (3, [1]), 322: (3, [16]),
        323: (3, [16]),
    }  # fmt: skip
    return built_tiff([({**fields, **{int(name[1:]): (3, [value]) for name, value in more.items()}}, [tile])])


def page(width: int, height: int, role: int = 1, tiled: bool = True) -> tuple[Fields, list[bytes]]:
    """A further page of JPEG, such as a label."""
    fields, _ = level(0)
    fields = {**fields, 254: (4, [role]), 256: (4, [width]), 257: (4, [height])}
    rgb = picture(width, height)
    if tiled:
        return fields, list(jpeg_tiles(rgb, 64))
    del fields[322], fields[323]
    content = saved("JPEG", size=(width, height), quality=80)
    return {**fields, 278: (4, [height])}, [content[:2] + content[20:]]


def unlinked() -> bytes:
    """A second directory that nothing points to."""
    content = bytearray(pyramid())
    at = struct.unpack_from("<I", content, 4)[0]
    link = at + 2 + 12 * struct.unpack_from("<H", content, at)[0]
    content[link : link + 4] = bytes(4)
    return bytes(content)


def looped() -> bytes:
    content = bytearray(pyramid())
    at = struct.unpack_from("<I", content, 4)[0]
    link = at + 2 + 12 * struct.unpack_from("<H", content, at)[0]
    content[link : link + 4] = struct.pack("<I", at)
    return bytes(content)


def overlapping() -> bytes:
    """The tile begins inside the header."""
    content = grey(16, 1, bytes(256))
    return content.replace(struct.pack("<HHII", 324, 4, 1, 8), struct.pack("<HHII", 324, 4, 1, 4))


def sub_directory(fields: Fields) -> bytes:
    """A grey picture with a reduction as a SubIFD, which holds more."""
    small: Fields = {
        254: (4, [1]), 256: (4, [8]), 257: (4, [8]), 258: (3, [8]), 259: (3, [1]), 262: (3, [1]), 273: (4, [0]),
        279: (4, [64]), **fields,
    }  # fmt: skip
    big: Fields = {
        256: (4, [16]), 257: (4, [16]), 258: (3, [8]), 259: (3, [1]), 262: (3, [1]), 330: (13, [0])
    }  # fmt: skip
    content = bytearray(built_tiff([(big, [bytes(256)]), (small, [bytes(64)])]))
    at = struct.unpack_from("<I", content, 4)[0]
    number = struct.unpack_from("<H", content, at)[0]
    link = at + 2 + 12 * number
    pointer = next(at + 2 + 12 * n for n in range(number) if content[at + 2 + 12 * n :][:2] == struct.pack("<H", 330))
    content[pointer + 8 : pointer + 12], content[link : link + 4] = content[link : link + 4], bytes(4)
    return bytes(content)


PACKED = zlib.compress(bytes(256))
IDLE_TABLE = segment(0xDB, b"\3" + CANARY * 5 + b"MORE")
EDGE = bytearray(256)
EDGE[255:256] = b"J"
CODESTREAM = b"\xff\x4f" + segment(0x51, bytes(38)) + segment(0x64, CANARY) + b"\xff\xd9"
PLANTED: dict[str, tuple[Callable[[], bytes], tuple[str, str]]] = {
    **{
        f"tag {tag}": (lambda tag=tag: with_tag(tiff(), tag, 2, 12, CANARY), (f"page0/tag{tag}", "metadata"))  # type: ignore[misc]
        for tag in WORDY
    },
    "a short word in its entry": (lambda: with_tag(tiff(), 65001, 2, 4, b"JANE"), ("page0/tag65001", "metadata")),
    "a word in a second page": (
        lambda: built_tiff([level(0), level(1, fields={270: (2, CANARY)})]),
        ("page1/tag270", "metadata"),
    ),
    "behind a short value": (
        lambda: tiff().replace(struct.pack("<HHII", 259, 3, 1, 1), struct.pack("<HHIHH", 259, 3, 1, 1, 0x4A41)),
        ("page0/tag259", "unused"),
    ),
    "SubIFD": (lambda: sub_directory({305: (2, CANARY)}), ("page0/sub0/tag305", "metadata")),
    "orientation": (lambda: field(t274=(3, [6])), ("page0/tag274", "value")),
    "orientation of another type": (lambda: field(t274=(2, b"1")), ("page0/tag274", "value")),
    "resolution of digits": (lambda: field(t282=(5, b"19470823")), ("page0/tag282", "value")),
    "reference black and white": (lambda: field(t532=(5, CANARY * 4)), ("page0/tag532", "value")),
    "rows per strip": (lambda: field(t278=(4, b"JANE")), ("page0/tag278", "value")),
    "more bits than samples": (lambda: field(t258=(3, [8] * 9)), ("page0/tag258", "value")),
    "extra samples": (lambda: field(t338=(3, [0x4A41])), ("page0/tag338", "metadata")),
    "strips besides tiles": (lambda: field(t273=(4, [0x4A414E45])), ("page0/tag273", "unused")),
    "label by role": (lambda: built_tiff([level(0), page(100, 68, 9)]), ("page1/tag254", "value")),
    "label by size": (lambda: built_tiff([level(0), page(120, 60)]), ("page1", "metadata")),
    "thumbnail in a strip": (lambda: built_tiff([level(0), page(100, 68, 0, False)]), ("page1", "metadata")),
    "a second page of the same size": (lambda: built_tiff([level(0), level(0)]), ("page1", "metadata")),
    "first page is a reduction": (lambda: built_tiff([page(200, 136)]), ("page0", "metadata")),
    "unlinked directory": (unlinked, ("end", "trailing")),
    "between ranges": (lambda: with_tag(tiff() + CANARY, 284, 3, 1, b"\1\0"), ("ranges", "unused")),
    "alignment byte": (lambda: edited(lambda tile: tile + b"J")[:-1] + b"\0", ("page0/tile/jpeg:end", "trailing")),
    "after the end": (lambda: pyramid() + CANARY, ("end", "trailing")),
    "looped directories": (looped, ("structure", "damaged")),
    "overlapping": (overlapping, ("ranges", "damaged")),
    "wild offset": (lambda: pyramid()[:4] + b"\xf0\xff\xff\xff" + pyramid()[8:], ("structure", "damaged")),
    "COM in a tile": (
        lambda: edited(lambda t: t[:2] + segment(0xFE, CANARY) + t[2:]),
        ("page0/tile/jpeg:COM", "metadata"),
    ),
    "APP1 in a tile": (
        lambda: edited(lambda t: t[:2] + segment(0xE1, CANARY) + t[2:]),
        ("page0/tile/jpeg:APP1", "metadata"),
    ),
    "after a tile's last block": (
        lambda: edited(lambda t: t[:-2] + CANARY + t[-2:]),
        ("page0/tile/jpeg:scan", "unused"),
    ),
    "after a tile's end": (lambda: edited(lambda t: t + CANARY), ("page0/tile/jpeg:end", "trailing")),
    "a larger tile": (
        lambda: edited(lambda t: next(jpeg_tiles(picture(128, 128), 128))),
        ("page0/tile/jpeg:SOF", "value"),
    ),
    "COM in the tables": (lambda: field(t347=tables(segment(0xFE, CANARY))), ("page0/tables/jpeg:COM", "metadata")),
    "tables that no tile uses": (lambda: field(t347=tables(IDLE_TABLE)), ("page0/tables/jpeg:DQT", "unused")),
    "after the tables": (
        lambda: field(t347=(7, b"\xff\xd8\xff\xd9" + CANARY)),
        ("page0/tables/jpeg:end", "trailing"),
    ),
    "uncompressed tile with more": (lambda: grey(16, 1, bytes(256) + CANARY), ("page0/tile", "unused")),
    "uncompressed tile with less": (lambda: grey(16, 1, bytes(250)), ("page0/tile", "damaged")),
    "deflate: more packed bytes": (lambda: grey(16, 8, PACKED + CANARY), ("page0/tile", "unused")),
    "deflate: more pixels": (lambda: grey(16, 8, zlib.compress(bytes(256) + CANARY)), ("page0/tile", "unused")),
    "deflate, old number": (lambda: grey(16, 32946, PACKED + CANARY), ("page0/tile", "unused")),
    "deflate: fewer pixels": (lambda: grey(16, 8, zlib.compress(bytes(255))), ("page0/tile", "damaged")),
    "PackBits: more": (lambda: grey(16, 32773, b"\x81\0\x81\0" + CANARY), ("page0/tile", "unused")),
    "PackBits: nothing, said aloud": (lambda: grey(16, 32773, b"\x80\x81\0\x81\0"), ("page0/tile", "unused")),
    "LZW: more": (lambda: grey(16, 5, bytes.fromhex("80001808") + CANARY), ("page0/tile", "damaged")),
    "beyond the picture": (lambda: grey(10, 1, bytes(EDGE)), ("page0/tile/edge", "unused")),
    "beyond the picture, deflate": (lambda: grey(10, 8, zlib.compress(bytes(EDGE))), ("page0/tile/edge", "unused")),
    "JPEG 2000 comment": (lambda: grey(16, 33005, CODESTREAM), ("page0/tile/jpeg2000:COM", "metadata")),
    "JPEG 2000 at all": (lambda: grey(16, 33003, CODESTREAM), ("page0/tile/jpeg2000:packets", "unsupported")),
    "old JPEG": (lambda: grey(16, 6, bytes(256)), ("page0/tile", "unsupported")),
    "unknown coding": (lambda: grey(16, 50000, bytes(256)), ("page0/tile", "unsupported")),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_word_is_found(name: str) -> None:
    make, (place, why) = PLANTED[name]
    assert Finding(f"tiff:{place}", why) in account(make())  # type: ignore[arg-type]


def test_a_picture_in_a_sub_directory_is_found() -> None:
    assert account(sub_directory({})) == [Finding("tiff:page0/tag330", "metadata")]


def test_a_picture_in_the_part_of_a_tile_that_no_viewer_shows_is_found() -> None:
    def draw(tile: bytes) -> bytes:
        with Image.open(io.BytesIO(tile)) as image:
            pixels = np.array(image.convert("RGB"))
        cv2.putText(pixels, "4471", (14, 50), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)
        return next(jpeg_tiles(pixels, 64))

    assert account(edited(lambda tile: tile)) == []
    assert account(edited(draw)) == [Finding("tiff:page0/tile/jpeg:edge", "unused")]


@pytest.mark.parametrize(("value", "scale"), [(40_000_001, 1000), (123_457, 1), (400, 3), (39_572_616, 1000)])
def test_a_resolution_is_a_number_of_few_digits(value: int, scale: int) -> None:
    packed = struct.pack("<II", value, scale)
    assert Finding("tiff:page0/tag282", "value") in account(field(t282=(5, packed)))


def test_samples_of_16_bits_are_not_vouched_for() -> None:
    content = saved("TIFF", "I;16") if False else tiff()
    assert account(content) == []
    assert Finding("tiff:page0/tag258", "value") in account(field(t258=(3, [16, 16, 16])))


def test_what_lies_beyond_the_picture_may_be_one_colour_or_the_edge_again() -> None:
    assert account(grey(10, 1, bytes(256))) == []
    square = np.pad(np.arange(100, dtype=np.uint8).reshape(10, 10), ((0, 6), (0, 6)), mode="edge")
    assert account(grey(10, 1, square.tobytes())) == []
    differences = np.diff(square, axis=1, prepend=np.uint8(0)).astype(np.uint8)
    assert account(grey(10, 8, zlib.compress(differences.tobytes()), t317=2)) == []


@pytest.mark.parametrize("more", [b"", CANARY])
def test_lzw_with_bytes_behind_the_end(more: bytes) -> None:
    """Strips by libtiff; the words are appended to the only strip, which lies at the file's end or is moved there."""
    from cytoline.deid.accounting.source import SurplusError
    from cytoline.deid.accounting.tiff_packing import unpack_lzw

    content = saved("TIFF", "L", size=(64, 40), compression="tiff_lzw")
    at = struct.unpack_from("<I", content, 4)[0]
    number = struct.unpack_from("<H", content, at)[0]
    entries = {struct.unpack_from("<H", content, at + 2 + 12 * n)[0]: at + 2 + 12 * n for n in range(number)}
    start, size = (struct.unpack_from("<I", content, entries[tag] + 8)[0] for tag in (273, 279))
    packed = content[start : start + size] + more
    if more:
        with pytest.raises(SurplusError):
            unpack_lzw(packed, 64 * 40)
    else:
        assert len(unpack_lzw(packed, 64 * 40)) == 64 * 40


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_words_are_found_in_either_size_and_byte_order(big: bool, order: str) -> None:
    content = built_tiff([level(0, fields={270: (2, CANARY)})], big, order)
    assert account(content) == [Finding("tiff:page0/tag270", "metadata")]


def test_a_million_tiles_that_share_one_range_take_seconds(tmp_path: Path) -> None:
    """Read from a mapped file."""
    side, number = 16 * 1000, 1_000_000
    content = grey(16, 8, zlib.compress(bytes(256)))
    tile = struct.unpack_from("<I", content, content.index(struct.pack("<HHI", 324, 4, 1)) + 8)[0]
    size = len(zlib.compress(bytes(256)))
    values = {256: side, 257: side, 258: 8, 259: 8, 262: 1, 322: 16, 323: 16}
    starts = 8 + size + size % 2
    entries = [(tag, 4 if tag in (256, 257) else 3, 1, value) for tag, value in values.items()]
    entries += [(324, 4, number, starts), (325, 4, number, starts + 4 * number)]
    directory = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHI", *entry[:3]) + struct.pack("<H2x" if entry[1] == 3 else "<I", entry[3]) for entry in entries
    )
    path = tmp_path / "million.tiff"
    data = zlib.compress(bytes(256)) + b"\0" * (size % 2)
    arrays = struct.pack("<I", tile) * number + struct.pack("<I", size) * number
    path.write_bytes(b"II*\0" + struct.pack("<I", starts + 8 * number) + data + arrays + directory + bytes(4))
    began = time.process_time()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert account(mapped) == []
    assert time.process_time() - began < 5


def test_directories_without_end_are_given_up() -> None:
    out = bytearray(b"II*\0" + struct.pack("<I", 8))
    for _ in range(20_000):
        out += struct.pack("<HHHIII", 1, 256, 4, 1, 5, len(out) + 18)
    found = account(bytes(out))
    assert Finding("tiff:structure", "damaged") in found
    assert len(found) < 5000


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data/phi is absent")
@pytest.mark.needs_shared
def test_a_real_slide_is_told_apart_field_by_field() -> None:
    found = account((SHARED / "openslide/tests/fixtures/small.svs").read_bytes())
    assert {Finding("tiff:page0/tag270", "metadata"), Finding("tiff:page1", "metadata")} <= set(found)
    assert not [finding for finding in found if "jpeg" in finding.place or finding.why in ("damaged", "unused")]
