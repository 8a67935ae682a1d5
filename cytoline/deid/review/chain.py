"""Lines that hold the SHA-256 of the line before them: the audit log and the reviewers' decisions are such chains.

The chain shows a change to anyone who knows a later line; it is no signature.  Both files are versioned, so that the
whole of a forged chain would have to be older than what others have already fetched.
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

    Raises ``CytolineError`` that names the first line that is not.
    """
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise CytolineError(f"{path.name} is not UTF-8 text", remedy) from None
    whole = lines.pop() == ""
    rows: list[Row] = []
    previous = GENESIS
    for number, line in enumerate(lines if whole else [*lines, ""], start=1):
        row = _parsed(line, parse)
        if row is None or line + "\n" != _line(row, previous):
            raise CytolineError(f"{path.name}: line {number} is not what was written", remedy)
        previous = hashlib.sha256((line + "\n").encode()).hexdigest()
        rows.append(row)
    return rows


def _line(row: BaseModel, previous: str) -> str:
    return json_line({**row.model_dump(mode="json"), "prev": previous})


def _parsed(line: str, parse: Callable[[str], Row]) -> Row | None:
    try:
        fields = json.loads(line)
        del fields["prev"]
        return parse(json.dumps(fields))
    except (ValueError, KeyError, TypeError, RecursionError):  # pydantic's ValidationError is a ValueError
        return None
