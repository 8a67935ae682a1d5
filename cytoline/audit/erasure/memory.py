"""The memo store: results of single images, under keys that cannot be read back.

An entry may hold nothing but numbers (a fingerprint, a verdict).  So it is asked the other way round: an entry stays
only if it is, or names, a file of somebody else, and shows nothing of the person; all others are computed anew when
they are needed.
"""

from __future__ import annotations

import json
from pathlib import Path

from cytoline.audit.erasure.marks import Marks

RESULTS, BLOBS = "results", "blobs"


def memo_to_drop(root: Path, marks: Marks) -> tuple[list[Path], int]:
    """Files of the store that go, and how many entries stay."""
    keep: set[str] = set()
    drop: list[Path] = []
    kept = 0
    judged: dict[str, tuple[bool, bool]] = {}
    for result in _files(root / RESULTS):
        digests = _listed(result)
        for digest in digests:
            if digest not in judged:
                judged[digest] = _judge(root / BLOBS / digest[:2] / digest, marks)
        mine = marks.found_in(result.read_bytes()) is not None or any(judged[digest][0] for digest in digests)
        named_others = marks.someone_elses(result.read_bytes())
        if not mine and (named_others or any(judged[digest][1] for digest in digests)):
            keep.update(digests)
            kept += 1
        else:
            drop.append(result)
    drop += [blob for blob in _files(root / BLOBS) if blob.name not in keep]
    return drop, kept


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/*") if path.is_file())


def _listed(result: Path) -> list[str]:
    try:
        return [str(digest) for digest in json.loads(result.read_bytes().partition(b"\n")[2]).values()]
    except (ValueError, AttributeError):
        return []


def _judge(blob: Path, marks: Marks) -> tuple[bool, bool]:
    """Whether it shows the person; whether it is, or names, somebody else's."""
    try:
        content = blob.read_bytes()
    except OSError:
        return False, False
    return marks.found_in(content) is not None, marks.someone_elses(content)
