"""Annotation files: JSON, CSV and XML with limits on what they may do to us."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cytoline.errors import CytolineError

MEGABYTE = 1_000_000


class NameTwiceError(ValueError):
    """A JSON object with two values of one name."""


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
        data = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_each_name_once)
        if _SURROGATE.search(content):
            # Half a character passes json and would only fail when the manifest is written.
            json.dumps(data, ensure_ascii=False).encode("utf-8")
        return data
    except NameTwiceError:
        raise CytolineError(
            f"{shown}: an object has one name twice, so one of its values would be lost", "export the annotations again"
        ) from None
    except (ValueError, RecursionError) as error:
        where = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise CytolineError(f"{shown} is not valid JSON{where}", "export the annotations again") from None


def _each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise NameTwiceError
    return found


def read_rows(path: Path, megabytes: int, shown: str) -> list[dict[str, str]]:
    """Parse a CSV file with a header line; comma, semicolon or tab between the columns.

    Every row has every column of the header: a row that ends early is filled with "".  Raises ``CytolineError`` where
    a column's name occurs twice or a row has more cells than there are columns: which value counts would be a guess.
    Capitals make no other name, as columns are looked up without them.
    """
    try:
        text = read_limited(path, megabytes, shown).decode("utf-8-sig")
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text), strict=True)
        names = header_of(lines)
        rows = [_row(names, cells, f"{shown}:{lines.line_num}") for cells in lines if cells]
    except UnicodeDecodeError:
        raise CytolineError(f"{shown} is not UTF-8 text", "save it as CSV in UTF-8") from None
    except csv.Error as error:
        raise CytolineError(f"{shown} is not a valid CSV file ({error})", "export it again") from None
    if not rows:
        raise CytolineError(f"{shown} holds no rows", "it needs a header line and a row per cell")
    counts = Counter(name.casefold() for name in names if name)
    if twice := [str(number) for number, name in enumerate(names, 1) if counts[name.casefold()] > 1]:
        # By number: where the header is missing, the names are a row's values and may be a person's.
        raise CytolineError(
            f"{shown}: the names of columns {', '.join(twice)} occur twice in the header line (capitals do not count)",
            "give each column a name of its own; or add the header line if it is missing",
        )
    return rows


def delimiter_of(text: str) -> str:
    """What stands between the columns of a CSV file, by its first line that is not blank."""
    header = text.lstrip().split("\n", 1)[0]
    return max(",;\t", key=header.count)


def header_of(lines: Iterator[list[str]]) -> list[str]:
    """The names of a CSV file's columns, from its first line that is not blank; the rows are left in ``lines``."""
    return next(([name.strip() for name in cells] for cells in lines if any(map(str.strip, cells))), [])


def _row(names: list[str], cells: list[str], where: str) -> dict[str, str]:
    if any(cell.strip() for cell in cells[len(names) :]):
        raise CytolineError(f"{where}: a row with more cells than there are columns", "export it again")
    return dict(zip(names, (cell.strip() for cell in cells), strict=False)) | dict.fromkeys(names[len(cells) :], "")


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
