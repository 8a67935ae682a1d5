"""Looks at the marker segments of a JPEG 2000 codestream, as slides have them in their tiles.

The packets between them are not walked: their headers are a coding of their own, and bytes behind the last packet
of a tile-part cannot be told from coded pixels without it.  Hence the finding ``jpeg2000:packets`` ``unsupported``
for each: such tiles can be decoded and coded anew, but not be shown to be clean.
Source: ISO/IEC 15444-1 Annex A.
"""

from __future__ import annotations

from cytoline.deid.accounting.source import DamagedError, cut
from cytoline.deid.finding import Finding

_STRUCTURE = frozenset({0x51, 0x52, 0x53, 0x5C, 0x5D, 0x5E, 0x5F})
"""SIZ, COD, COC, QCD, QCC, RGN, POC."""
_NAMES = {0x64: "COM", 0x63: "CRG", 0x55: "TLM", 0x57: "PLM", 0x58: "PLT", 0x60: "PPM", 0x61: "PPT"}
_SOT, _SOD, _EOC = 0x90, 0x93, 0xD9


def findings(content: bytes, place: str = "jpeg2000") -> list[Finding]:
    """What a codestream holds besides its structure; never empty."""
    found = {Finding(f"{place}:packets", "unsupported")}
    try:
        _segments(content, place, found)
    except DamagedError:
        found.add(Finding(f"{place}:structure", "damaged"))
    return sorted(found)


def _segments(content: bytes, place: str, found: set[Finding]) -> None:
    if content[:2] != b"\xff\x4f":
        raise DamagedError
    at, end = 2, 0
    while True:
        lead, marker = cut(content, at, 2)
        if lead != 0xFF:
            raise DamagedError
        if marker == _EOC and not end:
            break
        if marker == _SOD:
            if not end or at + 2 > end:
                raise DamagedError
            at, end = end, 0
            continue
        size = int.from_bytes(cut(content, at + 2, 2), "big")
        body = cut(content, at + 4, size - 2)
        if marker == _SOT:
            part = int.from_bytes(body[2:6], "big")
            if end or size != 10 or (part and not 14 <= part <= len(content) - at):
                raise DamagedError
            end = at + part if part else max(len(content) - 2, at)
        elif marker not in _STRUCTURE:
            found.add(Finding(f"{place}:{_NAMES.get(marker, 'marker')}", "metadata"))
        at += 2 + size
    if at + 2 != len(content):
        found.add(Finding(f"{place}:end", "trailing"))
