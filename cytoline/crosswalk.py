"""Random pseudonyms and the one file that knows whose they are.

HIPAA's Safe Harbor (45 CFR 164.514(c)) lets a code stand for a person only if it is not derived from anything about
that person; an HMAC is.  Here chance gives the codes, and a file outside the repository, readable by its owner alone,
remembers them.  Whoever loses it can never add to the same archive again, and two machines must share one file.

Two runs may use it at once: each saves under a lock, adding to what is there by then.  Where both have drawn a code
for the same person, the later one fails and must be run again; nothing that was given is ever changed.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cytoline.deid.locking import locked
from cytoline.errors import CytolineError
from cytoline.pseudonyms import CROSSWALK_VARIABLE, Domain, canonical, refuse_inside

_HEX = 32
_VERSION = 1
_PATIENCE = 60.0
"""Seconds that a run waits for another to save."""

Given = dict[str, dict[str, str]]
"""Domain -> value -> code."""


class Crosswalk:
    """(domain, value) -> 32 random hex digits; what is new is kept by ``save``."""

    def __init__(self, path: Path, key_id: str, given: Given) -> None:
        self._path = path
        self._given = given
        self._taken = {code for codes in given.values() for code in codes.values()}
        self._drawn: Given = {}
        """Since it was read."""
        self.key_id = key_id

    @classmethod
    def load(cls, path: Path | None = None, repository: Path = Path()) -> Crosswalk:
        """The file's, or an empty one.  Refuses a file that others can read, is damaged, or lies in ``repository``."""
        path = path or crosswalk_path()
        refuse_inside(path, repository)
        if not path.exists() and not path.is_symlink():
            with locked(path, _PATIENCE):
                if not path.exists():  # at once, so that two first runs agree on its id
                    _write(path, secrets.token_hex(4), {})
        return cls(path, *_read(path))

    def of(self, domain: Domain, value: str) -> str:
        """The pseudonym of ``value``; drawn on the first asking."""
        value = canonical(domain, value)
        codes = self._given.setdefault(domain, {})
        if value not in codes:
            code = secrets.token_hex(_HEX // 2)
            while code in self._taken:
                code = secrets.token_hex(_HEX // 2)
            self._taken.add(code)
            codes[value] = code
            self._drawn.setdefault(domain, {})[value] = code
        return codes[value]

    def save(self) -> None:
        """Add what was drawn since it was read to the file (mode 0600, in one step).

        Raises ``CytolineError`` if another run has meanwhile drawn other codes for the same values.
        """
        if not self._drawn:
            return
        with locked(self._path, _PATIENCE):
            key_id, there = _read(self._path)
            taken = {code for codes in there.values() for code in codes.values()}
            for domain, drawn in self._drawn.items():
                codes = there.setdefault(domain, {})
                if key_id != self.key_id or not codes.keys().isdisjoint(drawn) or not taken.isdisjoint(drawn.values()):
                    raise CytolineError(
                        "another run has added the same people to the crosswalk in the meantime",
                        "run again: the codes that are in the file will be used",
                    )
                codes.update(drawn)
            _write(self._path, key_id, there)
        self._given, self._drawn = there, {}

    def __repr__(self) -> str:
        return f"Crosswalk({self.key_id})"


def _read(path: Path) -> tuple[str, Given]:
    """Its id and codes.  Raises ``CytolineError`` for a file that others can read, a link, or damage."""
    if path.is_symlink():
        raise CytolineError(
            "the crosswalk is a link, and writing it anew would leave what it points to behind",
            f"name the file itself in {CROSSWALK_VARIABLE}",
        )
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or stat.S_IMODE(status.st_mode) & 0o077:
            raise CytolineError(
                f"the crosswalk can be read by others (mode {stat.S_IMODE(status.st_mode):04o})",
                "make it private: `chmod 600` on the file, and think about who has read it",
            )
        loaded = json.loads(path.read_text(encoding="utf-8", errors="surrogatepass"), object_pairs_hook=_once)
        given = {str(domain): _codes(codes) for domain, codes in loaded["given"].items()}
        codes = [code for each in given.values() for code in each.values()]
        if loaded["version"] != _VERSION or len(set(codes)) != len(codes):
            raise ValueError
        return str(loaded["id"]), given
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise CytolineError(
            "the crosswalk file is damaged",
            "restore it from its backup; a new one would give every patient a new pseudonym",
        ) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object in which no key comes twice: of two codes for a person one would be forgotten."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _write(path: Path, key_id: str, given: Given) -> None:
    content = json.dumps({"version": _VERSION, "id": key_id, "given": given}, sort_keys=True)
    write_private(path, content + "\n")


def crosswalk_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where it is: the file named by ``CYTOLINE_CROSSWALK_FILE``, else one below ``~/.config``."""
    named = environ.get(CROSSWALK_VARIABLE)
    return Path(named) if named else Path.home() / ".config" / "cytoline" / "crosswalk.json"


def write_private(path: Path, text: str) -> None:
    """Replace ``path`` in one step by a file that only its owner may read, from its first byte on.

    Raises ``CytolineError`` where that cannot be done.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogatepass") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise CytolineError(
            f"a private file cannot be written ({error.strerror})",
            "point its variable at a file in a folder that you may write, outside the repository",
        ) from None
    finally:
        with suppress(OSError):  # where its folder is none; it would hide the error above
            temporary.unlink(missing_ok=True)


def _codes(codes: dict[str, str]) -> dict[str, str]:
    if not all(len(code) == _HEX and set(code) <= set("0123456789abcdef") for code in codes.values()):
        raise ValueError
    return dict(codes)
