"""The split: which part (train, val, test) every image is in.  Written by ``stages.split``, read by what learns."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from cytoline import atomic
from cytoline.errors import CytolineError
from cytoline.manifest import Id, json_line, json_rows

SPLIT_FILE = "split.jsonl"
"""Name of the table inside data/split."""

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


class SplitRow(BaseModel):
    """One image's part.  ``group`` is the set of patients that must stay together, named by one of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_id: Id
    patient: str
    group: str
    split: Split


def read_split_rows(folder: Path) -> list[SplitRow]:
    """Read and check the table, sorted by ``image_id``.  Raises ``CytolineError`` with file and line."""
    path = folder / SPLIT_FILE
    try:
        lines = json_rows(path)
    except FileNotFoundError:
        raise CytolineError(f"{path} is missing", "run the stage that makes it: `dvc repro split`") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(SplitRow.model_validate_json(line))
        except ValidationError as error:
            raise CytolineError(f"{path}:{number}: {error.errors()[0]['msg']}", "`dvc repro -f split`") from None
    check_no_leakage(rows)
    return rows


def read_split(folder: Path) -> dict[str, str]:
    """``image_id`` to part."""
    return {row.image_id: row.split for row in read_split_rows(folder)}


def write_split_rows(folder: Path, rows: Iterable[SplitRow]) -> None:
    """Write the table sorted by ``image_id``; refuses a table that leaks."""
    ordered = sorted(rows, key=lambda row: row.image_id)
    check_no_leakage(ordered)
    atomic.write_text(folder / SPLIT_FILE, "".join(json_line(row.model_dump(mode="json")) for row in ordered))


def check_no_leakage(rows: Iterable[SplitRow]) -> None:
    """Raise ``CytolineError`` if an image stands twice, or a patient or a group is on two sides."""
    images: set[str] = set()
    part_of: dict[tuple[str, str], str] = {}
    for row in rows:
        if row.image_id in images:
            raise CytolineError(f"the split names image {row.image_id} twice", "`dvc repro -f split`")
        images.add(row.image_id)
        for key in (("patient", row.patient), ("group", row.group)):
            if part_of.setdefault(key, row.split) != row.split:
                raise CytolineError(
                    f"leakage: {key[0]} {key[1]} is in {part_of[key]} and in {row.split}",
                    "rebuild the split with `dvc repro -f split`; never edit data/split by hand",
                )
