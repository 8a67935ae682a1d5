"""Coded frames without words: JPEG and JPEG 2000 codestreams stripped, their pixels left as they are.

Source: T.81 through ``cytoline.deid.jpeg``; ISO/IEC 15444-1 Annex A for the markers of JPEG 2000.  A codestream
that cannot be shown to hold nothing but pixels raises ``Odd``: the file is then written uncompressed.
"""

from __future__ import annotations

from collections.abc import Iterator

SOC, SOT, SOD, EOC = 0xFF4F, 0xFF90, 0xFF93, 0xFFD9
SIZ, COD, COC, RGN, QCD, QCC, POC = 0xFF51, 0xFF52, 0xFF53, 0xFF5E, 0xFF5C, 0xFF5D, 0xFF5F
TLM, PLM, PLT, CRG, COM = 0xFF55, 0xFF57, 0xFF58, 0xFF63, 0xFF64
_CODING = frozenset({SIZ, COD, COC, RGN, QCD, QCC, POC})
"""Without these nothing can be decoded."""
_LEFT_OUT = frozenset({TLM, PLM, PLT, CRG, COM})
"""Comments, and lengths that only save a decoder time and would be wrong afterwards."""
_MAX_PARTS = 64
"""Tile parts; each costs decodings when it is asked whether its last byte counts."""


class Odd(Exception):  # noqa: N818 (says what it is)
    """Not a plain codestream."""


def jpeg_size(content: bytes) -> tuple[int, int, int, int]:
    """Rows, columns, components, bits of the first frame header.  Raises ``Odd``."""
    at = 2
    while content[:2] == b"\xff\xd8" and at + 10 <= len(content) and content[at] == 0xFF:
        marker, size = content[at + 1], _word(content, at + 2)
        if marker == 0xFF:
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return _word(content, at + 5), _word(content, at + 7), content[at + 9], content[at + 4]
        elif marker in (0xD8, 0xD9, 0xDA) or size < 2:
            break
        else:
            at += 2 + size
    raise Odd


def jpeg_tables_are_read(content: bytes) -> bool:
    """Whether a rewritten JPEG asks for each table that it defines: 64 bytes of an idle table can be words."""
    idle: set[tuple[str, int]] = set()
    components: dict[int, int] = {}
    at = 2
    while content[at + 1] != 0xD9:
        marker, end = content[at + 1], at + 2 + _word(content, at + 2)
        body = content[at + 4 : end]
        if marker in (0xDB, 0xC4):
            tables = _tables(marker, body)
            if idle & set(tables) or len(set(tables)) != len(tables):
                return False
            idle |= set(tables)
        elif marker in (0xC0, 0xC1, 0xC2):
            components = dict(zip(body[6::3], body[8::3], strict=True))
        elif marker == 0xDA:
            for part, slots in zip(body[1:-3:2], body[2:-3:2], strict=True):
                idle -= {("Q", components[part]), ("DC", slots >> 4), ("AC", slots & 15)}
            while content[end] != 0xFF or content[end + 1] == 0 or 0xD0 <= content[end + 1] <= 0xD7:
                end = content.index(b"\xff", end + 1)
        at = end
    return not idle


def _tables(marker: int, body: bytes) -> list[tuple[str, int]]:
    """Kind and slot of each; they must fill their segment.  Raises ``Odd``."""
    found, at = [], 0
    while at < len(body):
        if marker == 0xDB:
            found.append(("Q", body[at] & 15))
            at += 129 if body[at] >> 4 else 65
        else:
            found.append(("AC" if body[at] >> 4 else "DC", body[at] & 15))
            at += 17 + sum(body[at + 1 : at + 17])
    if at != len(body):
        raise Odd
    return found


def j2k_size(content: bytes) -> tuple[int, int, int, int]:
    """Rows, columns, components, bits of the first component.  Raises ``Odd`` for offsets and uneven components."""
    content = _codestream(content)
    if _word(content, 2) != SIZ or len(content) < 45:
        raise Odd
    x1, y1, x0, y0 = (int.from_bytes(content[at : at + 4], "big") for at in (8, 12, 16, 20))
    count = _word(content, 40)
    parts = content[42 : 42 + 3 * count]
    if x0 or y0 or not 1 <= count <= 4 or len(parts) != 3 * count or set(parts[1::3] + parts[2::3]) != {1}:
        raise Odd
    tiles = -(-x1 // max(1, _long(content, 24))) * -(-y1 // max(1, _long(content, 28)))
    if len(set(parts[0::3])) != 1 or tiles > 65_535:
        raise Odd
    return y1, x1, count, (parts[0] & 0x7F) + 1


def j2k_rewrite(content: bytes) -> bytes:
    """Only SIZ, the coding and quantisation segments, tile parts and EOC.  Raises ``Odd`` for anything unusual."""
    content = _codestream(content)
    out = bytearray(content[:2])
    at = 2
    for start, end, marker in _segments(content, at, SOT):
        if marker in _CODING:
            out += content[start:end]
        at = end
    for start, body, end in _parts(content, at):
        kept = b"".join(content[a:b] for a, b, marker in _segments(content, start + 12, SOD) if marker in _CODING)
        data = content[body:end]
        length = 12 + len(kept) + 2 + len(data)
        out += content[start : start + 6] + length.to_bytes(4, "big") + content[start + 10 : start + 12]
        out += kept + b"\xff\x93" + data
    return bytes(out + b"\xff\xd9")


def j2k_ends(content: bytes) -> list[int]:
    """Where each tile part of a rewritten codestream ends.  Raises ``Odd``."""
    at = 2
    for _, end, _ in _segments(content, at, SOT):
        at = end
    return [end for _, _, end in _parts(content, at)]


def _codestream(content: bytes) -> bytes:
    """Without the boxes of a JP2 file, which PS3.5 forbids and some writers add."""
    if content[:4] == b"\xff\x4f\xff\x51":
        return content
    raise Odd


def _segments(content: bytes, at: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Start, end, marker of each segment before the marker ``stop``."""
    while (marker := _word(content, at)) != stop:
        size = _word(content, at + 2)
        end = at + 2 + size
        if size < 2 or end > len(content) or marker not in _CODING | _LEFT_OUT:
            raise Odd
        yield at, end, marker
        at = end


def _parts(content: bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """Start of SOT, start of the data after SOD, end; up to EOC, whatever follows it."""
    count = 0
    while _word(content, at) != EOC:
        length = _long(content, at + 6)
        # A last part may leave its length open; then it goes up to EOC, which some bytes of padding may follow.
        end = at + length if length else content.rstrip(b"\0").rfind(b"\xff\xd9")
        count += 1
        if _word(content, at) != SOT or _word(content, at + 2) != 10 or count > _MAX_PARTS:
            raise Odd
        body = max((stop for _, stop, _ in _segments(content, at + 12, SOD)), default=at + 12)
        if not body + 2 < end <= len(content) - 2:
            raise Odd
        yield at, body + 2, end
        at = end


def _word(content: bytes, at: int) -> int:
    if at + 2 > len(content):
        raise Odd
    return int.from_bytes(content[at : at + 2], "big")


def _long(content: bytes, at: int) -> int:
    if at + 4 > len(content):
        raise Odd
    return int.from_bytes(content[at : at + 4], "big")
