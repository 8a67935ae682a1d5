"""What git keeps of the person, and the commands that rewrite it.

Git's history is everybody's copy of the project: it is never rewritten here, only described.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cytoline.audit.erasure.marks import How, Marks
from cytoline.errors import CytolineError

_LARGEST = 256 << 20


@dataclass
class History:
    """``files``: path -> old states of it that show the person, by how."""

    files: dict[str, Counter[How]] = field(default_factory=dict)
    originals: list[str] = field(default_factory=list, repr=False)
    """Paths whose old states are, byte for byte, files of the person."""

    @property
    def states(self) -> int:
        """Old states in all."""
        return sum(sum(counts.values()) for counts in self.files.values())


def search_history(marks: Marks) -> History:
    """Read every blob that git holds, those that no branch reaches any more as well."""
    history = History()
    paths = _paths()
    for name, content in _blobs():
        how = marks.found_in(content, names=True)
        if how is None:
            continue
        path = paths.get(name, "(reached by no branch)")
        history.files.setdefault(path, Counter())[how] += 1
        if how == "whole file":
            history.originals.append(path)
    return history


def replacements(marks: Marks, replaced: Mapping[str, str]) -> str:
    """The list for ``git filter-repo --replace-text``.  It holds what is to vanish, so it belongs in no repository.

    Old versions then name the listings without the person, so that ``dvc checkout`` of an old commit works again.
    """
    lines = [f"{code}==>erased" for code in sorted(marks.codes | marks.own)]
    lines += [f"{name}==>erased" for name in marks.searchable]
    lines += [f"{old}==>{new}" for old, new in sorted(replaced.items())]
    return "".join(line + "\n" for line in lines)


def rewriting(history: History, listed: Path) -> list[str]:
    """The commands to paste, with the list of replacements in ``listed``."""
    return [
        "git clone --no-local . ../rewritten && cd ../rewritten     # never in the only copy",
        f"git filter-repo --replace-text {_quoted(str(listed))}",
        *(f"git filter-repo --invert-paths --path {_quoted(path)}" for path in sorted(set(history.originals))),
        "git push --force --all && git push --force --tags          # then every clone is made anew",
        "git reflog expire --expire=now --all && git gc --prune=now  # in the old place, and on the server",
    ]


def _blobs() -> Iterator[tuple[str, bytes]]:
    with subprocess.Popen(
        ["git", "cat-file", "--batch-all-objects", "--batch", "--unordered", "--buffer"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        while header := process.stdout.readline():
            name, kind, size = header.decode().split()
            if int(size) > _LARGEST:
                raise CytolineError(
                    "git holds a file of more than 256 MB, which is not searched", "take it out of git's history"
                )
            content = process.stdout.read(int(size))
            process.stdout.read(1)
            if kind in ("blob", "commit", "tag"):
                yield name, content


def _paths() -> dict[str, str]:
    listed = subprocess.run(
        ["git", "rev-list", "--objects", "--all", "--reflog"], capture_output=True, check=False
    ).stdout.decode("utf-8", "surrogateescape")
    rows = (line.partition(" ") for line in listed.split("\n"))
    return {name: path or "(a commit's message)" for name, _, path in rows if name}


def _quoted(path: str) -> str:
    return "'" + path.replace("'", "'\\''") + "'"
