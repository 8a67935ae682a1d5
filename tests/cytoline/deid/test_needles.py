"""Identifiers hidden in bytes, in every form that is searched for, and chance hits that may not happen."""

from __future__ import annotations

import base64
import gzip
import io
import mmap
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
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
    "gzip": lambda text: gzip.compress(b"artist: " + text.encode()),
    "zip": lambda text: zipped(text),
    "cp1252": lambda text: text.encode("cp1252"),
    "latin-2": lambda text: text.encode("iso8859-2"),
    "zlib": lambda text: zlib.compress(b"artist: " + text.encode()),
}


def zipped(text: str) -> bytes:
    """A ZIP with the name inside a file."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("note", text * 3)
    return target.getvalue()


def raw_deflate(content: bytes) -> bytes:
    """Without any header."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


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


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        *(
            ("Анна Мюллер", "cp1251"),
            ("Анна Мюллер", "koi8-r"),
            ("Łukasz Żółć", "iso8859-2"),
            ("Łukasz Żółć", "cp1250"),
        ),
        *(("Étienne Œuvré", "cp1252"), ("山田太郎様", "shift_jis"), ("Müller-Ö", "mac-roman"), ("Anna-M", "utf-32-le")),
    ],
)
def test_other_code_pages_are_searched(text: str, encoding: str) -> None:
    content = noise(3000) + text.encode(encoding) + noise(3000)
    assert Needles([text]).inside(content)
    assert not Needles(["nobody-else"]).inside(content)


def test_accents_may_be_composed_or_not() -> None:
    assert Needles(["Mu\u0308ller-Anna"]).inside("Müller-Anna".encode())
    assert Needles(["Müller-Anna"]).inside("Mu\u0308ller-Anna".encode())


@pytest.mark.parametrize("before", [0, 3, 100])
def test_raw_deflate_is_found_at_either_end_of_a_file(before: int) -> None:
    packed = raw_deflate(b"the patient is called " + ASCII.encode())
    assert Needles([ASCII]).inside(noise(before) + packed)
    assert Needles([ASCII]).inside(noise(50_000) + packed)


def test_a_stream_behind_many_false_beginnings_is_found() -> None:
    decoys = b"\x78\x9c\xff\xff" * 500
    assert Needles([ASCII]).inside(decoys + zlib.compress(ASCII.encode()))


@pytest.mark.parametrize("short", ["Anna", "4471", "Li", "Zoë", "A7"])
def test_short_words_are_found_where_something_reads_as_text(short: str) -> None:
    names = Needles([short])
    for content in (
        f"seen by {short}, 3 May".encode(),
        noise(2000) + f"\0patient name: {short} (f)\0".encode() + noise(2000),
        zlib.compress(f"the patient is {short.upper()}.".encode()),
    ):
        assert names.inside(content)
    assert not names.inside(b"xx" + short.encode() + b"xx and more of it")


def test_short_words_come_by_chance_nowhere() -> None:
    assert not Needles(["1"])
    many = Needles(["Anna", "4471", "Li", "Bo", "Kim", "102", *(f"patient-{n}-{n * 7919}" for n in range(300))])
    assert not many.inside(noise(3_000_000))


def test_a_large_file_is_read_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large"
    path.write_bytes(noise(100_000) + ASCII.encode() + noise(100_000))
    monkeypatch.setattr(needles, "_BLOCK", 1 << 12)
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        assert Needles([ASCII]).inside(content)


def test_a_stream_that_is_a_bomb_is_read_only_so_far() -> None:
    bomb = zlib.compress(bytes(200_000_000), 9)
    assert not Needles([ASCII]).inside(bomb)
