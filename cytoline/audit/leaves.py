"""The leaves of a seal's Merkle trees: canonical JSON lines that say what each file, row, line and tensor was.

Only roots go into git.  The leaves hold hashes of private images and stay in ``.cytoline/sealed``, a cache: a root
tells whether a list is the one that was sealed, and where the list is gone it is made anew from the files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cytoline import atomic
from cytoline.audit import merkle
from cytoline.audit.finding import APPROVALS, DECISIONS, INCOMING, PROMOTIONS, kind_of
from cytoline.audit.inventory import Held
from cytoline.audit.locate import part_hashes
from cytoline.manifest import json_line

FOLDER = Path(".cytoline/sealed")
TREES = ("outs", "records", "rows", "metrics", "models", "logs")
RECORDS = ("dvc.lock", "dvc.yaml", "params.yaml", "requirements.lock", "approvals/policy.yaml")
_LARGEST = 1 << 31


@dataclass
class Content:
    """What a seal is made from: ``outs`` path -> MD5, ``git`` path -> content, ``held`` MD5 -> where it lies."""

    outs: Mapping[str, str]
    git: Mapping[str, bytes]
    held: Mapping[str, Held]
    absent: Mapping[str, str] = field(default_factory=dict)
    """Outs of which nothing is here, sealed by their own MD5 alone."""


def build(content: Content) -> dict[str, list[bytes]] | None:
    """All leaves, tree by tree; None where some content is not here."""
    if not all(md5 in content.held for md5 in content.outs.values()):
        return None
    leaves: dict[str, list[bytes]] = {name: [] for name in TREES}
    for path, md5 in sorted(content.outs.items()):
        held = content.held[md5]
        leaves["outs"].append(_leaf(path=path, md5=md5, sha256=held.sha256, size=held.size))
        tree = {"manifest": "rows", "model": "models", "log": "logs"}.get(kind_of(path))
        if tree and not path.startswith(f"{INCOMING}/"):
            leaves[tree] += _parts(path, held.path.read_bytes())
    leaves["outs"] += [_leaf(path=path, md5=md5) for path, md5 in sorted(content.absent.items())]
    for path, data in sorted(content.git.items()):
        tree = git_tree(path)
        if tree:
            leaves[tree] += _parts(path, data)
    return leaves


def git_tree(path: str) -> str:
    """Which tree a file that git tracks belongs to; empty for none."""
    if path in (APPROVALS, DECISIONS, PROMOTIONS):
        return "logs"
    if path.startswith("metrics/"):
        return "metrics"
    record = path in RECORDS or path.startswith("approvals/keys/") or path.endswith(".dvc")
    return "records" if record else ""


def roots(leaves: Mapping[str, Iterable[bytes]]) -> dict[str, str]:
    """Tree -> its root."""
    return {name: merkle.root(one) for name, one in leaves.items()}


def keep(top: Path, leaves: Mapping[str, list[bytes]]) -> None:
    """Put the lists where the next verification finds them."""
    for lines in leaves.values():
        atomic.write_bytes(top / FOLDER / f"{merkle.root(lines)}.jsonl", b"".join(lines))


def kept(top: Path, root: str) -> list[dict[str, Any]] | None:
    """The list with this root; None where there is none, or another content under its name."""
    path = top / FOLDER / f"{root}.jsonl"
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return None
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError:
        return None
    if merkle.root(line + b"\n" for line in lines) != root:
        return None
    return [json.loads(line) for line in lines]  # the root says that we wrote them


def parts_by_file(leaves: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """File -> place -> SHA-256."""
    found: dict[str, dict[str, str]] = {}
    for leaf in leaves:
        if "place" in leaf:
            found.setdefault(leaf["path"], {})[leaf["place"]] = leaf["sha256"]
    return found


def _parts(path: str, content: bytes) -> list[bytes]:
    whole = _leaf(path=path, sha256=hashlib.sha256(content).hexdigest())
    return [whole, *(_leaf(path=path, place=p, sha256=value) for p, value in part_hashes(path, content).items())]


def _leaf(**fields: str | int) -> bytes:
    return json_line(fields).encode()
