"""How files are spoiled: blind changes of bytes, and changes by somebody who knows the format.

A case is a format and a number; both alone decide which seed is taken and what is done to it (``random.Random`` is
seeded with text, which every version of Python turns into the same state).
"""

from __future__ import annotations

import random
from collections.abc import Callable

from benchmarks.deid.fuzz_case import Format
from benchmarks.deid.fuzz_containers import bmp_field, heic_box, jpeg_segment, png_chunk, webp_chunk
from benchmarks.deid.fuzz_seeds import Seed, planted, samples
from benchmarks.deid.fuzz_tags import dicom_element, tiff_entry

Mutation = Callable[[random.Random, bytes], bytes]

INTERESTING = (0, 1, 2, 3, 7, 8, 16, 32, 64, 127, 128, 254, 255, 256, 1000, 32767, 32768, 65534, 65535, 65536)
LARGE = (0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
EVERY_SAMPLE = 200
"""Of so many cases one is a real sample, where there are any."""
_CHANGES = (1, 1, 1, 2, 3)
"""Of one file; with more, nearly all are refused at the first look."""
_BLOCK = 512


def mutated(fmt: Format, number: int) -> tuple[Seed, bytes]:
    """The seed, and what was made of it."""
    rng = random.Random(f"{fmt}|{number}")
    seed = rng.choice(planted(fmt))
    if number % EVERY_SAMPLE == EVERY_SAMPLE - 1 and samples(fmt):
        seed = rng.choice(samples(fmt))
    content = seed.content
    for _ in range(rng.choice(_CHANGES)):
        if not content:
            break
        if rng.random() < _SPLICED:
            content = splice(rng, content, rng.choice(planted(fmt)).content)
        else:
            known = rng.random() < _KNOWING
            content = (STRUCTURED[fmt] if known else rng.choice(BLIND))(rng, content)
    return seed, content


_SPLICED, _KNOWING = 0.04, 0.6


def place(rng: random.Random, content: bytes) -> int:
    """Mostly near the beginning or the end, where the structure is."""
    where, size = rng.random(), max(len(content), 1)
    if where < 0.4:
        return min(int(2 ** rng.uniform(0, 10)) - 1, size - 1)
    if where < 0.6:
        return max(size - int(2 ** rng.uniform(0, 10)), 0)
    return rng.randrange(size)


def flip(rng: random.Random, content: bytes) -> bytes:
    """One to eight bits."""
    out = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        out[place(rng, content)] ^= 1 << rng.randrange(8)
    return bytes(out)


def overwrite(rng: random.Random, content: bytes) -> bytes:
    """A number of one to eight bytes, of either order, by one that breaks programs."""
    size = rng.choice((1, 1, 2, 2, 4, 4, 4, 8))
    number = rng.choice(INTERESTING + LARGE) & (1 << 8 * size) - 1
    at = place(rng, content)
    return content[:at] + number.to_bytes(size, rng.choice(("little", "big"))) + content[at + size :]


def truncate(rng: random.Random, content: bytes) -> bytes:
    """At least a byte stays."""
    return content[: place(rng, content) + 1]


def insert(rng: random.Random, content: bytes) -> bytes:
    """Noise, or one byte many times."""
    size, at = int(2 ** rng.uniform(0, 9)), place(rng, content)
    filling = rng.randbytes(size) if rng.random() < 0.5 else bytes((rng.choice((0, 32, 65, 255)),)) * size
    return content[:at] + filling + content[at:]


def delete(rng: random.Random, content: bytes) -> bytes:
    """A block."""
    at = place(rng, content)
    return content[:at] + content[at + int(2 ** rng.uniform(0, 9)) :]


def duplicate(rng: random.Random, content: bytes) -> bytes:
    """A block comes again, right behind itself or elsewhere."""
    start, size = place(rng, content), rng.randint(1, _BLOCK)
    block = content[start : start + size]
    at = start + len(block) if rng.random() < 0.5 else place(rng, content)
    return content[:at] + block * rng.choice((1, 1, 2, 40)) + content[at:]


def swap(rng: random.Random, content: bytes) -> bytes:
    """Two blocks change places."""
    one, two = sorted((place(rng, content), place(rng, content)))
    size = min(rng.randint(1, _BLOCK), two - one)
    first, second = content[one : one + size], content[two : two + size]
    return content[:one] + second + content[one + size : two] + first + content[two + size :]


def splice(rng: random.Random, content: bytes, other: bytes) -> bytes:
    """The head of one file and the tail of another."""
    return content[: place(rng, content) + 1] + other[place(rng, other) :]


BLIND: tuple[Mutation, ...] = (flip, flip, overwrite, overwrite, truncate, insert, delete, duplicate, swap)
STRUCTURED: dict[Format, Mutation] = {
    "jpeg": jpeg_segment,
    "png": png_chunk,
    "bmp": bmp_field,
    "tiff": tiff_entry,
    "webp": webp_chunk,
    "heic": heic_box,
    "svs": tiff_entry,
    "ndpi": tiff_entry,
    "dicom": dicom_element,
    "dicom-frames": dicom_element,
    "dicom-wsi": dicom_element,
}
"""Changes by somebody who knows the format; a file whose structure is gone already stays as it is."""
