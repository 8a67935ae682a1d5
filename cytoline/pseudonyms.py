"""Keyed pseudonyms, and the key that makes them.

A pseudonym is the first 128 bits of HMAC-SHA-256(key, "<domain>|<value>"): the same person has the same
pseudonym on every run, nobody without the key can test a guess, and a patient's name never gives the same
code as a slide's.  The key lives outside the repository, readable by its owner alone; whoever has it can link
a pseudonym to a person, whoever loses it can never add to the same archive again.

Synthetic data is the one exception: when every source is a phantom there is nobody to protect, so a key
derived from a public constant is used.  It makes two clones of the repository give the same bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import typer

from cytoline.command import run
from cytoline.errors import CytolineError

Domain = Literal["patient", "slide", "file", "annotator", "uid", "days"]

KEY_VARIABLE = "CYTOLINE_KEY_FILE"
CROSSWALK_VARIABLE = "CYTOLINE_CROSSWALK_FILE"
KEY_BYTES = 32
_PSEUDONYM_HEX = 32
_KEY_ID_HEX = 8
_SYNTHETIC = b"cytoline: public key for synthetic data; protects nobody"


class Names(Protocol):
    """What hands out pseudonyms: ``Pseudonyms`` from a key, ``crosswalk.Crosswalk`` from chance."""

    @property
    def key_id(self) -> str:
        """Eight hex digits that tell archives apart."""
        ...

    def of(self, domain: Domain, value: str) -> str:
        """32 hex digits, the same for the same value."""
        ...


@dataclass
class Pseudonyms:
    """Hands out pseudonyms under one key and watches for two values that would share one."""

    key: bytes = field(repr=False)
    _given: dict[tuple[str, str], str] = field(default_factory=dict, repr=False)

    @property
    def key_id(self) -> str:
        """Eight hex digits that tell keys apart and give nothing away; the only thing ever logged."""
        return _mac(self.key, "key-id|")[:_KEY_ID_HEX]

    def of(self, domain: Domain, value: str) -> str:
        """The pseudonym of ``value``: 32 hex digits.  Raises ``CytolineError`` on a collision."""
        value = canonical(domain, value)
        pseudonym = _mac(self.key, f"{domain}|{value}")[:_PSEUDONYM_HEX]
        if self._given.setdefault((domain, pseudonym), value) != value:
            raise CytolineError(
                f"two different {domain} values share the pseudonym {pseudonym}",
                "use another key; this is not expected to happen once in the age of the universe",
            )
        return pseudonym


def canonical(domain: Domain, value: str) -> str:
    """The one spelling of a value: composed accents (NFC), so that a person typed on two systems is one person.

    Names of files may hold any bytes and keep theirs.  Elsewhere NUL is ours (it stands between a patient and what is
    numbered within that patient) and lone surrogates are damage: raises ``CytolineError``, which repeats neither.
    """
    if domain == "file":
        return value
    if value.count("\0") > (domain == "slide") or any("\ud800" <= character <= "\udfff" for character in value):
        raise CytolineError(
            f"a {domain} value holds a NUL or half a character, and is no name that anybody gave",
            "mend it in the source: it is damaged, or was read in the wrong encoding",
        )
    return unicodedata.normalize("NFC", value)


def synthetic_key() -> bytes:
    """The public key for phantom data (see the module's docstring).  Never for a person's data."""
    return hashlib.sha256(_SYNTHETIC).digest()


def key_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the key is: the file named by ``CYTOLINE_KEY_FILE``, else one below ``~/.config``."""
    named = environ.get(KEY_VARIABLE)
    return Path(named) if named else Path.home() / ".config" / "cytoline" / "pseudonym.key"


def load_key(path: Path | None = None, repository: Path = Path()) -> bytes:
    """Read the key.  Refuses one that is missing, short, readable by others, or inside ``repository``."""
    path = path or key_path()
    refuse_inside(path, repository)
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()
    except OSError:
        raise CytolineError(
            "real images need a pseudonym key and there is none that can be read",
            "make one with `.venv/bin/python -m cytoline.pseudonyms`, or, if this archive has one, point "
            f"{KEY_VARIABLE} at its file (outside the repository, mode 0600)",
        ) from None
    if not stat.S_ISREG(mode) or stat.S_IMODE(mode) & 0o077:
        raise CytolineError(
            f"the pseudonym key can be read by others (mode {stat.S_IMODE(mode):04o})",
            "make it private: `chmod 600` on the file, and think about who has read it",
        )
    try:
        key = bytes.fromhex(content.decode("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise CytolineError(
            f"the pseudonym key file does not hold {KEY_BYTES} bytes in hex",
            "restore it from its backup; a new key would give every patient a new pseudonym",
        )
    return key


def ensure_key(path: Path | None = None, repository: Path = Path()) -> str:
    """Make a key where there is none (mode 0600, never over another).  Returns one line that describes it."""
    path = path or key_path()
    refuse_inside(path, repository)
    made = not path.exists()
    if made:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise CytolineError(
                f"the pseudonym key file cannot be made ({error.strerror})",
                f"point {KEY_VARIABLE} at a file in a folder that you may write, outside the repository",
            ) from None
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
    key_id = Pseudonyms(load_key(path, repository)).key_id
    return (
        f"{'made a new' if made else 'found the'} pseudonym key {key_id}; keep a backup of its file apart from the data"
    )


def refuse_inside(path: Path, repository: Path) -> None:
    if path.resolve().is_relative_to(repository.resolve()):
        raise CytolineError(
            "the pseudonym key (or crosswalk) lies inside the repository, where it could be committed or pushed",
            f"move it out, for example to ~/.config/cytoline/, and name it in {KEY_VARIABLE} ({CROSSWALK_VARIABLE})",
        )


def _mac(key: bytes, message: str) -> str:
    return hmac.new(key, message.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


def main() -> None:
    """Make the pseudonym key if there is none, and say which one there is."""
    typer.echo(ensure_key())


if __name__ == "__main__":
    run(main)
