"""The manifest: one record per image, JSON Lines, equal content in equal bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cytoline import atomic
from cytoline.errors import CytolineError

MANIFEST = "manifest.jsonl"
"""Name of the manifest inside data/raw and data/clean."""

BBox = tuple[float, float, float, float]
"""x, y, width, height in pixels; x and y of the upper left corner, from 0 at the image's corner."""

HIDDEN_FROM = 0.3
"""A cell painted over by this share is left out of training and of every figure (which say how many); one with a
corner of text across it is still a cell that the models must find and grade."""

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]


class Annotation(BaseModel):
    """One cell that a person marked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bbox: BBox
    label: str
    annotator: str | None = None
    redacted: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the box that the anonymizer painted over."""

    @property
    def hidden(self) -> bool:
        """True where so much is painted over that the cell can neither teach nor prove anything."""
        return self.redacted >= HIDDEN_FROM

    @model_validator(mode="after")
    def _has_area(self) -> Self:
        if not all(map(_finite, self.bbox)) or self.bbox[2] <= 0 or self.bbox[3] <= 0:
            raise ValueError("a box needs finite numbers and a positive width and height")
        return self


class Record(BaseModel):
    """One image.  ``image_id`` is also the stem of its file beside the manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_id: Id
    file: Id
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]
    mpp: Annotated[float, Field(gt=0)] | None
    """Microns per pixel, None where unknown."""
    patient: str
    slide: str
    source: Id
    organ: str
    stain: str
    role: Literal["field", "cell"]
    labelled: bool = True
    """False for fields-plain: no annotations means "not looked at", not "no cells"."""
    annotations: tuple[Annotation, ...] = ()

    @model_validator(mode="after")
    def _boxes_inside(self) -> Self:
        for item in self.annotations:
            x, y, w, h = item.bbox
            if x < 0 or y < 0 or x + w > self.width + 1e-6 or y + h > self.height + 1e-6:
                raise ValueError(f"a box reaches outside the image {self.image_id}")
        return self


def read_manifest(folder_or_file: Path) -> list[Record]:
    """Read and check a manifest.  Raises ``CytolineError`` naming file and line of the first bad record."""
    path = folder_or_file / MANIFEST if folder_or_file.is_dir() else folder_or_file
    try:
        lines = json_rows(path)
    except FileNotFoundError:
        raise CytolineError(f"{path} is missing", "run the stage that makes it: `dvc repro`") from None
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(Record.model_validate_json(line))
        except ValidationError as error:
            item = error.errors()[0]
            where = ".".join(str(part) for part in item["loc"])
            raise CytolineError(f"{path}:{number}: {where}: {item['msg']}", "rebuild it: `dvc repro -f`") from None
    ids = [record.image_id for record in records]
    if ids != sorted(set(ids)):
        raise CytolineError(f"{path}: image ids are not unique and sorted", "rebuild it: `dvc repro -f`")
    return records


def write_manifest(folder_or_file: Path, records: Iterable[Record]) -> None:
    """Write records sorted by ``image_id``, keys sorted, one per line, ending in ``\\n``."""
    path = folder_or_file / MANIFEST if folder_or_file.is_dir() else folder_or_file
    ordered = sorted(records, key=lambda record: record.image_id)
    atomic.write_text(path, "".join(json_line(record.model_dump(mode="json")) for record in ordered))


def json_line(value: object) -> str:
    """One line of canonical JSON: sorted keys, no blanks, UTF-8 kept, ``\\n`` at the end."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n"


def json_rows(path: Path) -> list[str]:
    """The lines of a JSON Lines file.  Only ``\\n`` ends a line: ``str.splitlines`` would also break a text value
    at the Unicode separators (U+0085, U+2028) that JSON may hold unescaped.
    """
    rows = path.read_text(encoding="utf-8").split("\n")
    return rows[:-1] if rows[-1] == "" else rows


def _finite(number: float) -> bool:
    return number == number and abs(number) != float("inf")
