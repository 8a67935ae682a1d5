"""What an interrupted erasure needs to go on: hashes and codes, no names.

The sources from which the person was recognised may be gone when it is resumed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cytoline.crosswalk import write_private
from cytoline.errors import CytolineError

FOLDER = Path(".cytoline/erasure")


def reference_of(pseudonym: str) -> str:
    """What stands for the request in file names and in the certificate: who knows the pseudonym can check it."""
    return hashlib.sha256(f"cytoline erasure|{pseudonym}".encode()).hexdigest()[:32]


@dataclass
class Journal:
    """Filled before the first deletion, thrown away after the certificate is written."""

    reference: str
    codes: list[str] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    gone: dict[str, str] = field(default_factory=dict)
    private: list[str] = field(default_factory=list)
    replaced: dict[str, str] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)
    """Names of sources that DVC has to record anew."""
    images: int = 0
    shared: list[str] = field(default_factory=list)
    models: list[tuple[str, str, str, list[str]]] = field(default_factory=list)
    """Path, hash, part and commits: which versions held the person cannot be seen any more once their listings go."""
    rebuild: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    """Files taken out so far, by place."""

    @classmethod
    def load(cls, reference: str) -> Journal:
        """What an earlier run left, or an empty one."""
        path = FOLDER / f"{reference}.json"
        if not path.is_file():
            return cls(reference)
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            raise CytolineError(
                "the journal of an interrupted erasure is damaged",
                f"delete {path} and run again; what is found is then erased as in a first run",
            ) from None

    def save(self) -> None:
        """Keep it, readable by its owner alone."""
        write_private(FOLDER / f"{self.reference}.json", json.dumps(asdict(self), sort_keys=True) + "\n")

    def drop(self) -> None:
        """Done: nothing of it is needed any more."""
        (FOLDER / f"{self.reference}.json").unlink(missing_ok=True)
        if FOLDER.is_dir() and not any(FOLDER.iterdir()):
            FOLDER.rmdir()
