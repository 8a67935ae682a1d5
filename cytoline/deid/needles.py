"""Search for known identifiers of the input in what was made of it: raw, in other encodings, and inside zlib streams.

It knows nothing of formats, on purpose: it is the third check, for what both parsers before it overlooked.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterable, Iterator
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

SHORTEST = 6
"""Bytes.  Compressed pixels hold any five bytes in a row sooner or later."""

_PREFIX = 4
_BLOCK = 1 << 22
_STREAM = re.compile(rb"\x78[\x01\x5e\x9c\xda]")
"""How a zlib stream begins."""
_INFLATED_MOST = 1 << 26
"""Bytes of one inflated stream that are searched; text blocks are smaller."""
_STREAMS_MOST = 64
"""Streams of one file that are inflated: two random bytes look like a beginning once in 16,000."""


class Needles:
    """A compiled set of identifiers."""

    def __init__(self, identifiers: Iterable[str]) -> None:
        forms = sorted({form for text in identifiers for form in _forms(text) if len(form) >= SHORTEST})
        self._by_prefix: dict[int, list[bytes]] = {}
        for form in forms:
            self._by_prefix.setdefault(int.from_bytes(form[:_PREFIX], "little"), []).append(form)
        self._prefixes: NDArray[np.uint32] = np.array(sorted(self._by_prefix), np.uint32)
        self._longest = max(map(len, forms), default=0)

    def __bool__(self) -> bool:
        return bool(self._by_prefix)

    def inside(self, content: bytes) -> bool:
        """True if any identifier, in any of its forms, is in the bytes or in a zlib stream among them."""
        if not self:
            return False
        return self._in_bytes(content) or any(self._in_bytes(inflated) for inflated in _inflated(content))

    def _in_bytes(self, content: bytes) -> bool:
        # Letters of either case are told apart by one bit: needles are lower case, and so is this copy.
        content = content.lower()
        for start in range(0, len(content), _BLOCK):
            part = np.frombuffer(content[start : start + _BLOCK + _PREFIX - 1], np.uint8)
            if len(part) < _PREFIX:
                continue
            grams = np.lib.stride_tricks.sliding_window_view(part, _PREFIX)
            words = np.ascontiguousarray(grams).view("<u4").ravel()
            at = np.searchsorted(self._prefixes, words).clip(max=len(self._prefixes) - 1)
            for offset in np.flatnonzero(self._prefixes[at] == words):
                place = start + int(offset)
                if any(content.startswith(form, place) for form in self._by_prefix[int(words[offset])]):
                    return True
        return False


def _forms(text: str) -> Iterator[bytes]:
    """An identifier as it may lie in a file whose ASCII letters were made lower case (umlauts keep theirs)."""
    for cased in {text, text.lower(), text.upper(), text.title()}:
        raw = cased.encode("utf-8", "surrogateescape")
        for encoding in ("utf-16-le", "utf-16-be", "latin-1"):
            try:
                yield cased.encode(encoding).lower()
            except UnicodeEncodeError:  # cannot lie in a file in this encoding
                continue
        yield raw.lower()
        yield quote(raw).lower().encode()
        yield raw.hex().encode()
        yield from _base64(raw)


def _base64(raw: bytes) -> Iterator[bytes]:
    """The three ways in which it can lie in base64, cut to the characters that no neighbour changes.

    In lower case like everything else: that makes a chance hit likelier, and eight characters are asked for.
    """
    for before in range(3):
        whole = base64.b64encode(bytes(before) + raw)
        first = -(-before * 8 // 6)
        last = (before + len(raw)) * 8 // 6
        core = whole[first:last].lower()
        if len(core) >= SHORTEST + 2:
            yield core


def _inflated(content: bytes) -> Iterator[bytes]:
    for number, match in enumerate(_STREAM.finditer(content)):
        if number >= _STREAMS_MOST:
            return
        inflater = zlib.decompressobj()
        try:
            out = inflater.decompress(content[match.start() :], _INFLATED_MOST)
        except zlib.error:
            continue
        if len(out) >= SHORTEST:
            yield out
