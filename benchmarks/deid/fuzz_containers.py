"""Changes of a JPEG's segments, a PNG's chunks, a BMP's header, a WebP's chunks and a HEIC's boxes.

Each walks the structure as far as it holds, changes one part and puts right what would give the change away at once
(check sums).  Sources: ITU T.81, W3C PNG, RFC 9649, ISO 14496-12.
"""

from __future__ import annotations

import random
import struct
import zlib

Span = tuple[int, int]
"""Start and end."""

_SIZES = (0, 1, 2, 3, 4, 7, 8, 16, 255, 256, 65535, 1 << 24, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_DOUBLED = 1 << 15
"""Bytes that come of one part, however often it is doubled."""


def shuffled(rng: random.Random, content: bytes, spans: list[Span]) -> bytes:
    """One part is dropped, doubled, moved to another's place or exchanged with another."""
    one, two = sorted(rng.choices(spans, k=2))
    first, second = content[slice(*one)], content[slice(*two)]
    change = rng.randrange(4)
    if change == 0:
        return content[: one[0]] + content[one[1] :]
    if change == 1:
        times = min(rng.choice((1, 1, 3, 200)), 1 + _DOUBLED // max(len(first), 1))
        return content[: one[1]] + first * times + content[one[1] :]
    if change == 2 or one[1] > two[0]:
        return content[: one[0]] + content[one[1] : two[1]] + first + content[two[1] :]
    return content[: one[0]] + second + content[one[1] : two[0]] + first + content[two[1] :]


def _written(content: bytes, at: int, number: int, size: int, order: str) -> bytes:
    field = (number & (1 << 8 * size) - 1).to_bytes(size, "big" if order == ">" else "little")
    return content[:at] + field + content[at + size :]


def _near(rng: random.Random, number: int) -> int:
    """Off by little, or out of all proportion."""
    return rng.choice(
        (number - 1, number + 1, number - rng.randint(1, 64), number + rng.randint(1, 64), rng.choice(_SIZES))
    )


def jpeg_segment(rng: random.Random, content: bytes) -> bytes:
    """Lengths, markers, order; the fields of frame and scan; bytes within tables; lone markers."""
    spans = _segments(content)
    if not spans:
        return content
    start, end = rng.choice(spans)
    change = rng.randrange(6)
    if change == 0:
        return _written(content, start + 2, _near(rng, end - start - 2), 2, ">")
    if change == 1:
        return _written(content, start + 1, rng.randrange(0xC0, 0x100), 1, ">")
    if change == 2:
        return shuffled(rng, content, spans)
    if change == 3:
        lone = bytes((0xFF, rng.choice((0xD0, 0xD7, 0xD8, 0xD9, 0xDC, 0x01, 0xFF, 0x00))))
        at = rng.choice((start, end, rng.randrange(start, len(content))))
        return content[:at] + lone + content[at:]
    # Sizes, factors, table numbers, counts of codes, spectral selection.
    framed = [span for span in spans if content[span[0] + 1] in (0xC0, 0xC1, 0xC2, 0xC4, 0xDA, 0xDB, 0xDD)]
    start, end = rng.choice(framed or spans)
    at = rng.randrange(start + 2, max(end, start + 3))
    return _written(
        content, at, rng.choice((0, 1, 2, 3, 0x11, 0x22, 0x44, 63, 64, 127, 255, rng.randrange(256))), 1, ">"
    )


def _segments(content: bytes) -> list[Span]:
    """Marker to end of body; what is coded between two is passed over."""
    spans, at = [], 2
    while 0 <= at < len(content) - 4:
        if content[at] != 0xFF or content[at + 1] in (0, 0xFF, *range(0xD0, 0xDA)):
            at = content.find(b"\xff", at + 1)
            continue
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        spans.append((at, min(end, len(content))))
        at = end
    return spans


def png_chunk(rng: random.Random, content: bytes) -> bytes:
    """Lengths, names and bodies, with the check sum put right; order; the stream of the pixels."""
    spans = _chunks(content)
    if not spans:
        return content
    start, end = rng.choice(spans)
    name, body = content[start + 4 : start + 8], content[start + 8 : end - 4]
    change = rng.randrange(6)
    if change == 0:
        return _written(content, start, _near(rng, len(body)), 4, ">")
    if change == 1:
        return shuffled(rng, content, spans)
    if change == 2:
        name = rng.choice(
            (b"IDAT", b"PLTE", b"tRNS", b"IEND", b"gAMA", b"sRGB", b"bKGD", b"pHYs", b"fdAT", b"iCCP", b"abCd")
        )
    elif change == 3 and name == b"IDAT":
        body = _repacked(rng, body)
    elif change == 4 and len(body) > 1:
        at = rng.randrange(1, len(body))
        return content[:start] + _chunk(name, body[:at]) + _chunk(name, body[at:]) + content[end:]
    elif body:
        head = min(len(body), 32)
        body = _written(
            body, rng.randrange(head), rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 255, rng.randrange(256))), 1, ">"
        )
    return content[:start] + _chunk(name, body) + content[end:]


def _repacked(rng: random.Random, body: bytes) -> bytes:
    """Rows too many or too few, another filter, a window that is none, stored blocks."""
    try:
        raw = zlib.decompressobj().decompress(body, 1 << 20)
    except zlib.error:
        return body
    raw = rng.choice((raw + rng.randbytes(40), raw[: len(raw) // 2], bytes((rng.randrange(256),)) + raw[1:], raw))
    return zlib.compress(raw, rng.choice((0, 1, 9))) + rng.choice((b"", b"", b"\0", b"surplus"))


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _chunks(content: bytes) -> list[Span]:
    spans, at = [], 8
    while at + 12 <= len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        if end > len(content):
            break
        spans.append((at, end))
        at = end
    return spans


_BMP_FIELDS = (
    *((2, 4), (6, 4), (10, 4), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2), (30, 4), (34, 4), (46, 4), (50, 4)),
    *((54, 4), (58, 4), (62, 4), (66, 4), (70, 4), (126, 4), (130, 4)),
)
_BMP_VALUES = (
    0,
    1,
    2,
    3,
    4,
    6,
    8,
    12,
    16,
    24,
    32,
    40,
    52,
    56,
    64,
    108,
    124,
    -1,
    -40,
    54,
    255,
    65536,
    1 << 31,
    0x7FFFFFFF,
)


def bmp_field(rng: random.Random, content: bytes) -> bytes:
    """Sizes, bits, coding, masks, number of colours, place of the pixels."""
    at, size = rng.choice(_BMP_FIELDS)
    if at + size > len(content):
        return content
    old = int.from_bytes(content[at : at + size], "little")
    return _written(content, at, rng.choice((*_BMP_VALUES, old - 1, old + 1, -old, old * 2)), size, "<")


def webp_chunk(rng: random.Random, content: bytes) -> bytes:
    """Sizes of file and chunks, names, order, flags and canvas."""
    spans, at = [], 12
    while at + 8 <= len(content):
        end = at + 8 + int.from_bytes(content[at + 4 : at + 8], "little")
        spans.append((at, min(end + end % 2, len(content))))
        at = end + end % 2
    if not spans:
        return content
    start, end = rng.choice(spans)
    change = rng.randrange(5)
    if change == 0:
        at = rng.choice((4, start + 4))
        return _written(content, at, _near(rng, int.from_bytes(content[at : at + 4], "little")), 4, "<")
    if change == 1:
        return shuffled(rng, content, spans)
    if change == 2:
        name = rng.choice((b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"EXIF", b"ICCP", b"zzzz"))
        return content[:start] + name + content[start + 4 :]
    at = rng.randrange(start + 8, max(min(end, start + 32), start + 9))
    return _written(content, at, rng.choice((0, 1, 0x10, 0x2F, 255, rng.randrange(256))), 1, "<")


_NESTED = {b"meta": 12, b"iprp": 8, b"ipco": 8, b"iinf": 14, b"iref": 12, b"dinf": 8, b"moov": 8}
"""Boxes with boxes in them, and where those begin."""


def heic_box(rng: random.Random, content: bytes) -> bytes:
    """Sizes, names, order; the fields in short boxes (places, counts, links, dimensions)."""
    spans = _boxes(content, 0, len(content), 0)
    if not spans:
        return content
    start, end = rng.choice(spans)
    change = rng.randrange(6)
    if change == 0:
        return _written(content, start, _near(rng, end - start), 4, ">")
    if change == 1:
        return shuffled(rng, content, spans)
    if change == 2:
        kind = rng.choice(
            [content[at + 4 : at + 8] for at, _ in spans] + [b"grid", b"iden", b"iovl", b"auxC", b"free", b"idat"]
        )
        return content[: start + 4] + kind + content[start + 8 :]
    at = rng.randrange(start + 8, max(end, start + 9))
    size = rng.choice((1, 1, 2, 4))
    return _written(content, at, _near(rng, int.from_bytes(content[at : at + size], "big")), size, ">")


def _boxes(content: bytes, at: int, end: int, depth: int) -> list[Span]:
    spans = []
    while at + 8 <= end and depth < 6:
        size = int.from_bytes(content[at : at + 4], "big")
        if size < 8 or at + size > end:
            break
        spans.append((at, at + size))
        if inner := _NESTED.get(content[at + 4 : at + 8]):
            spans += _boxes(content, at + inner, at + size, depth + 1)
        at += size
    return spans
