"""What git holds, in a handful of calls: a commit's tree, objects by their id, the tags of seals."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cytoline.errors import CytolineError

_SECONDS = 300
_PLACES = {40: "sha1", 64: "sha256"}


@dataclass(frozen=True)
class Tag:
    """An annotated tag (``annotated``), the commit it names and its message."""

    annotated: bool
    commit: str
    message: str


def git(top: Path, *words: str, given: bytes | None = None) -> bytes | None:
    """Run git; None where it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(top), *words], input=given, capture_output=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def head(top: Path) -> str:
    """The full hash of the commit that is checked out.  Raises ``CytolineError`` where there is none."""
    found = git(top, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if found is None:
        raise CytolineError("there is no commit here", "run this in the project's git repository")
    return found.decode().strip()


def tree(top: Path, commit: str) -> dict[str, str]:
    """Path to object id of every regular file of a commit; empty where git lacks the commit."""
    listed = git(top, "ls-tree", "-r", "-z", "--full-tree", commit) or b""
    files = {}
    for row in listed.decode(errors="surrogateescape").split("\0"):
        words, _, path = row.partition("\t")
        mode, kind, name = [*words.split(" "), "", "", ""][:3]
        if kind == "blob" and mode.startswith("100"):
            files[path] = name
    return files


def blobs(top: Path, names: Sequence[str]) -> list[bytes | None]:
    """The content of objects by their ids, in one call."""
    if not names:
        return []
    answer = git(top, "cat-file", "--batch", given="".join(f"{name}\n" for name in names).encode()) or b""
    found: list[bytes | None] = []
    at = 0
    for _ in names:
        end = answer.find(b"\n", at)
        words = answer[at : max(end, at)].split(b" ")
        at = end + 1 if end >= 0 else len(answer)
        if len(words) == 3 and words[2].isdigit():
            size = int(words[2])
            found.append(answer[at : at + size])
            at += size + 1
        else:
            found.append(None)
    return found


def versions_of(top: Path, path: str) -> list[str]:
    """The ids of every content that ``path`` had in the history of the commit that is checked out, newest first."""
    words = ("log", "--full-history", "-m", "--format=", "--raw", "--no-abbrev", "--no-renames", "-z", "HEAD")
    rows = (git(top, *words, "--", path) or b"").decode(errors="replace").split("\0")
    found = (row.strip("\n").split(" ") for row in rows if ":" in row)
    return list(dict.fromkeys(words[3] for words in found if len(words) > 3 and words[3].strip("0")))


def blob_id(content: bytes, like: str) -> str:
    """The id git would give this content, in the kind of hash (SHA-1 or SHA-256) of the id ``like``."""
    hashed = hashlib.new(_PLACES.get(len(like), "sha1"), b"blob %d\0" % len(content), usedforsecurity=False)
    hashed.update(content)
    return hashed.hexdigest()


def filtered_id(top: Path, path: str) -> str | None:
    """The id of a work tree file after the filters that git applies to it (ends of lines)."""
    found = git(top, "hash-object", "--", path)
    return found.decode().strip() if found else None


def tags(top: Path, prefix: str) -> Mapping[str, Tag]:
    """Every tag that begins with ``prefix``."""
    form = "%(refname:short)%00%(objecttype)%00%(*objectname)%(if)%(*objectname)%(then)%(else)%(objectname)%(end)"
    listed = git(top, "for-each-ref", f"--format={form}%00%(contents)%01", f"refs/tags/{prefix}") or b""
    found = {}
    for row in listed.decode(errors="replace").split("\x01"):
        name, kind, commit, message = [*row.strip("\n").split("\0"), "", "", "", ""][:4]
        if name:
            found[name] = Tag(kind == "tag", commit, message)
    return found


def commits_held(top: Path, names: Sequence[str]) -> set[str]:
    """Those of ``names`` that git holds as commits."""
    answer = git(top, "cat-file", "--batch-check", given="".join(f"{name}\n" for name in names).encode()) or b""
    rows = (row.split(" ") for row in answer.decode(errors="replace").splitlines())
    return {row[0] for row in rows if len(row) == 3 and row[1] == "commit"}
