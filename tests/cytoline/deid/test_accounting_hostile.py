"""Damaged and hostile files: never an exception, never a long wait, never an unnoticed insertion."""

from __future__ import annotations

import time
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_accounting_samples import CANARY, CLEAN, built_tiff, level, paletted, picture, saved, tiff

from cytoline.deid.accounting import account
from cytoline.images import png_bytes

MAKERS = {
    "jpeg": lambda: saved("JPEG", size=(48, 40)),
    "jpeg progressive": lambda: saved("JPEG", size=(48, 40), progressive=True),
    "jpeg with restarts": lambda: saved("JPEG", size=(48, 40), restart_marker_blocks=2),
    "png": lambda: png_bytes(picture(24, 20)),
    "png of colours": lambda: paletted("PNG", 16),
    "bmp": lambda: saved("BMP", size=(21, 10)),
    "bmp of colours": lambda: paletted("BMP", 16),
    "tiff": lambda: tiff(picture(32, 32), compression="zlib", tile=(16, 16)),
    "tiff LZW": lambda: saved("TIFF", size=(30, 20), compression="tiff_lzw"),
    "slide": lambda: built_tiff([level(1, fields={254: (4, [0])}), level(2)]),
    "webp": lambda: saved("WEBP", size=(24, 20)),
}


@cache
def made(name: str) -> bytes:
    return MAKERS[name]()


@st.composite
def spoiled(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes changed, put in, taken out, moved; mostly near the beginning, where structure is."""
    out = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        most = draw(st.sampled_from([min(64, len(out)), min(700, len(out)), len(out)]))
        at = draw(st.integers(0, max(most - 1, 0)))
        change = draw(st.sampled_from(["flip", "insert", "cut", "large", "take", "double"]))
        if change == "flip" and out:
            out[at] = draw(st.integers(0, 255))
        elif change == "insert":
            out[at:at] = draw(st.binary(min_size=1, max_size=16))
        elif change == "cut":
            del out[at:]
        elif change == "large":
            out[at : at + 4] = draw(
                st.sampled_from([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\x80"])
            )
        elif change == "take":
            del out[at : at + draw(st.integers(1, 16))]
        else:
            out[at:at] = out[at : at + 64]
    return bytes(out)


@pytest.mark.parametrize("name", MAKERS)
def test_nothing_raises_and_nothing_takes_long(name: str) -> None:
    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(spoiled(made(name)))
    def check(content: bytes) -> None:
        began = time.process_time()
        account(content)
        assert time.process_time() - began < 1

    check()


def jpeg_boundaries(content: bytes) -> list[int]:
    """Behind the start, before each segment, before the scan's first byte, before and behind the end."""
    at, found = 2, [2]
    while content[at + 1] != 0xDA:
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        found.append(at)
    start = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return [*found, at + 4, start, len(content) - 2, len(content)]


def png_boundaries(content: bytes) -> list[int]:
    at, found = 8, [8]
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        found += [at + 4, at + 8, at + 8 + size, at + 12 + size]
        at += 12 + size
    return found


BOUNDARIES = {
    "jpeg": jpeg_boundaries,
    "jpeg progressive": jpeg_boundaries,
    "jpeg with restarts": jpeg_boundaries,
    "png": png_boundaries,
    "png of colours": png_boundaries,
    "bmp": lambda content: [14, 54, 54 + 64, len(content)],
    "bmp of colours": lambda content: [14, 54, 54 + 64, len(content)],
}


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "webp"])
def test_words_put_in_at_a_boundary_are_noticed(name: str) -> None:
    """TIFFs have boundaries all over: every eighth byte is tried there."""
    content = made(name)
    assert account(content) == []
    places = BOUNDARIES[name](content) if name in BOUNDARIES else [*range(4, len(content), 8), len(content)]
    for at in places:
        assert account(content[:at] + CANARY + content[at:]), at


@pytest.mark.parametrize("name", CLEAN)
def test_words_behind_any_clean_file_are_noticed(name: str) -> None:
    assert account(CLEAN[name]() + CANARY)
