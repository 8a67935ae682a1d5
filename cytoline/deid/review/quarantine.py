"""``quarantine.jsonl``: what is kept back, why, and where in the picture the suspicion lies.  Private, never pushed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from cytoline import atomic
from cytoline.deid.audit import RELEASABLE, Reason
from cytoline.deid.polygon import Polygon
from cytoline.deid.review.decisions import Pseudonym
from cytoline.errors import CytolineError
from cytoline.manifest import json_line, json_rows

QUARANTINE = "quarantine.jsonl"
IMAGES = "images"


class Held(BaseModel):
    """One image that is kept back; its original lies beside the list, under its pseudonym."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_id: Pseudonym
    reason: Reason
    regions: tuple[Polygon, ...] = ()
    """What is suspected, on the upright picture.  Empty does not mean that there is nothing to see."""

    @property
    def releasable(self) -> bool:
        """True if a person may let it out."""
        return self.reason in RELEASABLE


def write_quarantine(folder: Path, rows: Iterable[Held]) -> None:
    """Write the list, sorted."""
    ordered = sorted(rows, key=lambda row: row.image_id)
    atomic.write_text(folder / QUARANTINE, "".join(json_line(row.model_dump(mode="json")) for row in ordered))


def read_quarantine(folder: Path) -> list[Held]:
    """Read it.  Raises ``CytolineError`` if there is none or a line is not what a run writes."""
    try:
        lines = json_rows(folder / QUARANTINE)
    except (OSError, UnicodeDecodeError):
        raise CytolineError("there is no list of what is kept back", "make it: `dvc repro anonymize`") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(Held.model_validate_json(line))
        except ValidationError:
            raise CytolineError(
                f"{QUARANTINE}: line {number} is not what a run writes", "make it anew: `dvc repro -f anonymize`"
            ) from None
    return rows


def original_of(folder: Path, image: str) -> Path | None:
    """The private file of an image that is kept back."""
    return next(iter(sorted((folder / IMAGES).glob(f"{image}.*"))), None)
