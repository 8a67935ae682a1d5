"""Objects of DVC's cache as rows of the index: manifests, splits, patches.

Lines are told apart by their hash and parsed only when they are new.  Content is hostile until checked: a line that
is not what a stage writes makes the whole object count as broken, and the answer says so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cytoline.audit.spans import Values

LARGEST = 1 << 30
"""Bytes of an object above which it is not read."""
LONGEST = 160
"""Characters that an id, a pseudonym or a part may have."""

IMAGE_COLUMNS = ("image_id", "patient", "slide", "source", "sha256", "file", "file_md5")
SPLIT_COLUMNS = ("image_id", "patient", "part")
PATCH_COLUMNS = ("image_id", "patient", "part", "origins", "names")
"""``names``: what follows the image's id in each patch's, with blanks between; ``origins``: JSON, origin to number."""

Row = tuple[bytes, Values]


class BrokenError(ValueError):
    """The object is not what a stage writes."""


def image_rows(manifest: Path, listing: Mapping[str, str]) -> Iterator[Row]:
    """Rows of a manifest; each file's md5 from the listing of the folder (None for one that is packed in a shard)."""
    for line in lines(manifest):
        # Keys stand in order and quotes inside of texts are escaped, so this is the file's own entry.
        start = line.rfind(b'"file":"') + 8
        md5 = listing.get("images/" + line[start : line.find(b'"', start)].decode("ascii", "replace"))
        yield _key(line, md5 or ""), _image(line, md5)


def split_rows(table: Path) -> Iterator[Row]:
    """Rows of a split table."""
    for line in lines(table):
        yield _key(line), _split(line)


def patch_rows(table: Path) -> Iterator[Row]:
    """One row per image from a table of patches, which stand together by image."""
    together: list[bytes] = []
    current = b""
    for line in lines(table):
        start = line.find(b'"image_id":"') + 12
        image = line[start : line.find(b'"', start)]
        if image != current and together:
            yield _patches(together)
            together = []
        current = image
        together.append(line)
    if together:
        yield _patches(together)


def lines(path: Path) -> Iterator[bytes]:
    """Lines of a file that is not too large.  Raises ``BrokenError``."""
    if path.stat().st_size > LARGEST:
        raise BrokenError(f"larger than {LARGEST >> 20} MB")
    with path.open("rb") as handle:
        for line in handle:
            if not line.isspace():
                yield line


def text(fields: Mapping[str, Any], name: str) -> str:
    """A short printable text.  Raises ``BrokenError``."""
    value = fields.get(name)
    if not isinstance(value, str) or len(value) > LONGEST or not value.isprintable():
        raise BrokenError(f"{name} is no short text")
    return value


def parsed(line: bytes) -> Mapping[str, Any]:
    """One JSON object.  Raises ``BrokenError``."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        raise BrokenError("a line is no JSON") from None
    if not isinstance(fields, dict):
        raise BrokenError("a line is no JSON object")
    return fields


def _image(line: bytes, md5: str | None) -> Callable[[], tuple[Any, ...]]:
    def values() -> tuple[Any, ...]:
        fields = parsed(line)
        return (*(text(fields, name) for name in IMAGE_COLUMNS[:-1]), md5)

    return values


def _split(line: bytes) -> Callable[[], tuple[Any, ...]]:
    def values() -> tuple[Any, ...]:
        fields = parsed(line)
        return text(fields, "image_id"), text(fields, "patient"), text(fields, "split")

    return values


def _patches(together: Iterable[bytes]) -> Row:
    kept = list(together)

    def values() -> tuple[Any, ...]:
        rows = [parsed(line) for line in kept]
        first = rows[0]
        image = text(first, "image_id")
        origins: dict[str, int] = {}
        names = []
        for row in rows:
            if any(text(row, key) != text(first, key) for key in ("image_id", "patient", "split")):
                raise BrokenError("patches of one image differ in patient or part")
            origin = text(row, "origin")
            origins[origin] = origins.get(origin, 0) + 1
            names.append(text(row, "patch_id").removeprefix(image))
        return image, text(first, "patient"), text(first, "split"), json.dumps(origins, sort_keys=True), " ".join(names)

    return _key(*kept), values


def _key(*parts: bytes | str) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(4, "big") + content)
    return digest.digest()
