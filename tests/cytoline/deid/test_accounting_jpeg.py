"""Words planted in each place of a JPEG where decoders do not look: every one must be found, at its place."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from test_accounting_samples import CANARY, saved

from cytoline.deid import jpeg as rewriting
from cytoline.deid.accounting import account
from cytoline.deid.finding import Finding

SHARED = Path("../shared/data/phi")


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


def after_start(content: bytes, more: bytes) -> bytes:
    return content[:2] + more + content[2:]


def before(content: bytes, marker: int, more: bytes) -> bytes:
    at = content.index(bytes((0xFF, marker)))
    return content[:at] + more + content[at:]


def longer(content: bytes, marker: int, more: bytes = CANARY) -> bytes:
    """A segment with more behind what it says."""
    at = content.index(bytes((0xFF, marker)))
    size = int.from_bytes(content[at + 2 : at + 4], "big")
    head = (size + len(more)).to_bytes(2, "big")
    return content[: at + 2] + head + content[at + 4 : at + 2 + size] + more + content[at + 2 + size :]


def before_end(content: bytes, more: bytes = CANARY) -> bytes:
    return content[:-2] + more + content[-2:]


def replaced(content: bytes, marker: int, at: int, value: bytes) -> bytes:
    """A segment's body with other bytes."""
    start = content.index(bytes((0xFF, marker))) + 4 + at
    return content[:start] + value + content[start + len(value) :]


def plain(**options: object) -> bytes:
    return saved("JPEG", **options)  # type: ignore[arg-type]


def restarts() -> bytes:
    return plain(restart_marker_blocks=3)


def in_stretch(content: bytes) -> bytes:
    at = content.index(b"\xff\xd1")
    return content[:at] + CANARY + content[at:]


def zero_padding(content: bytes) -> bytes:
    """The last byte's filling bits (there are some in this picture) set to 0."""
    last = content[-3]
    ones = len(f"{last:08b}") - len(f"{last:08b}".rstrip("1"))
    assert ones >= 1
    return content[:-3] + bytes((last & ~1,)) + content[-2:]


def idle_steps(content: bytes) -> bytes:
    """Words in the quantiser steps of the highest frequencies, which a soft picture does not code."""
    return replaced(content, 0xDB, 65 - len(CANARY), CANARY)


def idle_codes(content: bytes) -> bytes:
    """Words instead of a Huffman table's last symbols, which no block uses."""
    at = content.index(b"\xff\xc4\x00\xb5")
    return content[: at + 4 + 179 - len(CANARY)] + CANARY + content[at + 4 + 179 :]


JFIF = b"JFIF\0\1\1\0\0\1\0\1"
PLANTED: dict[str, tuple[Callable[[], bytes], tuple[str, str]]] = {
    **{
        f"APP{n}": (lambda n=n: after_start(plain(), segment(0xE0 + n, CANARY)), (f"APP{n}", "metadata"))  # type: ignore[misc]
        for n in range(16)
    },
    "COM": (lambda: after_start(plain(), segment(0xFE, CANARY)), ("COM", "metadata")),
    "COM between scan and end": (lambda: before_end(plain(), segment(0xFE, CANARY)), ("COM", "metadata")),
    "JPG0": (lambda: after_start(plain(), segment(0xF0, CANARY)), ("JPG0", "metadata")),
    "DNL": (lambda: before_end(plain(), segment(0xDC, b"AB")), ("DNL", "metadata")),
    "DAC": (lambda: after_start(plain(), segment(0xCC, b"AB")), ("DAC", "metadata")),
    "EXP": (lambda: after_start(plain(), segment(0xDF, b"A")), ("EXP", "metadata")),
    "reserved marker": (lambda: after_start(plain(), segment(0xC8, CANARY)), ("JPG", "metadata")),
    "JFIF thumbnail": (
        lambda: after_start(plain()[:2] + plain()[20:], segment(0xE0, JFIF + b"\2\2" + CANARY)),
        ("APP0", "value"),
    ),
    "JFIF with more": (lambda: longer(plain(), 0xE0), ("APP0", "value")),
    "JFIF density of letters": (lambda: replaced(plain(), 0xE0, 8, b"JANE"), ("APP0", "value")),
    "second JFIF": (lambda: before(plain(), 0xC0, segment(0xE0, JFIF + b"\0\0")), ("APP0", "metadata")),
    "JFXX": (lambda: before(plain(), 0xDB, segment(0xE0, b"JFXX\0\x10" + CANARY)), ("APP0", "metadata")),
    "Adobe with words": (lambda: after_start(plain(), segment(0xEE, b"Adobe\0\x64JANE\1")), ("APP14", "value")),
    "Adobe with more": (
        lambda: after_start(plain(), segment(0xEE, b"Adobe\0\x64\0\0\0\0\1" + CANARY)),
        ("APP14", "value"),
    ),
    "fill bytes": (lambda: before(plain(), 0xC0, b"\xff" * 5), ("fill", "unused")),
    "between segments": (lambda: before(plain(), 0xC0, CANARY), ("gap", "unused")),
    "after the end": (lambda: plain() + CANARY, ("end", "trailing")),
    "second picture": (lambda: plain() + plain(), ("end", "trailing")),
    "DQT with more": (lambda: longer(plain(), 0xDB), ("structure", "damaged")),
    "DHT with more": (lambda: longer(plain(), 0xC4), ("structure", "damaged")),
    "SOF with more": (lambda: longer(plain(), 0xC0), ("structure", "damaged")),
    "SOS with more": (lambda: longer(plain(), 0xDA), ("structure", "damaged")),
    "DRI with more": (lambda: longer(restarts(), 0xDD), ("DRI", "unused")),
    "DRI that nothing needs": (lambda: before(plain(), 0xDA, segment(0xDD, b"JA")), ("DRI", "value")),
    "DRI twice": (lambda: before(restarts(), 0xDA, segment(0xDD, b"\0\3")), ("DRI", "unused")),
    "quantiser that nobody uses": (
        lambda: before(plain(), 0xC0, segment(0xDB, b"\3" + CANARY * 5 + b"MORE")),
        ("DQT", "unused"),
    ),
    "quantiser that is replaced": (
        lambda: before(plain(), 0xDB, segment(0xDB, b"\0" + CANARY * 5 + b"MORE")),
        ("DQT", "unused"),
    ),
    "quantiser steps that nobody codes": (lambda: idle_steps(plain()), ("DQT", "unused")),
    "codes that nobody uses": (
        lambda: before(plain(), 0xC0, segment(0xC4, b"\x03" + bytes(7) + b"\x0c" + bytes(8) + CANARY)),
        ("DHT", "unused"),
    ),
    "symbols that nobody uses": (lambda: idle_codes(plain()), ("DHT", "unused")),
    "component numbers": (
        lambda: replaced(replaced(plain(), 0xC0, 6, b"J"), 0xDA, 1, b"J"),
        ("SOF", "value"),
    ),
    "spectral selection": (lambda: replaced(plain(), 0xDA, 7, b"JA"), ("SOS", "value")),
    "after the last block": (lambda: before_end(plain()), ("scan", "unused")),
    "after the last block, progressive": (lambda: before_end(plain(progressive=True)), ("scan", "unused")),
    "after a stretch": (lambda: in_stretch(restarts()), ("scan", "unused")),
    "a single byte after the last block": (lambda: before_end(plain(), b"J"), ("scan", "unused")),
    "filling bits": (lambda: zero_padding(plain()), ("scan", "unused")),
    "one restart too many": (lambda: before_end(plain(), b"\xff\xd0" + CANARY), ("structure", "damaged")),
    "rows below the picture": (lambda: replaced(plain(), 0xC0, 1, b"\0\x20"), ("scan", "unused")),
    "rows below the picture, progressive": (
        lambda: replaced(plain(progressive=True), 0xC2, 1, b"\0\x20"),
        ("scan", "unused"),
    ),
    "lossless": (lambda: plain().replace(b"\xff\xc0", b"\xff\xc3"), ("SOF", "unsupported")),
    "cut short": (lambda: plain()[:-40], ("structure", "damaged")),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_word_is_found(name: str) -> None:
    make, (place, why) = PLANTED[name]
    assert Finding(f"jpeg:{place}", why) in account(make())  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 3}])
def test_whole_blocks_more_than_the_picture_has_are_found(options: dict[str, object]) -> None:
    """The same coded bytes under a header that promises fewer rows, or none of the last column of units."""
    content = plain(**options)
    marker = 0xC2 if options.get("progressive") else 0xC0
    assert account(replaced(content, marker, 3, b"\0\x40"))
    assert account(replaced(content, marker, 1, b"\0\x30"))


def small(codes: bytes, symbols: bytes, coded: int) -> bytes:
    """One grey block: averages coded as 0, other coefficients with these codes (16 counts and symbols)."""
    return (
        b"\xff\xd8"
        + segment(0xDB, b"\0" + b"\1" * 64)
        + segment(0xC0, b"\x08\0\x08\0\x08\1\1\x11\0")
        + segment(0xC4, b"\0\1" + bytes(16))
        + segment(0xC4, b"\x10" + codes.ljust(16, b"\0") + symbols)
        + segment(0xDA, b"\1\1\0\0\x3f\0")
        + bytes((coded, 0xFF, 0xD9))
    )


@pytest.mark.parametrize(
    ("codes", "symbols", "coded", "place"),
    [
        (b"\1", b"\0", 0b00111111, None),
        (b"\0\2", b"\0\xf0", 0b00100111, "scan"),  # zeros spelled out before "the rest is zero"
        (b"\0\2", b"\0\0", 0b00011111, "DHT"),  # two codes for one symbol
        (b"\0\1\0\0\4", b"\0JANE", 0b00011111, "DHT"),  # symbols of no block
    ],
)
def test_a_coding_with_a_choice_that_can_spell_is_found(
    codes: bytes, symbols: bytes, coded: int, place: str | None
) -> None:
    found = account(small(codes, symbols, coded))
    assert Finding(f"jpeg:{place}", "unused") in found if place else not found


def test_words_after_each_scan_of_a_progressive_picture_are_found() -> None:
    content = plain(progressive=True)
    ends = [found.start() for found in re.finditer(rb"\xff[^\0\xd0-\xd7\xff]", content)]
    heads = [at for at in ends if content[at + 1] == 0xDA]
    assert len(heads) == 10
    for head in heads:
        end = min(at for at in ends if at > head)
        assert Finding("jpeg:scan", "unused") in account(content[:end] + CANARY + content[end:])


def test_beyond_the_budget_nothing_is_claimed() -> None:
    assert account(plain(), walk_bytes=100) == [Finding("jpeg:scan", "unsupported")]


def test_steps_that_nobody_codes_may_be_blanked() -> None:
    """One and the same step wherever no block codes anything: what a writer can do to keep odd tables."""
    flat = saved("JPEG", "L", size=(64, 64), qtables=[[8] * 64])
    assert account(flat) == []


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data/phi is absent")
@pytest.mark.needs_shared
def test_camera_files_rewritten_have_nothing_but_odd_tables() -> None:
    clean = 0
    for path in sorted(SHARED.rglob("*.jpg")):
        content = path.read_bytes()
        if len(content) > 100_000:  # they would take seconds, and are of the same makers
            continue
        assert account(content), path.name
        try:
            found = account(rewriting.rewrite(content))
        except rewriting.OddJpegError:
            continue
        assert {finding.place for finding in found} <= {"jpeg:DQT", "jpeg:DHT", "jpeg:edge"}, path.name
        clean += not found
    assert clean >= 14


def cropped(words: bool) -> bytes:
    """Cut by its header alone, as lossless cropping does: the last rows stay in the blocks."""
    rgb = np.full((128, 160, 3), 200, np.uint8)
    if words:
        cv2.putText(rgb, "4471 MUELLER", (2, 126), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (10, 10, 10), 1)
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "JPEG", quality=90)
    content = out.getvalue()
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + (113).to_bytes(2, "big") + content[at + 2 :]


def test_what_a_crop_left_in_the_last_blocks_is_found() -> None:
    assert account(cropped(False)) == []
    assert account(cropped(True)) == [Finding("jpeg:edge", "unused")]
