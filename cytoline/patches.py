"""A patch: the square around one cell.  How it is cut, and the table of all of them."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil, floor
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cytoline import atomic
from cytoline.errors import CytolineError
from cytoline.images import RGB
from cytoline.manifest import BBox, Id, json_line, json_rows

PATCHES = "patches.jsonl"
"""Name of the table inside data/patches and data/upscaled."""

BACKGROUND = "background"
"""Label of a patch that shows no cell of interest."""

BEYOND = 127
"""Grey level of what lies outside of the image."""

Origin = Literal["annotated", "detected", "background"]


class PatchRecord(BaseModel):
    """One patch; its PNG is ``<patch_id>.png`` in the shards beside the table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patch_id: Id
    image_id: Id
    patient: str
    source: Id
    split: Literal["train", "val", "test"]
    origin: Origin
    label: str | None
    """A class of the taxonomy, ``background``, or None for a detection that no annotation claims."""
    bbox: BBox
    """The cell's box in the image that the patch was cut from, not the patch's outline."""
    score: Annotated[float, Field(ge=0, le=1)] | None = None
    """The detector's score; None for annotated cells."""

    @property
    def file(self) -> str:
        """Name inside the shards."""
        return f"{self.patch_id}.png"


def read_patches(folder: Path) -> list[PatchRecord]:
    """Read and check the table.  Raises ``CytolineError`` naming file and line of the first bad record."""
    path = folder / PATCHES
    try:
        lines = json_rows(path)
    except FileNotFoundError:
        raise CytolineError(f"{path} is missing", "run the stage that makes it: `dvc repro`") from None
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(PatchRecord.model_validate_json(line))
        except ValidationError as error:
            item = error.errors()[0]
            where = ".".join(str(part) for part in item["loc"])
            raise CytolineError(f"{path}:{number}: {where}: {item['msg']}", "rebuild it: `dvc repro -f`") from None
    ids = [record.patch_id for record in records]
    if ids != sorted(set(ids)):
        raise CytolineError(f"{path}: patch ids are not unique and sorted", "rebuild it: `dvc repro -f`")
    return records


def write_patches(folder: Path, records: Iterable[PatchRecord]) -> None:
    """Write the table sorted by ``patch_id``: equal content in equal bytes."""
    ordered = sorted(records, key=lambda record: record.patch_id)
    atomic.write_text(folder / PATCHES, "".join(json_line(record.model_dump(mode="json")) for record in ordered))


def window(bbox: BBox, context: float, min_px: int, size: tuple[int, int]) -> tuple[int, int, int]:
    """Left, top and side of the square to cut around ``bbox`` in an image of ``size`` (width, height).

    The side is the box's longer side times ``context``, at least ``min_px``, at most the image's longer side:
    beyond that there would be nothing to see (and a picture of one cell is kept whole as it is).
    """
    x, y, w, h = bbox
    wanted = max(ceil(max(w, h) * max(context, 1.0) - 1e-6), min_px, 1)
    side = min(wanted, max(size))
    return floor(x + w / 2 - side / 2 + 0.5), floor(y + h / 2 - side / 2 + 0.5), side


def crop(image: RGB, bbox: BBox, context: float, min_px: int) -> RGB:
    """Cut the square around ``bbox`` at native resolution: uint8 [side, side, 3].

    Centred on the box to half a pixel also at the image's border, where the missing part is mid-grey, which a
    classifier sees as nothing at all (its input runs from -1 to 1).  Mirrored pixels would show a nucleus at the
    border as a cell with two nuclei, and those are a sign of disease (docs/decisions/009-grey-beyond-the-border.md).
    """
    height, width = image.shape[:2]
    left, top, side = window(bbox, context, min_px, (width, height))
    patch = np.full((side, side, 3), BEYOND, dtype=np.uint8)
    rows, columns = slice(max(top, 0), min(top + side, height)), slice(max(left, 0), min(left + side, width))
    patch[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = image[rows, columns]
    return patch
