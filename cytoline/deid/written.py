"""The text files that the pipeline writes beside de-identified images: closed schemas, checked word by word.

Each must be, byte for byte, what the pipeline would write: a key that comes twice, a blank or another spelling of a
number can hold what no reader of the file ever sees.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

from cytoline.deid.audit import Reason, read_audit
from cytoline.deid.finding import Finding
from cytoline.deid.review.decisions import DECISIONS, read_decisions
from cytoline.deid.vocabulary import Vocabulary
from cytoline.errors import CytolineError
from cytoline.manifest import Record, json_line, json_rows, read_manifest

MOST_BYTES = 1 << 30
MOST_COUNT = 10**9
_PSEUDONYM = re.compile(r"[0-9a-f]{32}")
_TEMPLATE: dict[str, Any] = {
    "images": dict.fromkeys(("in", "untouched", "redacted", "quarantined", "rejected")),
    "routes": dict.fromkeys(("jpeg_rewrite", "png_anew")),
    "quarantine_reasons": dict.fromkeys(get_args(Reason)),
    "k_anonymity": dict.fromkeys(
        ("k", "patients", "groups", "groups_below_k", "patients_in_groups_below_k", "smallest")
    ),
    **dict.fromkeys(
        (
            *("turned", "texts_painted_over", "barcodes_painted_over", "doubtful_text_let_pass", "boxes"),
            *("boxes_redacted", "patients", "released_by_a_reviewer", "failed_verification", "decisions_unused"),
        )
    ),
}
"""Every key that ``summary.json`` may have; a count where it is None."""


def check_written(path: Path, vocabulary: Vocabulary) -> list[Finding]:
    """Findings in one file whose name is in ``WRITTEN``."""
    if path.stat().st_size > MOST_BYTES:
        return [Finding(f"text:{path.name}", "unsupported")]
    try:
        return sorted(set(WRITTEN[path.name](path, vocabulary)))
    except (CytolineError, ValueError, OSError, RecursionError):
        return [Finding(f"text:{path.name}", "value")]


def _manifest(path: Path, vocabulary: Vocabulary) -> Iterator[Finding]:
    records = read_manifest(path)
    rows = json_rows(path)
    if len(rows) != len(records) or path.read_bytes()[-1:] not in (b"", b"\n"):
        yield Finding("text:manifest.jsonl", "value")
    for row, record in zip(rows, records, strict=False):
        if row + "\n" != json_line(record.model_dump(mode="json")):
            yield Finding("text:manifest.jsonl", "value")
        for name in _odd(record, vocabulary):
            yield Finding(f"text:manifest.jsonl/{name}", "value")


def _odd(record: Record, vocabulary: Vocabulary) -> Iterator[str]:
    coded = {"image_id": record.image_id, "patient": record.patient, "slide": record.slide}
    yield from (name for name, value in coded.items() if not _PSEUDONYM.fullmatch(value))
    if record.file not in (f"{record.image_id}.jpg", f"{record.image_id}.png"):
        yield "file"
    words = {"source": record.source, "organ": record.organ, "stain": record.stain}
    yield from (name for name, value in words.items() if value and not vocabulary.allows(name, value))
    for item in record.annotations:
        if item.annotator is not None and not _PSEUDONYM.fullmatch(item.annotator):
            yield "annotator"
        if not vocabulary.allows("label", item.label):
            yield "label"


def _audit(path: Path, _: Vocabulary) -> Iterator[Finding]:
    read_audit(path)
    yield from ()


def _decisions(path: Path, _: Vocabulary) -> Iterator[Finding]:
    read_decisions(path)
    yield from ()


def _summary(path: Path, _: Vocabulary) -> Iterator[Finding]:
    text = path.read_text(encoding="utf-8")
    value = json.loads(text)
    if json_line(value) != text or not _fits(value, _TEMPLATE):
        yield Finding("text:summary.json", "value")


def _fits(value: Any, template: Any) -> bool:
    if isinstance(template, dict):
        return isinstance(value, dict) and all(key in template and _fits(value[key], template[key]) for key in value)
    return type(value) is int and 0 <= value <= MOST_COUNT


def words_in(path: Path) -> str:
    """Every text in a JSON file or in JSON Lines, one a line: where short identifiers are looked for, numbers not."""
    found: list[str] = []
    for row in json_rows(path):
        try:
            found += _texts(json.loads(row, object_pairs_hook=list))
        except (ValueError, RecursionError):
            found.append(row)
    return "\n".join(found)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


WRITTEN: dict[str, Callable[[Path, Vocabulary], Iterator[Finding]]] = {
    "manifest.jsonl": _manifest,
    "audit.jsonl": _audit,
    DECISIONS: _decisions,
    "summary.json": _summary,
}
"""Name -> check."""
