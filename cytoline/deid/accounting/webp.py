"""Looks at the chunks of a WebP: which there are, whether sizes are exact, whether anything follows.

Neither VP8 nor VP8L says how long its coded pixels are, and a decoder stops when it has them, so words behind them
cannot be told from pixels here.  Hence every WebP has the finding ``webp:pixels`` ``unsupported``: it can be made
anew as another format, but not be shown to be clean.
Source: RFC 9649.
"""

from __future__ import annotations

from cytoline.deid.accounting.source import DamagedError, Source, cut
from cytoline.deid.finding import Finding

_METADATA = {b"EXIF": "EXIF", b"XMP ": "XMP", b"ICCP": "ICCP", b"ANIM": "ANIM", b"ANMF": "ANMF"}
_PIXELS = frozenset({b"VP8 ", b"VP8L", b"ALPH"})
_KNOWN_FLAGS = 0x10
"""Only "there is transparency"; the others announce metadata."""


def findings(content: Source) -> list[Finding]:
    """What a WebP holds besides pixels; never empty."""
    found = {Finding("webp:pixels", "unsupported")}
    try:
        found |= _chunks(content)
    except DamagedError:
        found.add(Finding("webp:structure", "damaged"))
    return sorted(found)


def _chunks(content: Source) -> set[Finding]:
    found: set[Finding] = set()
    end = 8 + int.from_bytes(cut(content, 4, 4), "little")
    if end > len(content):
        raise DamagedError
    if end < len(content):
        found.add(Finding("webp:end", "trailing"))
    at = 12
    names: list[bytes] = []
    while at < end:
        name, size = cut(content, at, 4), int.from_bytes(cut(content, at + 4, 4), "little")
        if at + 8 + size + size % 2 > end:
            raise DamagedError
        if size % 2 and cut(content, at + 8 + size, 1) != b"\0":
            found.add(Finding("webp:padding", "unused"))
        if name == b"VP8X" and not names:
            body = cut(content, at + 8, size)
            if size != 10 or body[0] & ~_KNOWN_FLAGS or any(body[1:4]):
                found.add(Finding("webp:VP8X", "value"))
        elif name not in _PIXELS or name in names:
            found.add(Finding(f"webp:{_METADATA.get(name, 'other')}", "metadata"))
        names.append(name)
        at += 8 + size + size % 2
    if (b"VP8 " in names) == (b"VP8L" in names):
        raise DamagedError
    return found
