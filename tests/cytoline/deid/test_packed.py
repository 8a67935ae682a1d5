"""Where packed streams may begin: no place is passed over at which zlib would give anything."""

from __future__ import annotations

import random
import zlib

import pytest

from cytoline.deid.packed import _RAW, INFLATED_MOST, _inflate, _raw_starts, unpacked


def raw(content: bytes, level: int, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    packer = zlib.compressobj(level, wbits=-15, strategy=strategy)
    return packer.compress(content) + packer.flush()


WORDS = b"Doe^Jane 1933-01-01 in the ward of Doctor Roe, and again Doe^Jane 1933-01-01, " * 3
STREAMS = {
    "stored": raw(WORDS, 0),
    "fixed": raw(WORDS, 9, zlib.Z_FIXED),
    "own codes": raw(bytes(random.Random(1).choices(WORDS, k=900)), 9),
}


def test_no_beginning_is_passed_over() -> None:
    """Against zlib itself, on noise, on zeros and on streams between noise."""
    noise = random.Random(7)
    contents = [noise.randbytes(3000), bytes(200), b"\xff" * 200, b"", b"\x05"]
    contents += [noise.randbytes(77) + stream + noise.randbytes(33) for stream in STREAMS.values()]
    for content in contents:
        giving = {at for at in range(len(content)) if _inflate(content, at, _RAW, INFLATED_MOST)}
        starts = set(_raw_starts(content))
        assert giving <= starts
        assert len(starts) <= 0.5 * len(content) + 3 or not any(content)


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())
def test_a_raw_stream_is_found_among_noise(stream: bytes) -> None:
    around = random.Random(3).randbytes(5000)
    for content in (around + stream, stream + around, around[:500] + stream + around[500:1000]):
        assert any(b"Doe^Jane" in plain or len(plain) >= 900 for plain in unpacked(content))
