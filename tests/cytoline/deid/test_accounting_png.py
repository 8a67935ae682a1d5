"""Words planted in each place of a PNG where decoders do not look: every one must be found, at its place."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_accounting_samples import CANARY, picture

from cytoline.deid.accounting import account
from cytoline.deid.finding import Finding
from cytoline.images import png_bytes, read_image


def chunk(name: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")


def before(content: bytes, name: bytes, more: bytes) -> bytes:
    at = content.index(name) - 4
    return content[:at] + more + content[at:]


def made(body: bytes, header: bytes, *more: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(more) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def header(width: int, height: int, depth: int, colour: int, interlaced: int = 0) -> bytes:
    return width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((depth, colour, 0, 0, interlaced))


def grey(packed: bytes | None = None, *more: bytes) -> bytes:
    return made(zlib.compress(bytes(5 * 4)) if packed is None else packed, header(4, 4, 8, 0), *more)[:]


def with_dictionary() -> bytes:
    packer = zlib.compressobj(zdict=CANARY)
    return packer.compress(bytes(20)) + packer.flush()


def plain() -> bytes:
    return png_bytes(picture())


def palette(entries: int) -> bytes:
    return chunk(b"PLTE", bytes(range(3 * entries)))


ONE_BIT = header(3, 2, 1, 0)
INDEXED = header(2, 1, 8, 3)
TWO_INDICES = zlib.compress(b"\0\0\1")
NAMES = ["tEXt", "zTXt", "iTXt", "eXIf", "iCCP", "tIME", "sPLT", "hIST", "acTL", "fcTL", "fdAT", "bKGD"]
PLANTED: dict[str, tuple[Callable[[], bytes], tuple[str, str]]] = {
    **{
        name: (lambda name=name: before(plain(), b"IDAT", chunk(name.encode(), CANARY)), (name, "metadata"))  # type: ignore[misc]
        for name in NAMES
    },
    "private": (lambda: before(plain(), b"IDAT", chunk(b"ruSt", CANARY)), ("other", "metadata")),
    "text behind the pixels": (lambda: before(plain(), b"IEND", chunk(b"tEXt", CANARY)), ("tEXt", "metadata")),
    "after the end": (lambda: plain() + CANARY, ("end", "trailing")),
    "in the end": (lambda: plain()[:-12] + chunk(b"IEND", CANARY), ("IEND", "unused")),
    "checksum": (lambda: plain()[:-4] + b"JANE", ("checksum", "value")),
    "empty pixels": (lambda: before(plain(), b"IEND", chunk(b"IDAT", b"")), ("IDAT", "unused")),
    "behind the pixel stream": (lambda: grey(zlib.compress(bytes(20)) + CANARY), ("IDAT", "unused")),
    "behind the pixel stream, own chunk": (
        lambda: before(plain(), b"IEND", chunk(b"IDAT", CANARY)),
        ("IDAT", "unused"),
    ),
    "in the pixel stream": (lambda: grey(zlib.compress(bytes(20) + CANARY)), ("IDAT", "unused")),
    "preset dictionary": (lambda: grey(with_dictionary()), ("IDAT", "unused")),
    "filter bytes": (lambda: grey(zlib.compress(b"J" + bytes(19))), ("IDAT", "value")),
    "bits behind a row": (lambda: made(zlib.compress(b"\0\x1f\0\0"), ONE_BIT), ("IDAT", "unused")),
    "resolution of digits": (lambda: grey(None, chunk(b"pHYs", b"19470823\1")), ("pHYs", "value")),
    "resolution with more": (lambda: grey(None, chunk(b"pHYs", b"\0\0\1\0\0\0\1\0\1" + CANARY)), ("pHYs", "value")),
    "gamma of letters": (lambda: grey(None, chunk(b"gAMA", b"JANE")), ("gAMA", "value")),
    "colour matrix of letters": (lambda: grey(None, chunk(b"cHRM", CANARY * 2 + b"MORETEXT")), ("cHRM", "value")),
    "rendering intent": (lambda: grey(None, chunk(b"sRGB", b"J")), ("sRGB", "value")),
    "significant bits": (lambda: grey(None, chunk(b"sBIT", b"J")), ("sBIT", "value")),
    "palette without use": (lambda: before(plain(), b"IDAT", chunk(b"PLTE", CANARY)), ("PLTE", "unused")),
    "palette entries without use": (lambda: made(TWO_INDICES, INDEXED, palette(6)), ("PLTE", "unused")),
    "palette not of threes": (lambda: made(TWO_INDICES, INDEXED, chunk(b"PLTE", b"SMITH")), ("PLTE", "value")),
    "palette twice": (lambda: made(TWO_INDICES, INDEXED, palette(2), palette(2)), ("PLTE", "unused")),
    "transparency beyond the palette": (
        lambda: made(TWO_INDICES, INDEXED, palette(2), chunk(b"tRNS", CANARY)),
        ("tRNS", "value"),
    ),
    "transparent colour": (lambda: grey(None, chunk(b"tRNS", b"JA")), ("tRNS", "value")),
    "resolution twice": (lambda: grey(None, *[chunk(b"pHYs", b"\0\0\1\0\0\0\1\0\1")] * 2), ("pHYs", "unused")),
    "pixels in two places": (
        lambda: before(plain(), b"IDAT", chunk(b"IDAT", b"x") + chunk(b"pHYs", b"\0\0\1\0\0\0\1\0\1")),
        ("structure", "value"),
    ),
    "header with more": (
        lambda: b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header(4, 4, 8, 0) + CANARY) + plain()[33:],
        ("structure", "damaged"),
    ),
    "cut short": (lambda: plain()[:-20], ("structure", "damaged")),
    "a bomb of rows": (
        lambda: made(zlib.compress(bytes(20)), header(1 << 30, 1 << 30, 8, 2)),
        ("structure", "damaged"),
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_word_is_found(name: str) -> None:
    make, (place, why) = PLANTED[name]
    assert Finding(f"png:{place}", why) in account(make())  # type: ignore[arg-type]


def hidden_under_transparency() -> bytes:
    rgba = np.zeros((60, 200, 4), np.uint8)
    rgba[..., :3] = 200
    cv2.putText(rgba, "MUELLER", (5, 40), cv2.FONT_HERSHEY_SIMPLEX, 1, (0, 0, 0, 0), 2)
    return cv2.imencode(".png", rgba)[1].tobytes()


def hidden_in_the_mask() -> bytes:
    """White on white, told apart by how opaque it is."""
    rgba = np.full((60, 200, 4), 255, np.uint8)
    cv2.putText(rgba, "MUELLER", (5, 40), cv2.FONT_HERSHEY_SIMPLEX, 1, (255, 255, 255, 254), 2)
    return cv2.imencode(".png", rgba)[1].tobytes()


def hidden_in_low_bytes() -> bytes:
    grey = np.full((60, 200), 200 << 8, np.uint16)
    cv2.putText(grey, "MUELLER", (5, 40), cv2.FONT_HERSHEY_SIMPLEX, 1, (200 << 8 | 255,), 2)
    return cv2.imencode(".png", grey)[1].tobytes()


def hidden_in_equal_entries() -> bytes:
    indices = np.zeros((60, 200), np.uint8)
    cv2.putText(indices, "MUELLER", (5, 40), cv2.FONT_HERSHEY_SIMPLEX, 1, (1,), 2)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in indices))
    return made(packed, header(200, 60, 8, 3), chunk(b"PLTE", bytes((200, 160, 190)) * 2))


HIDDEN = {
    "transparency": (hidden_under_transparency, "IDAT/transparent", "unused"),
    "mask": (hidden_in_the_mask, "IDAT/transparent", "unused"),
    "low bytes": (hidden_in_low_bytes, "IDAT/low", "unused"),
    "palette": (hidden_in_equal_entries, "PLTE", "value"),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_picture_that_no_viewer_shows_is_found_and_not_written(name: str, tmp_path: Path) -> None:
    make, place, why = HIDDEN[name]
    content = make()
    assert Finding(f"png:{place}", why) in account(content)  # type: ignore[arg-type]
    assert account(png_bytes(read_image(content))) == [], "the writer's way"


def test_opaque_pixels_of_four_channels_are_pixels() -> None:
    rgba = np.full((6, 8, 4), 255, np.uint8)
    assert account(cv2.imencode(".png", rgba)[1].tobytes()) == []


@pytest.mark.parametrize(
    "more",
    [
        chunk(b"pHYs", (40_000).to_bytes(4, "big") + (40_001).to_bytes(4, "big") + b"\1"),
        chunk(b"pHYs", (12_345_678).to_bytes(4, "big") * 2 + b"\1"),
        chunk(b"gAMA", (47_110).to_bytes(4, "big")),
        chunk(b"sBIT", b"\3"),
    ],
)
def test_numbers_that_no_encoder_writes_are_found(more: bytes) -> None:
    assert {finding.why for finding in account(grey(None, more))} == {"value"}


def test_numbers_about_colour_and_size_are_let_pass() -> None:
    numbers = (
        chunk(b"gAMA", (45455).to_bytes(4, "big")),
        chunk(b"sRGB", b"\0"),
        chunk(b"pHYs", b"\0\3\xd0\x90\0\3\xd0\x90\1"),
    )
    assert account(grey(None, *numbers)) == []


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_interlaced_pictures_are_counted_pass_by_pass(depth: int) -> None:
    """The passes of a picture of 5 x 5."""
    passes = [(1, 1), (1, 1), (2, 1), (1, 2), (3, 1), (2, 3), (5, 2)]
    raw = b"".join(bytes(1 + -(-across * depth // 8)) * down for across, down in passes)
    assert account(made(zlib.compress(raw), header(5, 5, depth, 0, 1))) == []
    assert account(made(zlib.compress(raw + b"J"), header(5, 5, depth, 0, 1))) == [Finding("png:IDAT", "unused")]


@pytest.mark.parametrize(
    ("kind", "second"),
    [(0, [4, 0, 0, 0]), (1, [4, 252, 0, 0]), (2, [4, 255, 254, 253]), (3, [4, 254, 255, 255]), (4, [4, 252, 0, 0])],
)
def test_each_filter_is_undone_before_indices_are_read(kind: int, second: list[int]) -> None:
    """Two rows, 0 1 2 3 and 4 0 0 0 (PNG 9.2); five entries are used, a sixth would not be."""
    rows = zlib.compress(bytes((0, 0, 1, 2, 3, kind, *second)))
    assert account(made(rows, header(4, 2, 8, 3), palette(5))) == []
    assert account(made(rows, header(4, 2, 8, 3), palette(6))) == [Finding("png:PLTE", "unused")]
