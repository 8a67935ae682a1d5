"""Hash many files: every byte is read once, on all cores, and one that has several names (hard links) once.

MD5 and SHA-256 of the same file come from one pass.  hashlib lets go of the interpreter's lock, so threads suffice.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cytoline.progress import Bar

_CHUNK = 1 << 20
_WATCHED = 1 << 30
"""So many bytes take long enough for someone to want to know how far it is."""


@dataclass(frozen=True)
class Want:
    """Which hashes of a file are needed."""

    md5: bool = False
    sha256: bool = False

    def __or__(self, other: Want) -> Want:
        return Want(self.md5 or other.md5, self.sha256 or other.sha256)


@dataclass(frozen=True)
class Digest:
    """What a file is.  ``fault`` says why it could not be read; then there is nothing else."""

    size: int = 0
    md5: str = ""
    sha256: str = ""
    same_as: tuple[int, int] = (0, 0)
    """Device and inode: equal for two names of one file."""
    fault: str = ""


def hash_files(
    wanted: Mapping[Path, Want], inside: Iterable[Path] = (), before: Mapping[Path, Digest] | None = None
) -> dict[Path, Digest]:
    """Hashes of regular files.  A symbolic link counts only where it leads below one of ``inside`` (DVC's cache).

    What ``before`` tells of a file is not computed again.
    """
    done = {digest.same_as: digest for digest in (before or {}).values() if not digest.fault}
    allowed = tuple(os.path.realpath(folder) + os.sep for folder in inside)
    faults: dict[Path, Digest] = {}
    groups: dict[tuple[int, int], tuple[Want, int, list[Path]]] = {}
    for path, want in wanted.items():
        try:
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode) and os.path.realpath(path).startswith(allowed):
                status = path.stat()
        except OSError as error:
            faults[path] = Digest(fault="is missing" if isinstance(error, FileNotFoundError) else "cannot be read")
            continue
        if not stat.S_ISREG(status.st_mode):
            faults[path] = Digest(fault="is no plain file")
            continue
        key = (status.st_dev, status.st_ino)
        so_far = groups.get(key, (Want(), 0, []))
        groups[key] = (so_far[0] | want, status.st_size, [*so_far[2], path])
    known = {key: done[key] for key, (want, size, _) in groups.items() if key in done and _tells(done[key], want, size)}
    told = {path: digest for key, digest in known.items() for path in groups[key][2]}
    return faults | told | _all({key: group for key, group in groups.items() if key not in known})


def _tells(digest: Digest, want: Want, size: int) -> bool:
    return digest.size == size and bool(digest.md5 or not want.md5) and bool(digest.sha256 or not want.sha256)


def _all(groups: Mapping[tuple[int, int], tuple[Want, int, list[Path]]]) -> dict[Path, Digest]:
    # The largest first, so that no core is left alone with one at the end.
    order = iter(sorted(groups.items(), key=lambda item: -item[1][1]))
    total = sum(size for _, size, _ in groups.values())
    found: dict[Path, Digest] = {}
    stop, lock = threading.Event(), threading.Lock()
    bar: Any = Bar(total >> 20, "hashing, MB") if total > _WATCHED else nullcontext()

    def work() -> None:
        buffer = bytearray(_CHUNK)
        while not stop.is_set():
            with lock:
                key, (want, size, names) = next(order, ((0, 0), (Want(), 0, [])))
            if not names:
                return
            digest = _one(names[0], want, key, buffer, stop)
            with lock:
                for name in names:
                    found[name] = digest
                if isinstance(bar, Bar):
                    bar.advance((size >> 20) or 0)

    threads = min(len(groups), cores())
    with bar, ThreadPoolExecutor(max(1, threads)) as pool:
        try:
            for done in [pool.submit(work) for _ in range(threads)]:
                done.result()
        finally:
            stop.set()
    return found


def _one(path: Path, want: Want, key: tuple[int, int], buffer: bytearray, stop: threading.Event) -> Digest:
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    updates: list[Callable[[memoryview], None]] = [
        hashed.update for hashed, needed in ((md5, want.md5), (sha256, want.sha256)) if needed
    ]
    size, view = 0, memoryview(buffer)
    try:
        with path.open("rb", buffering=0) as handle:
            while (count := handle.readinto(buffer)) and not stop.is_set():
                for update in updates:
                    update(view[:count])
                size += count
    except OSError:
        return Digest(fault="cannot be read")
    return Digest(size, md5.hexdigest() if want.md5 else "", sha256.hexdigest() if want.sha256 else "", key)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
