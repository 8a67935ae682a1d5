"""Lines that hold the SHA-256 of the line before them: the audit log and the reviewers' decisions are such chains.

It shows a change by the line that follows, so a change to the very last line shows only once there is another; and it
is no signature.  Both files are versioned (git, DVC), which shows the rest to whoever has fetched an earlier state.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from cytoline.errors import CytolineError
from cytoline.manifest import json_line

GENESIS = "0" * 64
"""What the first line gives as the hash of the one before it."""

Row = TypeVar("Row", bound=BaseModel)


def chained(rows: Sequence[BaseModel]) -> str:
    """The text of a chain."""
    lines, previous = [], GENESIS
    for row in rows:
        line = _line(row, previous)
        previous = hashlib.sha256(line.encode()).hexdigest()
        lines.append(line)
    return "".join(lines)


def unchained(path: Path, parse: Callable[[str], Row], remedy: str) -> list[Row]:
    """Read a chain back; each line must be, byte for byte, what ``chained`` would write there.

    Raises ``CytolineError`` that names the first line that is not (or two, where a hash does not fit the line before).
    """
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise CytolineError(f"{path.name} is not UTF-8 text", remedy) from None
    whole = lines.pop() == ""
    rows: list[Row] = []
    previous = GENESIS
    for number, line in enumerate(lines if whole else [*lines, ""], start=1):
        row, given = _parsed(line, parse)
        if row is None or line + "\n" != _line(row, previous):
            where = f"{number - 1} or {number}" if row is not None and given != previous and number > 1 else number
            raise CytolineError(f"{path.name}: line {where} is not what was written", remedy)
        previous = hashlib.sha256((line + "\n").encode()).hexdigest()
        rows.append(row)
    return rows


def _line(row: BaseModel, previous: str) -> str:
    return json_line({**row.model_dump(mode="json"), "prev": previous})


def _parsed(line: str, parse: Callable[[str], Row]) -> tuple[Row | None, object]:
    """The row, and the hash that it gives; no row where the line is none."""
    try:
        fields = json.loads(line)
        given = fields.pop("prev")
        return parse(json.dumps(fields)), given
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # pydantic's error is a ValueError
        return None, None
