"""Tables and lists without one person's rows; everybody else's rows stay as they are."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Collection
from pathlib import PurePosixPath
from typing import Any

from cytoline.deid.review.chain import GENESIS
from cytoline.manifest import json_line
from cytoline.sources.tables import delimiter_of, header_of

Theirs = Callable[[bytes], bool]
"""Whether a row (as UTF-8 JSON) is the person's."""

_PRUNABLE = (".jsonl", ".json")
_LIST_OF_RESULTS = "[\n"


def pruned(name: str, content: bytes, theirs: Theirs) -> bytes | None:
    """The file without the person's rows; None where its form has no rows that could be taken out."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in _PRUNABLE:
        return None
    try:
        text = content.decode("utf-8")
        return (_lines(text, theirs) if suffix == ".jsonl" else _document(text, theirs)).encode()
    except (ValueError, RecursionError):
        return None


def pruned_coco(content: bytes, is_theirs: Callable[[str], bool]) -> bytes:
    """A COCO file without the images for whose ``file_name`` ``is_theirs`` holds, and without their annotations."""
    text = content.decode("utf-8-sig")
    document = json.loads(text)
    named = [(item, is_theirs(str(item.get("file_name")))) for item in document["images"]]
    ids = {str(item.get("id")) for item, gone in named if gone}
    document["images"] = [item for item, gone in named if not gone]
    document["annotations"] = [item for item in document["annotations"] if str(item.get("image_id")) not in ids]
    return (json.dumps(document, ensure_ascii=False, indent=_indent(text)) + "\n").encode()


def pruned_table(content: bytes, is_theirs: Callable[[dict[str, str]], bool]) -> bytes:
    """A CSV file without the rows for which ``is_theirs`` holds; the lines of the others keep their bytes."""
    text = content.decode("utf-8-sig")
    mark = b"\xef\xbb\xbf" if content.startswith(b"\xef\xbb\xbf") else b""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text))
    lines = list(io.StringIO(text, newline=""))  # as the reader counts them
    columns = header_of(reader)
    kept, last = lines[: reader.line_num], reader.line_num
    for row in reader:
        values = {name: value.strip() for name, value in zip(columns, row, strict=False)}
        if not is_theirs(values):
            kept += lines[last : reader.line_num]
        last = reader.line_num
    return mark + "".join(kept).encode()


def names_in_table(content: bytes, column: str, value_of: Callable[[str], bool]) -> set[str]:
    """Every value of the rows whose ``column`` passes ``value_of``: among them the names of that person's files."""
    found: set[str] = set()

    def look(row: dict[str, str]) -> bool:
        if value_of(row.get(column, "")):
            found.update(value for value in row.values() if value)
        return False

    pruned_table(content, look)
    return found


def _lines(text: str, theirs: Theirs) -> str:
    """JSON Lines; a chain (rows with ``prev``) is closed again over the gap."""
    rows = [row for row in text.split("\n") if row]
    kept = [row for row in rows if not theirs(row.encode())]
    if len(kept) == len(rows) or not _is_chain(rows):
        return "".join(row + "\n" for row in kept)
    chained, previous = [], GENESIS
    for row in kept:
        line = json_line({**json.loads(row), "prev": previous})
        previous = hashlib.sha256(line.encode()).hexdigest()
        chained.append(line)
    return "".join(chained)


def _is_chain(rows: Collection[str]) -> bool:
    def has_link(row: str) -> bool:
        value = json.loads(row)
        return isinstance(value, dict) and isinstance(value.get("prev"), str)

    return all(map(has_link, rows))


def _document(text: str, theirs: Theirs) -> str:
    """A JSON document: items of lists, at any depth, that are the person's go."""
    document = json.loads(text)
    if text.startswith(_LIST_OF_RESULTS) and isinstance(document, list):  # one row a line, as detections are written
        rows = [json.dumps(item, sort_keys=True) for item in _without(document, theirs)]
        return "[\n" + ",\n".join(rows) + "\n]\n" if rows else "[]\n"
    return json.dumps(_without(document, theirs), ensure_ascii=False, indent=_indent(text), sort_keys=True) + "\n"


def _without(value: Any, theirs: Theirs) -> Any:
    if isinstance(value, list):
        return [_without(item, theirs) for item in value if not _is_row(item) or not theirs(_plain(item))]
    if isinstance(value, dict):
        return {key: _without(item, theirs) for key, item in value.items() if not theirs(str(key).encode())}
    return value


def _is_row(item: Any) -> bool:
    """A leaf, or an object without lists of objects inside: a table within a table is pruned inside instead."""
    if isinstance(item, dict):
        return not any(isinstance(inner, list) and any(isinstance(x, dict) for x in inner) for inner in item.values())
    return not isinstance(item, list)


def _plain(item: Any) -> bytes:
    return json.dumps(item, ensure_ascii=False).encode()


def _indent(text: str) -> int | None:
    second = text.split("\n", 2)[1:2]
    return len(second[0]) - len(second[0].lstrip(" ")) if second and second[0].startswith(" ") else None
