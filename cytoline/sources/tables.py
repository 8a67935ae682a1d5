"""Annotation files: JSON, CSV and XML with limits on what they may do to us."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cytoline.errors import CytolineError

MEGABYTE = 1_000_000

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def read_limited(path: Path, megabytes: int, shown: str) -> bytes:
    """The content of a file of at most ``megabytes``.  ``shown`` names it in messages."""
    with path.open("rb") as handle:
        content = handle.read(megabytes * MEGABYTE + 1)
    if len(content) > megabytes * MEGABYTE:
        raise CytolineError(
            f"{shown} is larger than {megabytes} MB", "raise collect.max_annotation_megabytes if it is meant to be"
        )
    return content


def read_json(path: Path, megabytes: int, shown: str) -> Any:
    """Parse a JSON file.  Raises ``CytolineError`` where it is none."""
    content = read_limited(path, megabytes, shown)
    try:
        data = json.loads(content.decode("utf-8-sig"))
        if _SURROGATE.search(content):
            # Half a character passes json and would only fail when the manifest is written.
            json.dumps(data, ensure_ascii=False).encode("utf-8")
        return data
    except (ValueError, RecursionError) as error:
        where = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise CytolineError(f"{shown} is not valid JSON{where}", "export the annotations again") from None


def read_rows(path: Path, megabytes: int, shown: str) -> list[dict[str, str]]:
    """Parse a CSV file with a header line; comma, semicolon or tab between the columns.

    Every row has every column of the header: a row that ends early is filled with "".
    """
    try:
        text = read_limited(path, megabytes, shown).decode("utf-8-sig")
        header = text.split("\n", 1)[0]
        delimiter = max(",;\t", key=header.count)
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="", strict=True)
        rows = [{str(k).strip(): v.strip() for k, v in row.items() if isinstance(v, str)} for row in reader]
    except UnicodeDecodeError:
        raise CytolineError(f"{shown} is not UTF-8 text", "save it as CSV in UTF-8") from None
    except csv.Error as error:
        raise CytolineError(f"{shown} is not a valid CSV file ({error})", "export it again") from None
    if not rows:
        raise CytolineError(f"{shown} holds no rows", "it needs a header line and a row per cell")
    return rows


def columns_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The columns of all rows, in the order they first occur: JSON objects may leave out what they do not know."""
    return list(dict.fromkeys(name for row in rows for name in row))


def number(value: object) -> float:
    """A number from JSON, CSV or XML; NaN where it is none (such a box is then refused and reported)."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return float("nan")
    try:
        return float(value)
    except (ValueError, OverflowError):
        return float("nan")


def scalars(row: object) -> dict[str, str]:
    """The plain values of a JSON object as text."""
    if not isinstance(row, dict):
        return {}
    return {
        str(key): str(value) for key, value in row.items() if isinstance(value, str | int | float) and value is not True
    }
