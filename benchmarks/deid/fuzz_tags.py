"""Changes of a TIFF's directories and of DICOM elements: types, counts, lengths, offsets, nesting, loops.

Sources: TIFF 6.0, section 2, BigTIFF; PS3.5, section 7.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass

from benchmarks.deid.fuzz_containers import Span, shuffled

_MOST_PAGES, _MOST_ENTRIES = 16, 100
_TAGS = (
    254,
    256,
    257,
    258,
    259,
    262,
    266,
    270,
    273,
    274,
    277,
    278,
    279,
    284,
    317,
    320,
    322,
    324,
    330,
    338,
    347,
    530,
    34665,
)
_KINDS = (0, 1, 2, 3, 4, 5, 7, 9, 11, 12, 13, 16, 17, 18, 255)
_CODINGS = (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 33003, 33005, 34712, 50000, 65000)
_COUNTS = (0, 1, 2, 3, 255, 65535, 1 << 20, 0x10000001, 0x40000000, 0x7FFFFFFF, 0xFFFFFFFF)


@dataclass(frozen=True)
class _Directories:
    """Where entries and links lie."""

    order: str
    big: bool
    starts: list[int]
    entries: list[int]
    links: list[int]
    """Places that point to a directory: the header's and the last field of each."""

    @property
    def word(self) -> str:
        return self.order + ("Q" if self.big else "I")

    @property
    def size(self) -> int:
        """Of an entry."""
        return 20 if self.big else 12


def tiff_entry(rng: random.Random, content: bytes) -> bytes:
    """One field of one entry, or the order of entries, or where a directory is."""
    found = _directories(content)
    if found is None or not found.entries:
        return content
    at, change = rng.choice(found.entries), rng.randrange(9)
    value = at + found.size - struct.calcsize(found.word)
    out = bytearray(content)
    if change == 0:
        struct.pack_into(found.order + "H", out, at, rng.choice(_TAGS))
    elif change == 1:
        struct.pack_into(found.order + "H", out, at + 2, rng.choice(_KINDS))
    elif change == 2:
        struct.pack_into(found.word, out, at + 4, _count(rng, content, found, at))
    elif change == 3:
        struct.pack_into(found.word, out, value, _offset(rng, content, found))
    elif change in (4, 5):
        struct.pack_into(found.order + "H", out, value, rng.choice((*_CODINGS, 0, 255, 65535, rng.randrange(300))))
    elif change == 6:  # a loop, a link into the pixels, beyond the end
        struct.pack_into(found.word, out, rng.choice(found.links), _offset(rng, content, found))
    elif change == 7:
        return shuffled(rng, content, [(entry, entry + found.size) for entry in found.entries])
    else:
        start = rng.choice(found.starts)
        struct.pack_into(
            found.order + ("Q" if found.big else "H"), out, start, rng.choice((0, 1, 3, 60, 500, 4000, 65535))
        )
    return bytes(out)


def _count(rng: random.Random, content: bytes, found: _Directories, at: int) -> int:
    (old,) = struct.unpack_from(found.word, content, at + 4)
    return int(rng.choice((*_COUNTS, max(old - 1, 0), old + 1 & 0xFFFFFFFF, old * 2 & 0xFFFFFFFF)))


def _offset(rng: random.Random, content: bytes, found: _Directories) -> int:
    """To a directory, an entry, anywhere, or beyond the end."""
    last = (1 << (64 if found.big else 32)) - 1
    near = len(content) + rng.randint(-16, 16)
    return rng.choice((*found.starts, rng.choice(found.entries), rng.randrange(len(content)), max(near, 0), 0, 1, last))


def _directories(content: bytes) -> _Directories | None:
    """As far as the chain holds; the pages below tag 330 too."""
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None or len(content) < 16:
        return None
    big = content[2:4] in (b"+\0", b"\0+")
    link = 8 if big else 4
    found = _Directories(order, big, [], [], [link])
    waiting = [struct.unpack_from(found.word, content, link)[0]]
    while waiting and len(found.starts) < _MOST_PAGES:
        start = waiting.pop(0)
        head = 8 if big else 2
        if not 8 <= start <= len(content) - head or start in found.starts:
            continue
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), content, start)
        end = start + head + count * found.size
        if count > _MOST_ENTRIES or end + struct.calcsize(found.word) > len(content):
            continue
        found.starts.append(start)
        entries = range(start + head, end, found.size)
        found.entries.extend(entries)
        found.links.append(end)
        below = [at for at in entries if content[at : at + 2] in (b"\x4a\x01", b"\x01\x4a")]
        waiting += [
            struct.unpack_from(found.word, content, at)[0] for at in [*(at + found.size // 3 * 2 for at in below), end]
        ]
    return found


_VRS: tuple[bytes, ...] = (
    b"AE",
    b"AS",
    b"AT",
    b"CS",
    b"DA",
    b"DS",
    b"DT",
    b"FD",
    b"IS",
    b"LO",
    b"LT",
    b"OB",
    b"OW",
    b"PN",
    b"SH",
    b"SQ",
)
_VRS += (b"SS", b"ST", b"TM", b"UC", b"UI", b"UL", b"UN", b"UR", b"US", b"UT", b"OV", b"??")
_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"))
_LENGTHS = (0, 1, 2, 3, 8, 16, 255, 32767, 65534, 65535, 1 << 20, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
_SYNTAXES = tuple(
    f"1.2.840.10008.1.2{end}".encode()
    for end in (
        "",
        ".1",
        ".2",
        ".1.99",
        ".5",
        ".4.50",
        ".4.51",
        ".4.57",
        ".4.70",
        ".4.80",
        ".4.90",
        ".4.91",
        ".4.201",
        ".4.203",
    )
)
_KEPT: tuple[int, ...] = (
    0x00080008,
    0x00080060,
    0x00080070,
    0x00200013,
    0x00280002,
    0x00280004,
    0x00280008,
    0x00280010,
    0x00280030,
)
_KEPT += (0x00280100, 0x00281101, 0x00281201, 0x00400512, 0x00480105, 0x52009229, 0x52009230, 0x7FE00001, 0x7FE00010)
_KEPT += (0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0x00020010, 0x00020000, 0x00080005, 0x00101010, 0x00080020)
_ITEM, _ITEM_END, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0"


def dicom_element(rng: random.Random, content: bytes) -> bytes:
    """Tag, VR, length or value of one element at any depth; order; nesting; transfer syntax."""
    spans = _elements(content)
    if not spans:
        return content
    start, value, end = rng.choice(spans)
    change = rng.randrange(10)
    if change == 0:
        return content[: start + 4] + rng.choice(_VRS) + content[start + 6 :]
    if change == 1:
        size = 4 if value - start == 12 else 2
        wanted = rng.choice((*_LENGTHS, end - value + 2, max(end - value - 2, 0), len(content) - value))
        return content[: value - size] + (wanted & (1 << 8 * size) - 1).to_bytes(size, "little") + content[value:]
    if change == 2:
        tag = rng.choice((*_KEPT, rng.getrandbits(32)))
        return content[:start] + struct.pack("<HH", tag >> 16, tag & 0xFFFF) + content[start + 4 :]
    if change == 3:
        return shuffled(rng, content, [(one, last) for one, _, last in spans])
    if change == 4:
        return _nested(rng, content, (start, end))
    if change == 5:
        return _other_syntax(rng, content)
    if change == 6 and end > value:  # text of the same length, another character set, control characters
        filling = rng.choice((b"\x1b$B", b"\\", b"^", b"=", b"\0", b"\xff", b"9", b"-", b".", b"A"))
        return content[:value] + (filling * (end - value))[: end - value] + content[end:]
    if change == 7:
        one, two = rng.choices(spans, k=2)
        words = content[two[1] : two[2]][:64]
        return content[: one[1]] + words[: one[2] - one[1]] + content[one[1] + min(len(words), one[2] - one[1]) :]
    numbers = [span for span in spans if content[span[0] : span[0] + 2] == b"\x28\x00" and span[2] - span[1] >= 2]
    start, value, end = rng.choice(numbers or spans)
    number = rng.choice((0, 1, 2, 3, 7, 8, 12, 15, 16, 32, 255, 256, 32767, 65535, rng.randrange(400)))
    return content[:value] + struct.pack("<H", number) + content[value + 2 :]


def _nested(rng: random.Random, content: bytes, span: Span) -> bytes:
    """An element wrapped into sequences in sequences, closed or left open."""
    depth = rng.choice((1, 2, 10, 60, 300))
    head = rng.choice((b"\x40\x00\x60\x05", b"\x48\x00\x05\x01", b"\x00\x52\x29\x92", b"\x09\x00\x11\x10")) + b"SQ\0\0"
    opened = (head + b"\xff\xff\xff\xff" + _ITEM + b"\xff\xff\xff\xff") * depth
    closed = (_ITEM_END + _SEQUENCE_END) * (depth if rng.random() < 0.7 else depth // 2)
    return content[: span[0]] + opened + content[slice(*span)] + closed + content[span[1] :]


def _other_syntax(rng: random.Random, content: bytes) -> bytes:
    at = content.find(b"\x02\x00\x10\x00UI")
    if at < 0:
        return content
    end = at + 8 + int.from_bytes(content[at + 6 : at + 8], "little")
    syntax = rng.choice(_SYNTAXES)
    syntax += bytes(len(syntax) % 2)
    return content[: at + 6] + struct.pack("<H", len(syntax)) + syntax + content[end:]


def _elements(content: bytes) -> list[tuple[int, int, int]]:
    """(start, value, end) of explicit elements; the items of a sequence are entered."""
    found: list[tuple[int, int, int]] = []
    at = 132
    while at + 8 <= len(content) and len(found) < 400:
        vr = content[at + 4 : at + 6]
        if content[at : at + 3] == b"\xfe\xff\x00" or content[at : at + 2] == b"\xfe\xff":
            at += 8
            continue
        if not (vr.isalpha() and vr.isupper()):
            break
        value = at + (12 if vr in _LONG else 8)
        length = int.from_bytes(content[value - 4 : value] if vr in _LONG else content[at + 6 : at + 8], "little")
        entered = vr == b"SQ" or length == 0xFFFFFFFF
        end = value if entered else value + length
        if end > len(content):
            break
        found.append((at, value, end))
        at = end
    return found
