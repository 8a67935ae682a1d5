"""The text files that the pipeline writes beside de-identified images: closed schemas, checked word by word."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cytoline.deid.audit import read_audit
from cytoline.deid.finding import Finding
from cytoline.deid.review.decisions import DECISIONS, read_decisions
from cytoline.errors import CytolineError
from cytoline.manifest import Record, read_manifest

MOST_BYTES = 1 << 30
_PSEUDONYM = re.compile(r"[0-9a-f]{32}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ()+_./-]{0,39}")
"""A class, a stain or an organ as a taxonomy or a source names it."""
_COUNTED = re.compile(r"[a-z][a-z_ ]{0,39}")


def check_written(path: Path) -> list[Finding]:
    """Findings in one file whose name is in ``WRITTEN``."""
    if path.stat().st_size > MOST_BYTES:
        return [Finding(f"text:{path.name}", "unsupported")]
    try:
        return sorted(set(WRITTEN[path.name](path)))
    except (CytolineError, ValueError, OSError, RecursionError):
        return [Finding(f"text:{path.name}", "value")]


def _manifest(path: Path) -> Iterator[Finding]:
    for record in read_manifest(path):
        for name in _odd(record):
            yield Finding(f"text:manifest.jsonl/{name}", "value")


def _odd(record: Record) -> Iterator[str]:
    coded = {"image_id": record.image_id, "patient": record.patient, "slide": record.slide}
    yield from (name for name, value in coded.items() if not _PSEUDONYM.fullmatch(value))
    if not record.file.startswith(record.image_id + "."):
        yield "file"
    words = {"source": record.source, "organ": record.organ, "stain": record.stain}
    yield from (name for name, value in words.items() if value and not _WORD.fullmatch(value))
    for item in record.annotations:
        if item.annotator is not None and not _PSEUDONYM.fullmatch(item.annotator):
            yield "annotator"
        if not _WORD.fullmatch(item.label):
            yield "label"


def _audit(path: Path) -> Iterator[Finding]:
    read_audit(path)
    yield from ()


def _decisions(path: Path) -> Iterator[Finding]:
    read_decisions(path)
    yield from ()


def _summary(path: Path) -> Iterator[Finding]:
    if not _only_counts(json.loads(path.read_text(encoding="utf-8"))):
        yield Finding("text:summary.json", "value")


def _only_counts(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_COUNTED.fullmatch(key) is not None and _only_counts(inner) for key, inner in value.items())
    return isinstance(value, int | float)


WRITTEN: dict[str, Callable[[Path], Iterator[Finding]]] = {
    "manifest.jsonl": _manifest,
    "audit.jsonl": _audit,
    DECISIONS: _decisions,
    "summary.json": _summary,
}
"""Name -> check."""
