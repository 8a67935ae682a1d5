"""The search: every coding is seen, what is not there is not seen, and no input makes it run away."""

from __future__ import annotations

import base64
import gzip
import io
import os
import time
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.deid import views
from benchmarks.deid.needles import Search

NEEDLE = "ZQ7F-CANARY-0A1B2C3D4E"
SEARCH = Search([NEEDLE])
RAW = NEEDLE.encode()


def packed(member: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", member * 9)
    return buffer.getvalue()


def wrapped(text: bytes, width: int = 19) -> bytes:
    return b"\r\n  ".join(text[i : i + width] for i in range(0, len(text), width))


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda raw: b"xx" + raw + b"yy",
    "small letters": lambda raw: raw.lower(),
    "mixed letters": lambda raw: raw.title(),
    "utf-16-le": lambda raw: raw.decode().encode("utf-16-le"),
    "utf-16-be": lambda raw: raw.decode().lower().encode("utf-16-be"),
    "base64, phase 0": lambda raw: base64.b64encode(raw),
    "base64, phase 1": lambda raw: base64.b64encode(b"a" + raw + b"bc"),
    "base64, phase 2": lambda raw: base64.b64encode(b"ab" + raw),
    "base64 in lines": lambda raw: wrapped(base64.b64encode(b"name: " + raw)),
    "base64 for addresses": lambda raw: base64.urlsafe_b64encode(b"\xff\xfe\xfb" + raw + b"\xff\xfe\xfb"),
    "base64 of utf-16": lambda raw: base64.b64encode(b"a" + raw.decode().encode("utf-16-le")),
    "hexadecimal": lambda raw: raw.hex().encode(),
    "hexadecimal, capitals, in lines": lambda raw: wrapped(raw.hex().upper().encode()),
    "percent": lambda raw: "".join(f"%{o:02x}" for o in raw).encode(),
    "percent, partly": lambda raw: urllib.parse.quote(raw.decode().replace("-", "%2D"), safe="%").encode(),
    "entities": lambda raw: "".join(f"&#x{o:X};" for o in raw).encode(),
    "zlib": lambda raw: b"head" + zlib.compress(raw * 9) + b"tail",
    "zlib, level 0": lambda raw: zlib.compress(raw, 0),
    "zlib in zlib": lambda raw: zlib.compress(b"x" * 50 + zlib.compress(raw * 9)),
    "zlib, cut off": lambda raw: zlib.compress(raw + bytes(range(256)) * 4)[:-20],
    "gzip": lambda raw: gzip.compress(raw * 9),
    "zip behind something": lambda raw: bytes(99) + packed(raw),
    "base64 of zlib": lambda raw: base64.b64encode(zlib.compress(raw * 9 + bytes(range(256)))),
}


@pytest.mark.parametrize("coding", CODINGS)
def test_each_coding_is_seen(coding: str) -> None:
    data = CODINGS[coding](RAW)
    assert SEARCH.in_bytes(data).how
    assert SEARCH.in_bytes(CODINGS[coding](b"ZQ7F-CANARX-0A1B2C3D4E")).gone


def test_pixels_are_searched_also_channel_by_channel() -> None:
    rgba = np.zeros((20, 40, 4), np.uint8)
    rgba[3, 2 : 2 + len(RAW), 1] = list(RAW)
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "PNG")
    assert SEARCH.in_bytes(buffer.getvalue()).how == ("pixels",)
    rgba[3, 2, 1] += 1
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "PNG")
    assert SEARCH.in_bytes(buffer.getvalue()).gone


def test_names_times_links_and_attributes_are_searched(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    plain = tmp_path / "deep/a.txt"
    plain.write_bytes(b"nothing")
    assert SEARCH.in_folder(tmp_path).gone
    named = plain.rename(tmp_path / f"deep/{NEEDLE.lower()}.txt")
    assert SEARCH.in_folder(tmp_path).how == ("name",)
    named.rename(plain)
    os.utime(plain, (0, 0))
    assert Search(["1970:01:01 00:00:00"]).in_folder(tmp_path).how == ("time",)
    (tmp_path / "link").symlink_to(f"/x/{NEEDLE}")
    assert SEARCH.in_folder(tmp_path).how == ("link",)


def test_a_short_needle_is_only_looked_for_as_it_is() -> None:
    search = Search([b"\x01\x02\x03\x04"])
    assert search.in_bytes(b"..\x01\x02\x03\x04").how == ("raw",)
    assert search.in_bytes(zlib.compress(b"\x01\x02\x03\x04" * 9)).gone


@pytest.mark.parametrize("needles", [[], [""], ["good", b""]])
def test_a_search_without_needles_is_refused(needles: list[str | bytes]) -> None:
    with pytest.raises(ValueError, match="needles"):
        Search(needles)


def test_a_bomb_is_cut_off_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "BUDGET", 2**21)
    monkeypatch.setattr(views.Budget, "__init__", _small_budget)
    bomb = zlib.compress(bytes(2**25), 9)
    started = time.monotonic()
    survival = SEARCH.in_bytes(bomb)
    assert not survival.complete
    assert not survival.gone
    assert time.monotonic() - started < 10


def _small_budget(self: views.Budget) -> None:
    self.left, self.complete = 2**21, True


def test_what_is_packed_too_deep_is_not_called_clean() -> None:
    data = RAW + bytes(range(64))
    for _ in range(7):
        data = base64.b64encode(b" " + data)
    survival = SEARCH.in_bytes(data)
    assert survival.how == ()
    assert not survival.gone


def test_a_huge_image_is_not_decoded() -> None:
    header = b"P6 100000 100000 255\n"
    assert not SEARCH.in_bytes(header + bytes(100)).complete


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([b"BM", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"II*\0", b"", bytes(128) + b"DICM"]), st.binary())
def test_garbage_is_searched_without_an_error(head: bytes, body: bytes) -> None:
    assert SEARCH.in_bytes(head + body).how == ()
