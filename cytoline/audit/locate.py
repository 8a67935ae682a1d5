"""Where in a file it differs: the row of a table, the line of a text, the tensor of a model, else the byte."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from cytoline.audit.finding import kind_of

_TEXT = {".jsonl", ".json", ".csv", ".yaml", ".yml", ".lock", ".pem", ".py", ".md", ".txt", ".html", ".dvc", ".j2"}
_SAFETENSORS = ".safetensors"
_LENGTH = 8
"""Bytes of the length of the header, little-endian, at the start of a safetensors file."""


def parts_of(path: str, content: bytes) -> dict[str, bytes]:
    """The named parts of a file (``row 17``, ``line 3``, ``tensor NAME``), in order; empty for a kind that has none."""
    suffix = PurePosixPath(path).suffix
    if suffix == _SAFETENSORS:
        return {name: content[start:end] for name, start, end in _tensors(content)}
    if suffix not in _TEXT:
        return {}
    word = "row" if kind_of(path) == "manifest" else "line"
    rows = content.split(b"\n")
    # The last one without its end of line differs from the same one with it.
    ended = [row + b"\n" for row in rows[:-1]] + ([rows[-1]] if rows[-1] else [])
    return {f"{word} {number}": row for number, row in enumerate(ended, start=1)}


def part_hashes(path: str, content: bytes) -> dict[str, str]:
    """The SHA-256 of each part: what a seal holds, so that a place can be named without the original."""
    return {place: hashlib.sha256(part).hexdigest() for place, part in parts_of(path, content).items()}


def differs_from(path: str, content: bytes, good: bytes) -> str:
    """The first place in which ``content`` is not ``good``."""
    # Offsets of the good file count: a changed header says nothing about where its tensors are.
    names, found = parts_of(path, good), parts_of(path, content)
    for place, part in names.items():
        if found.get(place) != part:
            return place + _entry(path, good, place)
    longer = [place for place in found if place not in names]
    return longer[0] if longer else _first_byte(content, good)


def differs_from_hashes(path: str, content: bytes, good: Mapping[str, str]) -> str:
    """The same, where only the hashes of the good file's parts are known; empty where not even they are."""
    if not good:
        return ""
    found = part_hashes(path, content)
    for place, value in good.items():
        if found.get(place) != value:
            return place
    return next((place for place in found if place not in good), "")


def _tensors(content: bytes) -> list[tuple[str, int, int]]:
    """The header and every tensor: name, start and end in the file.  Nothing for what is no such file."""
    length = int.from_bytes(content[:_LENGTH], "little")
    start = _LENGTH + length
    if len(content) < _LENGTH or start > len(content):
        return []
    try:
        header: dict[str, Any] = json.loads(content[_LENGTH:start])
        spans = [
            (f"tensor {name}", start + int(entry["data_offsets"][0]), start + int(entry["data_offsets"][1]))
            for name, entry in header.items()
            if name != "__metadata__"
        ]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return []
    return [("header", 0, start), *sorted(spans, key=lambda span: span[1])]


def _first_byte(content: bytes, good: bytes) -> str:
    shorter = min(len(content), len(good))
    step = 1 << 16
    for start in range(0, shorter, step):
        here, there = content[start : start + step], good[start : start + step]
        if here != there:
            return f"byte {start + next(i for i, (a, b) in enumerate(zip(here, there, strict=False)) if a != b)}"
    return f"byte {shorter}" if len(content) != len(good) else ""


def _entry(path: str, good: bytes, place: str) -> str:
    """Of dvc.lock also the stage and the entry that a line belongs to."""
    if path != "dvc.lock":
        return ""
    lines = good.decode(errors="replace").split("\n")[: int(place.split(" ")[1])]
    stage = next((m[1] for line in reversed(lines) if (m := re.match(r"  (\S+):$", line))), "")
    entry = next((m[1] for line in reversed(lines) if (m := re.match(r"    - path: (.+)$", line))), "")
    inside = bool(re.match(r"    - |      ", lines[-1]))
    return f" (stage {stage}{', ' + entry if inside and entry else ''})" if stage else ""
