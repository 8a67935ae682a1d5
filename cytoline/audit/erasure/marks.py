"""What tells that bytes are one person's: codes, hashes of whole files, and names.

Codes are the hexadecimal words that stand for the person (pseudonym, image ids, slides, sha256 of files): they never
occur by chance, so finding one decides.  Names (the raw patient id, paths of incoming files) can occur by chance;
they are looked for in the proof, and decide only where a log of refused files is concerned.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import html
import json
import re
import unicodedata
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from cytoline.audit.erasure.packing import DEEPEST, members, opened

How = Literal["whole file", "in a tar", "in a page", "code", "name", "packed"]

LEAST_NAME = 4
"""Characters: a shorter name ("12") would be found everywhere and prove nothing."""

_RUN = re.compile(rb"[0-9a-fA-F]{32,}")
_URI = re.compile(rb"base64,\s*([A-Za-z0-9+/=\s]{40,})")
_TAR_MAGIC = slice(257, 262)


@dataclass(frozen=True)
class Marks:
    """``digests``: sha256 of the person's files; ``others``: of everybody else's, with their codes."""

    codes: frozenset[str] = frozenset()
    digests: frozenset[str] = frozenset()
    words: frozenset[str] = field(default=frozenset(), repr=False)
    others: frozenset[str] = field(default=frozenset(), repr=False)

    @cached_property
    def own(self) -> frozenset[str]:
        """Digests of files that are nobody else's as well."""
        return self.digests - self.others

    @cached_property
    def _codes(self) -> frozenset[bytes]:
        return frozenset(code.encode() for code in (self.codes | self.own) - self.others)

    @cached_property
    def _others(self) -> frozenset[bytes]:
        return frozenset(code.encode() for code in self.others)

    @cached_property
    def searchable(self) -> tuple[str, ...]:
        """Names that are long enough to be looked for in text."""
        return tuple(sorted(word for word in self.words if len(word) >= LEAST_NAME))

    @cached_property
    def _names(self) -> re.Pattern[bytes] | None:
        spelled = sorted({form for word in self.searchable for form in _spellings(word)}, key=lambda s: (-len(s), s))
        if not spelled:
            return None
        return re.compile(rb"(?<![0-9A-Za-z])(?:" + b"|".join(map(re.escape, spelled)) + rb")(?![0-9A-Za-z])", re.I)

    def coded(self, content: bytes) -> bool:
        """A code of the person stands in it."""
        return any(word in self._codes for run in _runs(content) for word in _words(run))

    def named(self, content: bytes) -> bool:
        """A name of the person stands in it."""
        return self._names is not None and self._names.search(content) is not None

    def someone_elses(self, content: bytes) -> bool:
        """It is, or names, a file of somebody else."""
        return _sha256(content) in self.others or any(run in self._others for run in _runs(content))

    def found_in(self, content: bytes, names: bool = False, depth: int = 0) -> How | None:
        """How the person shows in a file's content; None where they do not.  ``names``: look for names, too."""
        if _sha256(content) in self.own:
            return "whole file"
        if content[_TAR_MAGIC] == b"ustar" and any(_sha256(member) in self.own for member in members(content)):
            return "in a tar"
        if any(_sha256(picture) in self.own for picture in _pictures(content)):
            return "in a page"
        if self.coded(content):
            return "code"
        if names and is_text(content) and self.named(content):
            return "name"
        parts = opened(content) if depth < DEEPEST else ()
        return "packed" if any(part and self.found_in(part, names, depth + 1) for part in parts) else None


def is_text(content: bytes) -> bool:
    """Text, or an SQLite file (which keeps text as it is)."""
    return b"\0" not in content[:8192] or content.startswith(b"SQLite format 3\0")


def _pictures(content: bytes) -> Iterator[bytes]:
    """What pages embed as data URIs."""
    if b"base64," not in content:
        return
    for match in _URI.finditer(content):
        try:
            yield base64.b64decode(b"".join(match.group(1).split()))
        except (binascii.Error, ValueError):
            continue


def _runs(content: bytes) -> Iterator[bytes]:
    return (match.group().lower() for match in _RUN.finditer(content))


def _words(run: bytes) -> Iterator[bytes]:
    """Every code that a run of digits may hold: in an SQLite file the byte before a code may be a digit, too."""
    for length in (32, 64):
        for start in range(len(run) - length + 1):
            yield run[start : start + length]


def _spellings(word: str) -> set[bytes]:
    """As UTF-8 in both forms of accents, in JSON, in HTML and in an address."""
    forms = {unicodedata.normalize(form, word) for form in ("NFC", "NFD")}
    forms |= {json.dumps(one)[1:-1] for one in forms} | {html.escape(one) for one in forms}
    forms |= {urllib.parse.quote(one) for one in forms}
    return {one.encode("utf-8", "surrogateescape") for one in forms}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
