"""Identifiers hidden in bytes, in every form that is searched for, and chance hits that may not happen."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from urllib.parse import quote

import numpy as np
import pytest

from cytoline.deid import needles
from cytoline.deid.needles import Needles

NAME = "Müller-Anna-4471"
ASCII = "Mueller-Anna-4471"
FORMS: dict[str, Callable[[str], bytes]] = {
    "utf-8": lambda text: text.encode(),
    "upper case": lambda text: text.upper().encode(),
    "utf-16 little": lambda text: text.encode("utf-16-le"),
    "utf-16 big": lambda text: text.encode("utf-16-be"),
    "base64": lambda text: base64.b64encode(text.encode()),
    "base64 after one": lambda text: base64.b64encode(b"x" + text.encode() + b"yz"),
    "base64 after two": lambda text: base64.b64encode(b"xy" + text.encode() + b"z"),
    "hex": lambda text: text.encode().hex().encode(),
    "percent": lambda text: quote(text).encode(),
    "zlib": lambda text: zlib.compress(b"artist: " + text.encode()),
}


def noise(size: int) -> bytes:
    """Like compressed pixels."""
    return np.random.default_rng(1).bytes(size)


@pytest.mark.parametrize("name", [NAME, ASCII])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_found_and_its_absence_too(form: str, name: str) -> None:
    content = noise(5000) + FORMS[form](name) + noise(5000)
    assert Needles(["nobody-else", name]).inside(content)
    assert not Needles(["nobody-else"]).inside(content)


def test_a_needle_across_two_blocks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needles, "_BLOCK", 64)
    for offset in range(40, 80):
        assert Needles([ASCII]).inside(b"." * offset + ASCII.encode() + b"." * 100)


def test_short_words_are_not_searched_for_and_chance_finds_nothing() -> None:
    assert not Needles(["1", "ab"])
    assert not Needles(["Anna"]).inside(b"Anna")
    many = Needles([f"patient-{number}-{number * 7919}" for number in range(300)])
    assert not many.inside(noise(3_000_000))


def test_a_stream_that_is_a_bomb_is_read_only_so_far() -> None:
    bomb = zlib.compress(bytes(200_000_000), 9)
    assert not Needles([ASCII]).inside(bomb)
