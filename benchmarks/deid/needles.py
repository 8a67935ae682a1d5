"""Does an identifier survive?  A search of whatever an output consists of: bytes, packed streams, pixels, names.

It shares no code with any de-identifier and knows no format's rules beyond how data are packed, so it finds what a
parser overlooks.  It is no proof of absence: words in pixels that only an eye can read are not its business.
"""

from __future__ import annotations

import base64
import datetime
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote_to_bytes

from benchmarks.deid.views import Budget, frames, inner_data

DEPTH = 4
"""Streams within streams that are opened."""
SHORT = 8
"""A needle of fewer bytes is looked for as it is and only in the file itself: elsewhere chance would find it."""
MAX_FILE = 512 * 2**20
_ALPHABET = bytes.maketrans(b"-_", b"+/")
_REFERENCE = re.compile(rb"&#(?:x([0-9A-Fa-f]{1,6})|([0-9]{1,7}));")


@dataclass(frozen=True)
class Survival:
    """In which views something was found; nothing may be concluded from ``how`` being empty unless ``complete``."""

    how: tuple[str, ...]
    complete: bool

    @property
    def gone(self) -> bool:
        return self.complete and not self.how


@dataclass
class _State:
    how: set[str] = field(default_factory=set)
    budget: Budget = field(default_factory=Budget)


class Search:
    """Looks for any of some needles: text in any case and coding, bytes as they are."""

    def __init__(self, needles: Iterable[str | bytes]) -> None:
        """Raises ``ValueError`` without needles or with an empty one: such a search would always or never succeed."""
        given = tuple(needles)
        if not given or not all(given):
            raise ValueError("a search needs needles that are not empty")
        self.folded: dict[str, set[bytes]] = {"raw": set(), "utf-16": set(), "hex": set()}
        self.exact: dict[str, set[bytes]] = {"raw": set(), "base64": set()}
        self.short: set[bytes] = set()
        for needle in given:
            self._add(needle)

    def _add(self, needle: str | bytes) -> None:
        plain = needle.encode() if isinstance(needle, str) else needle
        if len(plain) < SHORT:
            self.short.add(plain)
            return
        codings = [plain]
        if isinstance(needle, str):
            wide = needle.encode("utf-16-le"), needle.encode("utf-16-be")
            self.folded["raw"].add(plain.lower())
            self.folded["utf-16"] |= {coded.lower() for coded in wide}
            codings += wide
        else:
            self.exact["raw"].add(plain)
        self.folded["hex"] |= {coded.hex().encode() for coded in codings}
        self.exact["base64"] |= {phase for coded in codings for phase in _phases(coded)}

    def in_bytes(self, data: bytes) -> Survival:
        """In one file's bytes."""
        state = _State()
        self._file(data, state)
        return _told(state)

    def in_folder(self, folder: Path) -> Survival:
        """In all files below a folder, in their names, link targets, times and extended attributes.

        The folder's own name is the caller's and is not searched.
        """
        state = _State()
        for path in sorted(folder.rglob("*")):
            self._entry(path, path.name, state)
            if path.is_file() and not path.is_symlink():
                state.budget.left = Budget().left
                if path.stat().st_size > MAX_FILE:
                    state.budget.complete = False
                else:
                    self._file(path.read_bytes(), state)
        return _told(state)

    def _entry(self, path: Path, name: str, state: _State) -> None:
        if self._seen(os.fsencode(name)):
            state.how.add("name")
        if path.is_symlink() and self._seen(os.fsencode(path.readlink())):
            state.how.add("link")
        changed = datetime.datetime.fromtimestamp(path.lstat().st_mtime, datetime.UTC)
        if self._seen(changed.strftime("%Y:%m:%d %H:%M:%S").encode()):
            state.how.add("time")
        try:
            names = os.listxattr(path, follow_symlinks=False)
            values = [os.getxattr(path, key, follow_symlinks=False) for key in names]
        except (OSError, AttributeError):  # a file system or a machine without such attributes
            return
        if any(self._seen(part) for part in [*map(os.fsencode, names), *values]):
            state.how.add("attribute")

    def _seen(self, data: bytes) -> bool:
        return bool(self._matches(data)) or any(needle in data for needle in self.short)

    def _file(self, data: bytes, state: _State) -> None:
        if any(needle in data for needle in self.short):
            state.how.add("raw")
        self._deep(data, state, ())
        for pixels in frames(data, state.budget):
            if self._plain(pixels):
                state.how.add("pixels")

    def _deep(self, data: bytes, state: _State, way: tuple[str, ...]) -> None:
        state.how |= {"/".join((*way, how)) for how in self._matches(data)}
        for kind, inner in inner_data(data, state.budget):
            if inner and len(way) >= DEPTH:
                state.budget.complete = False
                return
            if inner:
                self._deep(inner, state, (*way, kind))

    def _matches(self, data: bytes) -> set[str]:
        found = self._plain(data) | self._coded(data)
        if not found and b"%" in data and self._plain(unquote_to_bytes(data)):
            found.add("percent")
        if not found and b"&#" in data and self._plain(_REFERENCE.sub(_character, data)):
            found.add("entity")
        return found

    def _plain(self, data: bytes) -> set[str]:
        folded = data.lower()
        found = {how for how in ("raw", "utf-16") if any(needle in folded for needle in self.folded[how])}
        if any(needle in data for needle in self.exact["raw"]):
            found.add("raw")
        return found

    def _coded(self, data: bytes) -> set[str]:
        """In hexadecimal or base64, both often broken into lines; base64 in either of its alphabets."""
        compact = data.translate(_ALPHABET, b" \t\r\n")
        found = {"base64"} if any(needle in compact for needle in self.exact["base64"]) else set()
        lower = compact.lower()
        return found | ({"hex"} if any(needle in lower for needle in self.folded["hex"]) else set())


def _told(state: _State) -> Survival:
    return Survival(tuple(sorted(state.how)), state.budget.complete)


def _phases(data: bytes) -> set[bytes]:
    """Base64 of ``data`` inside something longer, by its place modulo 3; only the characters that it decides alone."""
    found = set()
    for before in range(3):
        coded = base64.b64encode(bytes(before) + data)
        found.add(coded[(0, 2, 3)[before] : (before + len(data)) * 8 // 6])
    return found


def _character(match: re.Match[bytes]) -> bytes:
    number = int(match[1], 16) if match[1] else int(match[2])
    return chr(number).encode() if number < 0xD800 else b"?"
