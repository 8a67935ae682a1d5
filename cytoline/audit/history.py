"""Git's history as the index reads it: which commits there are, and many small files out of them quickly.

One ``git cat-file --batch`` answers for thousands of files; a process for each would cost seconds.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from cytoline.errors import CytolineError

LARGEST = 64 << 20
"""Bytes of a file in git above which it is not read."""


def tips(top: Path) -> str:
    """A fingerprint of everything that git can reach from: branches, tags, experiments and the reflog."""
    listed = _git(top, "rev-list", "--all", "--reflog", "--no-walk")
    head = _git(top, "rev-parse", "--verify", "--quiet", "HEAD", ok=(0, 1, 128))
    return hashlib.sha256(listed + head).hexdigest()


def recorded(top: Path) -> Mapping[str, int]:
    """Every commit that changed ``dvc.lock`` or a ``.dvc`` file, to its time (seconds since 1970), oldest first.

    ``--full-history``: without it git leaves out a branch whose changes a merge threw away, and with it models.
    """
    listed = _git(
        top,
        *("log", "--all", "--reflog", "HEAD", "--full-history", "--topo-order", "--format=%H %ct"),
        *("--", "dvc.lock", "*.dvc"),
        ok=(0, 128),  # 128: there is no commit yet
    )
    rows = [line.split() for line in reversed(listed.decode().splitlines())]  # git lists children before parents
    return {commit: int(time) for commit, time in sorted(rows, key=lambda row: int(row[1]))}


def blob_name(content: bytes) -> str:
    """The name that git gives to a file's content (SHA-1 repositories)."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class Blobs:
    """Files of commits, one after the other, through one git process."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._git: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._git is not None:
            with suppress(OSError):
                self._pipe(self._git.stdin).close()
            self._git.kill()
            self._git.wait()
            self._pipe(self._git.stdout).close()

    def read(self, commit: str, path: str) -> tuple[str, bytes] | None:
        """Name of the blob and its content; None where the commit has no such file, or one too large to read."""
        if "\n" in path or "\n" in commit:
            return None
        if self._git is None:
            self._git = subprocess.Popen(
                ["git", "-C", str(self._top), "cat-file", "--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        asked, told = self._pipe(self._git.stdin), self._pipe(self._git.stdout)
        asked.write(f"{commit}:{path}\n".encode("utf-8", errors="surrogateescape"))
        asked.flush()
        words = told.readline().split()
        if not words:
            raise CytolineError("git stopped answering", "`git fsck` shows what is broken in this repository")
        if len(words) != 3 or not words[2].isdigit():
            return None
        size, left = int(words[2]), int(words[2])
        parts: list[bytes] = []
        while left:
            part = told.read(min(left, 1 << 20))
            if not part:
                raise CytolineError("git stopped answering", "`git fsck` shows what is broken in this repository")
            left -= len(part)
            if size <= LARGEST:
                parts.append(part)
        told.read(1)
        return (words[0].decode(), b"".join(parts)) if size <= LARGEST and words[1] == b"blob" else None

    def names(self, commit: str, ending: str) -> list[str]:
        """Paths of a commit that end so."""
        listed = _git(self._top, "ls-tree", "-r", "-z", "--name-only", commit)
        names = listed.decode(errors="surrogateescape").split("\0")
        return [name for name in names if name.endswith(ending)]

    @staticmethod
    def _pipe(end: IO[bytes] | None) -> IO[bytes]:
        if end is None:
            raise RuntimeError("a pipe to git is not open")
        return end


def _git(top: Path, *words: str, ok: tuple[int, ...] = (0,)) -> bytes:
    try:
        done = subprocess.run(["git", "-C", str(top), *words], capture_output=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CytolineError(f"git did not answer ({type(error).__name__})", "is git installed?") from None
    if done.returncode not in ok:
        raise CytolineError("this folder is no git repository, or git cannot read it", "run it at the repository's top")
    return done.stdout
