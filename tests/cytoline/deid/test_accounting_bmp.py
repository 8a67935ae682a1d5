"""Words planted in each place of a BMP or WebP where decoders do not look: every one must be found, at its place."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from test_accounting_samples import CANARY, paletted, saved

from cytoline.deid.accounting import account
from cytoline.deid.finding import Finding


def at(content: bytes, start: int, value: bytes) -> bytes:
    return content[:start] + value + content[start + len(value) :]


def plain() -> bytes:
    """101 pixels a row: one byte of padding."""
    return saved("BMP")


def moved(content: bytes, more: bytes) -> bytes:
    """The same pixels, with ``more`` before them."""
    first = struct.unpack_from("<I", content, 10)[0]
    content = content[:first] + more + content[first:]
    return at(at(content, 10, struct.pack("<I", first + len(more))), 2, struct.pack("<I", len(content)))


def version(size: int, space: bytes = b"BGRs", rest: bytes = b"", masks: bytes = bytes(16)) -> bytes:
    content = plain()
    head = content[14:54] + masks + space + rest
    return moved(
        at(content[:14] + content[14:54] + content[54:], 14, struct.pack("<I", size)), head[40:].ljust(size - 40, b"\0")
    )


PLANTED: dict[str, tuple[Callable[[], bytes], tuple[str, str]]] = {
    "reserved": (lambda: at(plain(), 6, b"JANE"), ("reserved", "unused")),
    "gap": (lambda: moved(plain(), CANARY), ("gap", "unused")),
    "row padding": (lambda: at(plain(), 54 + 303, b"J"), ("padding", "unused")),
    "after the end": (lambda: plain() + CANARY, ("end", "trailing")),
    "size of the pixels": (lambda: at(plain(), 34, b"JANE"), ("header", "value")),
    "size of the file": (lambda: at(plain(), 2, b"JANE"), ("header", "value")),
    "resolution of digits": (lambda: at(plain(), 38, b"19470823"), ("header", "value")),
    "colours without a palette": (lambda: at(plain(), 46, b"JANE"), ("header", "value")),
    "important colours": (lambda: at(plain(), 50, b"JANE"), ("header", "value")),
    "palette entries without use": (lambda: saved("BMP", "P"), ("palette", "unused")),
    "palette's fourth bytes": (lambda: at(paletted("BMP", 256), 54 + 3, b"J"), ("palette", "unused")),
    "unused bits": (lambda: at(saved("BMP", "RGBA"), len(saved("BMP", "RGBA")) - 1, b"J"), ("pixels", "unused")),
    "masks without use": (lambda: version(108, masks=CANARY + b"MORE"), ("header", "unused")),
    "profile, calibrated": (lambda: version(108, b"\0\0\0\0", CANARY), ("profile", "metadata")),
    "profile, linked": (lambda: version(124, b"KNIL"), ("profile", "metadata")),
    "profile's place": (lambda: version(124, b"BGRs", bytes(52) + CANARY), ("profile", "metadata")),
    "intent": (lambda: version(124, b"BGRs", bytes(48) + b"JANE"), ("profile", "metadata")),
    "run lengths": (lambda: at(paletted("BMP", 256), 30, b"\1"), ("pixels", "unsupported")),
    "cut short": (lambda: plain()[:-9], ("structure", "damaged")),
    "a bomb of rows": (lambda: at(plain(), 18, b"\xff\xff\xff\x7f\xff\xff\xff\x7f"), ("structure", "damaged")),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_word_is_found(name: str) -> None:
    make, (place, why) = PLANTED[name]
    assert Finding(f"bmp:{place}", why) in account(make())  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [108, 124])
def test_the_longer_headers_may_say_that_it_is_srgb(size: int) -> None:
    assert account(version(size)) == []


def webp_chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def webp(*more: bytes, lossless: bool = False) -> bytes:
    content = saved("WEBP", lossless=lossless) + b"".join(more)
    return content[:4] + struct.pack("<I", len(content) - 8) + content[8:]


WEBP: dict[str, tuple[Callable[[], bytes], tuple[str, str]]] = {
    **{
        name: (lambda name=name: webp(webp_chunk(name.encode().ljust(4), CANARY)), (name, "metadata"))  # type: ignore[misc]
        for name in ("EXIF", "XMP", "ICCP", "ANIM", "ANMF")
    },
    "unknown chunk": (lambda: webp(webp_chunk(b"JANE", CANARY)), ("other", "metadata")),
    "after the end": (lambda: webp() + CANARY, ("end", "trailing")),
    "padding": (lambda: webp(webp_chunk(b"ALPH", b"abc")[:-1] + b"J"), ("padding", "unused")),
    "cut short": (lambda: webp()[:-6], ("structure", "damaged")),
    "nothing else": (webp, ("pixels", "unsupported")),
}


@pytest.mark.parametrize("name", WEBP)
def test_a_word_planted_in_webp_is_found(name: str) -> None:
    make, (place, why) = WEBP[name]
    assert Finding(f"webp:{place}", why) in account(make())  # type: ignore[arg-type]


@pytest.mark.parametrize("lossless", [False, True])
def test_a_webp_of_pixels_has_only_the_reservation(lossless: bool) -> None:
    assert account(webp(lossless=lossless)) == [Finding("webp:pixels", "unsupported")]


@pytest.mark.parametrize(
    "content", [b"", b"B", b"GIF89a", b"%PDF-1.7", b"PK\3\4", b"<?xml?>", b"{}", b"words", b"\0\0\0\x18ftypheic"]
)
def test_other_formats_are_one_finding(content: bytes) -> None:
    assert account(content) == [Finding("file", "unsupported")]
