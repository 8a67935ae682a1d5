"""Which rows are filled: every piece of evidence is looked for in one state of the repository, none is believed."""

from __future__ import annotations

import ast
import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import typer
import yaml

from cytoline.audit.compliance.rows import Evidence, Framework, Row
from cytoline.audit.revision import Revision

OWNER_FILE = "approvals/intended_use.yaml"
APPROVALS = "approvals/approvals.jsonl"
_LONGEST = 8 << 20
"""Bytes of a git-tracked file that is read for a row."""

State = Literal["filled", "empty", "not applicable"]


@dataclass(frozen=True)
class Shown:
    """One piece of evidence after the search.  ``digest`` is ``md5:`` or ``sha256:`` and hex where there is one."""

    kind: str
    what: str
    says: str
    found: bool
    digest: str | None = None
    missing: str = ""
    """What to do where it was not found."""


@dataclass(frozen=True)
class Answer:
    """One row with what was found for it."""

    row: Row
    state: State
    evidence: tuple[Shown, ...]

    @property
    def word(self) -> str:
        """The state for readers: an empty row that shows some of its evidence is called incomplete."""
        return "incomplete" if self.state == "empty" and any(one.found for one in self.evidence) else self.state


@dataclass(frozen=True)
class Resolved:
    """One law or checklist, row by row."""

    framework: Framework
    answers: tuple[Answer, ...]

    def count(self, state: State) -> int:
        """Number of rows in that state."""
        return sum(answer.state == state for answer in self.answers)

    def as_json(self) -> dict[str, Any]:
        """Plain values, as ``compliance.json`` of a package holds them."""
        return {
            "short": self.framework.short,
            "name": self.framework.name,
            "source": self.framework.source,
            "filled": self.count("filled"),
            "empty": self.count("empty"),
            "not_applicable": self.count("not applicable"),
            "rows": [_answer_json(answer) for answer in self.answers],
        }


def resolve(frameworks: Iterable[Framework], revision: Revision, ref: str | None = None) -> tuple[Resolved, ...]:
    """Look for the evidence of every row in ``revision``; approvals are those of the model ``ref`` (None: of any)."""
    search = _Search(revision, ref)
    return tuple(Resolved(one, tuple(search.answer(row) for row in one.rows)) for one in frameworks)


def empty_rows(resolved: Iterable[Resolved], required: Iterable[str]) -> list[tuple[str, Row]]:
    """Name of the map and row, of every required row that is empty."""
    wanted = set(required)
    return [
        (one.framework.short, answer.row)
        for one in resolved
        for answer in one.answers
        if answer.state == "empty" and answer.row.required in wanted
    ]


class _Search:
    def __init__(self, revision: Revision, ref: str | None) -> None:
        self.revision = revision
        self.ref = ref
        self._read: dict[str, bytes | None] = {}

    def answer(self, row: Row) -> Answer:
        shown = tuple(self.look(entry) for entry in row.evidence)
        if all(entry.kind == "na" for entry in row.evidence):
            return Answer(row, "not applicable", shown)
        return Answer(row, "filled" if all(one.found for one in shown) else "empty", shown)

    def look(self, entry: Evidence) -> Shown:
        found, digest, missing = getattr(self, f"_{entry.kind}")(entry.what)
        return Shown(entry.kind, entry.what, entry.says, found, digest, "" if found else missing)

    def content(self, path: str) -> bytes | None:
        if path not in self._read:
            content = self.revision.read(path)
            self._read[path] = content if content is not None and len(content) <= _LONGEST else None
        return self._read[path]

    def _file(self, path: str) -> tuple[bool, str | None, str]:
        content = self.content(path)
        digest = None if content is None else f"sha256:{hashlib.sha256(content).hexdigest()}"
        return bool(content), digest, f"{path} is missing"

    def _out(self, path: str) -> tuple[bool, str | None, str]:
        item = self.revision.out(path)
        known = item is not None and bool(item.md5)
        return known, f"md5:{item.md5}" if item and known else None, f"dvc.lock knows no {path}: `dvc repro`"

    def _command(self, words: str) -> tuple[bool, str | None, str]:
        return _is_command(words.split()), None, f"this version has no `cytoline {words}`"

    def _test(self, address: str) -> tuple[bool, str | None, str]:
        path, _, name = address.partition("::")
        found, digest, missing = self._file(path)
        if found and name:
            found, missing = name in _functions(self.content(path) or b""), f"{path} has no {name}"
        return found, digest if found else None, missing

    def _metric(self, address: str) -> tuple[bool, str | None, str]:
        path, _, keys = address.partition("#")
        found, digest, missing = self._file(path)
        value = _at(_json(self.content(path)), keys) if found else None
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return number, digest if number else None, missing if not found else f"{path} has no figure {keys}"

    def _param(self, key: str) -> tuple[bool, str | None, str]:
        return _at(self._params, key) is not None, None, f"params.yaml has no {key}"

    def _owner(self, key: str) -> tuple[bool, str | None, str]:
        content = self.content(OWNER_FILE)
        digest = None if content is None else f"sha256:{hashlib.sha256(content).hexdigest()}"
        value = _at(self._declared, key)
        said = bool(value.strip()) if isinstance(value, str) else bool(value)
        return said, digest if said else None, f"owner must fill: {OWNER_FILE} ({key})"

    def _approval(self, role: str) -> tuple[bool, str | None, str]:
        lines = (self.content(APPROVALS) or b"").split(b"\n")
        rows = [row for line in lines if isinstance(row := _json(line), dict)]
        # A line is no proof: signatures, and whether they still hold, are checked by `cytoline audit approvals`.
        signed = [row for row in rows if row.get("role") == role and self.ref in (None, row.get("ref"))]
        digest = f"sha256:{hashlib.sha256(self.content(APPROVALS) or b'').hexdigest()}" if signed else None
        return bool(signed), digest, f"nobody has signed as {role}: `cytoline approve REF --role {role}`"

    def _gap(self, reason: str) -> tuple[bool, str | None, str]:
        return False, None, reason

    def _na(self, reason: str) -> tuple[bool, str | None, str]:
        return True, None, reason

    @cached_property
    def _params(self) -> Any:
        return _yaml(self.content("params.yaml"))

    @cached_property
    def _declared(self) -> Any:
        return _yaml(self.content(OWNER_FILE))


def _is_command(words: list[str]) -> bool:
    from cytoline.cli import app  # here: the command line imports this module

    command: Any = typer.main.get_command(app)
    for word in words:
        known = getattr(command, "get_command", None)
        command = known(typer.Context(command), word) if known else None
        if command is None:
            return False
    return True


def _functions(source: bytes) -> set[str]:
    try:
        return {node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)}
    except (SyntaxError, ValueError, RecursionError):
        return set()


def _json(content: bytes | None) -> Any:
    try:
        return json.loads(content or b"null")
    except (ValueError, RecursionError):
        return None


def _yaml(content: bytes | None) -> Any:
    try:
        return yaml.safe_load(content or b"")
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError):
        return None


def _at(value: Any, keys: str) -> Any:
    for key in keys.split("."):
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return value


def _answer_json(answer: Answer) -> dict[str, Any]:
    return {
        "id": answer.row.id,
        "asks": answer.row.asks,
        "required": answer.row.required,
        "state": answer.state,
        "evidence": [
            {
                "kind": one.kind,
                "what": one.what,
                "says": one.says,
                "found": one.found,
                "digest": one.digest,
                "missing": one.missing,
            }
            for one in answer.evidence
        ],
    }
