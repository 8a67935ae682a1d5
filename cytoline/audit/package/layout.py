"""What lies where in a package, and how its files are read back by somebody who trusts none of them."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cytoline.errors import CytolineError

FORMAT = "cytoline-package"
FORMAT_VERSION = 1

INDEX = "package.json"
SIGNATURE = "package.sig"
PUBLIC_KEY = "public-key.pem"
CRATE = "ro-crate-metadata.json"
BOM = "sbom.cdx.json"
CROISSANT = "croissant.json"
CARD = "model_card.json"
PAGE = "audit.html"
COMPLIANCE = "compliance.json"
REPRODUCE = "reproduce.md"

MODEL = "model"
DATA = "data"
METRICS = "metrics"
PIPELINE = "pipeline"
APPROVALS = "approvals"

LARGEST_JSON = 256 << 20
"""Bytes of a JSON file that is read whole; a crate of 100,000 images stays far below."""
MOST_FILES = 100_000
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.  ``file`` is relative to the package, ``place`` a key or row in it, or empty."""

    file: str
    what: str
    place: str = ""


def is_package(folder: Path) -> bool:
    """Whether ``folder`` says of itself that it is a package, broken or not."""
    path = folder / INDEX
    try:
        return path.is_file() and isinstance(found := read_json(path), dict) and found.get("format") == FORMAT
    except CytolineError:
        return (folder / SIGNATURE).is_file()


def read_json(path: Path, largest: int = LARGEST_JSON) -> Any:
    """A JSON file of unknown origin.  Raises ``CytolineError`` on a link, size, encoding, doubled keys, NaN, depth."""
    try:
        info = path.lstat()
        if not stat.S_ISREG(info.st_mode):
            raise _unreadable(path, "is no plain file")
        if info.st_size > largest:
            raise _unreadable(path, f"is larger than {largest >> 20} MiB")
        content = path.read_bytes()
        return parse(content)
    except FileNotFoundError:
        raise _unreadable(path, "is missing") from None
    except RecursionError:
        raise _unreadable(path, "is nested too deeply") from None
    except ValueError as error:
        raise _unreadable(path, fault_of(error)) from None
    except OSError as error:
        raise _unreadable(path, f"cannot be read ({error.strerror})") from None


def parse(content: bytes) -> Any:
    """Strict JSON: UTF-8, no key twice, no NaN.  Raises ``ValueError`` or ``RecursionError``."""
    return json.loads(content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)


def fault_of(error: ValueError) -> str:
    """What ``parse`` found wrong, in words that hold nothing of the content."""
    if isinstance(error, UnicodeDecodeError):
        return f"is no UTF-8 text (byte {error.start + 1})"
    if isinstance(error, json.JSONDecodeError):
        return "is empty" if not error.doc else f"is no JSON (line {error.lineno}, column {error.colno})"
    return str(error) if isinstance(error, _NotStrictError) else "is no JSON"


def folders(folder: Path) -> Iterator[str]:
    """Every folder below ``folder`` by its relative name; links are not followed."""
    for here, names, _ in os.walk(folder):
        names.sort()
        yield from (
            (Path(here) / name).relative_to(folder).as_posix() for name in names if not (Path(here) / name).is_symlink()
        )


def walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every entry below ``folder`` that is no folder, by its relative name; links are given, not followed."""
    waiting = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                else:
                    yield Path(entry.path).relative_to(folder).as_posix(), entry.stat(follow_symlinks=False)


def is_safe(name: str) -> bool:
    """Whether ``name`` stays inside the package: relative, no ``..``, no backslash, nothing unprintable."""
    pure = PurePosixPath(name)
    parts = pure.parts
    return bool(parts) and not pure.is_absolute() and ".." not in parts and "\\" not in name and name.isprintable()


def sha256_of(path: Path) -> str:
    """sha256 of a file's content, in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def pretty(value: object) -> bytes:
    """JSON with sorted keys and a line end: equal values are equal bytes."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def index_of(folder: Path) -> Mapping[str, Mapping[str, Any]]:
    """Name to sha256 and size of every file but the index and the signature, as ``package.json`` lists them."""
    return {
        name: {"sha256": sha256_of(folder / name), "size": info.st_size}
        for name, info in sorted(walk(folder))
        if name not in (INDEX, SIGNATURE)
    }


class _NotStrictError(ValueError):
    """JSON to Python, but not to the standard; the words are ours."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _NotStrictError("holds a key twice")
    return found


def _no_constant(name: str) -> Any:
    raise _NotStrictError(f"holds {name}, which is no JSON")


def _unreadable(path: Path, why: str) -> CytolineError:
    return CytolineError(f"{path.name} {why}", "get the package again from where it was released")
