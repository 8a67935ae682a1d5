"""One program at a time: a lock file beside what is written, gone when its holder is done, free when it dies.

Source: flock(2).  The lock is the kernel's, so a killed program leaves at most an empty file and no lock.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cytoline.errors import CytolineError

_PAUSE = 0.05
"""Seconds between two tries."""


@contextmanager
def locked(path: Path, seconds: float = 0.0) -> Iterator[None]:
    """Nobody else holds ``path`` within the block.  Raises ``CytolineError`` if that takes longer than ``seconds``."""
    path = path.absolute()
    file = path.with_name(f".{path.name}.lock")
    end = time.monotonic() + seconds
    while (handle := _taken(file)) is None:
        if time.monotonic() >= end:
            raise CytolineError(
                f"another program is writing {path.name} at this moment",
                "wait until it has ended, then run again",
            )
        time.sleep(_PAUSE)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)  # while it is still held: whoever waits for it will see that it is gone
        os.close(handle)


def _taken(file: Path) -> int | None:
    """An open handle that holds the lock, or None if somebody else has it."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CytolineError(
            f"a lock file cannot be made ({error.strerror})", "choose a folder that you may write"
        ) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_ino == file.stat().st_ino:
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(handle)
    return None
