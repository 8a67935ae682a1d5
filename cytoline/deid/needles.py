"""Search for known identifiers of the input in what was made of it: raw, in other encodings, and in packed streams.

It knows nothing of formats, on purpose: it is the third check, for what both parsers before it overlooked.
Identifiers of ``SHORTEST`` bytes and more are looked for anywhere.  Compressed pixels hold any five bytes in a row
sooner or later, so shorter ones count only as a whole word in something that reads as text.

Not found: what is packed in raw deflate without a ZIP header in the middle of a file (see ``packed``).
"""

from __future__ import annotations

import base64
import mmap
import re
import unicodedata
from collections.abc import Iterable, Iterator
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from cytoline.deid.packed import unpacked

SHORTEST = 6
"""Bytes of what is looked for anywhere."""
LEAST = 2
"""Characters of what is looked for at all."""

CODE_PAGES = (
    *("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "latin-1", "cp1252", "iso8859-2", "cp1250"),
    *("iso8859-9", "cp1254", "iso8859-5", "cp1251", "koi8-r", "cp866", "iso8859-7", "cp1253", "cp437", "cp850"),
    *("cp852", "mac-roman", "iso8859-15", "iso8859-8", "iso8859-6", "cp1255", "cp1256", "cp1257"),
    *("shift_jis", "euc_jp", "iso2022_jp", "gb18030", "big5", "euc_kr", "utf-7"),
)
"""Encodings in which names stand in files; ISO 2022 because DICOM has it."""

_PREFIX = 4
_BLOCK = 1 << 22
_TEXT_RUN = {2: 16, 3: 10}
"""Bytes that must read as text, a word of so many among them; ``_USUAL_RUN`` around longer ones."""
_USUAL_RUN = 8
_LEAST_HEX = 10
"""Hex digits: pseudonyms hold any six sooner or later."""
_AROUND = 24
_TEXT_BEFORE = re.compile(rb"[\t\n\r\x20-\x7e]*\Z")
_TEXT_AFTER = re.compile(rb"[\t\n\r\x20-\x7e]*")

Content = bytes | mmap.mmap


class Needles:
    """A compiled set of identifiers."""

    def __init__(self, identifiers: Iterable[str]) -> None:
        known = {text.strip() for text in identifiers}
        known = {text for text in known if len(text) >= LEAST}
        forms = sorted({form for text in known for form in _forms(text) if len(form) >= SHORTEST})
        self._by_prefix: dict[int, list[bytes]] = {}
        for form in forms:
            self._by_prefix.setdefault(int.from_bytes(form[:_PREFIX], "little"), []).append(form)
        self._prefixes: NDArray[np.uint32] = np.array(sorted(self._by_prefix), np.uint32)
        self._starts: NDArray[np.bool_] = np.zeros(1 << 16, np.bool_)
        """By two bytes: whether any form starts with them."""
        self._starts[[prefix & 0xFFFF for prefix in self._by_prefix]] = True
        self._longest = max(map(len, forms), default=0)
        self._short = frozenset(
            form for text in known for form in _cased(text) if len(form.encode("utf-8", "surrogateescape")) < SHORTEST
        )
        self._short_forms = sorted({form.encode("utf-8", "surrogateescape").lower() for form in self._short})
        spelled = "|".join(re.escape(text) for text in sorted(self._short, key=len, reverse=True))
        self._words = re.compile(rf"(?<![^\W_])(?:{spelled})(?![^\W_])", re.IGNORECASE) if spelled else None

    def __bool__(self) -> bool:
        return bool(self._by_prefix or self._short)

    def inside(self, content: Content) -> bool:
        """True if any identifier, in any of its forms, is in the bytes or in a packed stream among them.

        A file of any size: it is read block by block.
        """
        if not self:
            return False
        return self._in_bytes(content) or any(self._in_bytes(part) for part in unpacked(content))

    def in_text(self, text: str, content: Content) -> bool:
        """The same in a file of JSON: short words in its ``text`` only, because numbers hold any three digits."""
        if self._words is not None and self._words.search(unicodedata.normalize("NFC", text)):
            return True
        return self._long_in(content)

    def _in_bytes(self, content: Content) -> bool:
        return self._long_in(content) or self._short_in(content)

    def _long_in(self, content: Content) -> bool:
        if not self._by_prefix:
            return False
        for start in range(0, len(content), _BLOCK):
            # Letters of either case are told apart by one bit: needles are lower case, and so is this copy.
            block = content[start : start + _BLOCK + self._longest].lower()
            part = np.frombuffer(block[: _BLOCK + _PREFIX - 1], np.uint8)
            if len(part) < _PREFIX:
                continue
            pairs = part[:-3].astype(np.uint16) | part[1:-2].astype(np.uint16) << 8
            likely = np.flatnonzero(self._starts[pairs])
            # Four bytes at once for these: a stretch of zeros looks like the start of every UTF-32 form.
            words = pairs[likely].astype(np.uint32) | part[likely + 2].astype(np.uint32) << 16
            words |= part[likely + 3].astype(np.uint32) << 24
            place = np.searchsorted(self._prefixes, words).clip(max=len(self._prefixes) - 1)
            found = np.flatnonzero(self._prefixes[place] == words)
            for offset, word in zip(likely[found].tolist(), words[found].tolist(), strict=True):
                if any(block.startswith(form, offset) for form in self._by_prefix[word]):
                    return True
        return False

    def _short_in(self, content: Content) -> bool:
        """Whole words within characters that read as text."""
        for start in range(0, len(content) if self._short_forms else 0, _BLOCK):
            block = content[max(start - _AROUND, 0) : start + _BLOCK + _AROUND].lower()
            for form in self._short_forms:
                at = block.find(form)
                while at >= 0:
                    if _stands_as_word(block, at, len(form)):
                        return True
                    at = block.find(form, at + 1)
        return False


def _stands_as_word(block: bytes, at: int, size: int) -> bool:
    before = _TEXT_BEFORE.search(block, max(at - _AROUND, 0), at)
    after = _TEXT_AFTER.match(block, at + size, at + size + _AROUND)
    left, right = before.group() if before else b"", after.group() if after else b""
    if _is_letter(left[-1:]) or _is_letter(right[:1]):
        return False
    # All of a small content counts as text: there is nothing around that could be pixels.
    whole = len(left) + size + len(right) == len(block)
    return whole or len(left) + size + len(right) >= _TEXT_RUN.get(size, _USUAL_RUN)


def _is_letter(byte: bytes) -> bool:
    return byte.isalnum() or byte >= b"\x80"


def _cased(text: str) -> set[str]:
    """Upper and lower case, composed and decomposed accents."""
    cased = {text, text.lower(), text.upper(), text.title()}
    return {unicodedata.normalize(form, one) for one in cased for form in ("NFC", "NFD")} | cased


def _forms(text: str) -> Iterator[bytes]:
    """An identifier as it may lie in a file whose ASCII letters were made lower case (umlauts keep theirs)."""
    for cased in _cased(text):
        raw = cased.encode("utf-8", "surrogateescape")
        for encoding in CODE_PAGES:
            try:
                yield cased.encode(encoding).lower()
            except UnicodeEncodeError:  # cannot lie in a file in this encoding
                continue
        yield raw.lower()
        yield quote(raw).lower().encode()
        if 2 * len(raw) >= _LEAST_HEX:
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
