"""The audit log: what was done to each image, in a closed vocabulary, each line bound to the one before it.

Codes, counts and enumerated words only: no text that was read, no path, no time, no part of a value.  Changing,
removing or reordering a line breaks the chain from there on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from cytoline import atomic
from cytoline.errors import CytolineError
from cytoline.manifest import json_line

AUDIT = "audit.jsonl"
GENESIS = "0" * 64
"""What the first line gives as the hash of the one before it."""

Reason = Literal[
    "unreadable",
    "too_large",
    "unsupported",
    "size_differs",
    "text_remains",  # found again after every round of painting
    "barcode_like",  # black on white, restless, rectangular: nobody can read it, and it may be a barcode
    "check_failed",
]
"""Why an image is kept back."""

Pseudonym = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
KeyId = Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
Count = Annotated[int, Field(ge=0)]


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Begun(_Event):
    """Which keys made the pseudonyms; ``synthetic`` is the public one of phantom data.

    In mode ``random`` there is no key: ``private_key`` is the crosswalk's own random id.
    """

    event: Literal["begun"] = "begun"
    version: Literal[1] = 1
    mode: Literal["keyed", "random"] = "keyed"
    private_key: KeyId | None
    synthetic_key: KeyId | None


class Passed(_Event):
    """An image in data/clean."""

    event: Literal["untouched", "redacted"]
    image: Pseudonym
    route: Literal["jpeg_rewrite", "png_anew"]
    turned: bool
    texts: Count
    barcodes: Count
    doubtful: Count
    boxes: Count
    boxes_redacted: Count


class KeptBack(_Event):
    """An image in data/quarantine."""

    event: Literal["quarantined"] = "quarantined"
    image: Pseudonym
    reason: Reason


class Ended(_Event):
    """The balance; ``rejected`` is what a reviewer decided to drop for good."""

    event: Literal["ended"] = "ended"
    came_in: Count
    untouched: Count
    redacted: Count
    quarantined: Count
    rejected: Count


Event = Annotated[Begun | Passed | KeptBack | Ended, Field(discriminator="event")]
_EVENT: TypeAdapter[Begun | Passed | KeptBack | Ended] = TypeAdapter(Event)


def write_audit(path: Path, events: Sequence[_Event]) -> None:
    """Write the chain: every line holds the SHA-256 of the line before it."""
    lines, previous = [], GENESIS
    for event in events:
        line = json_line({**event.model_dump(mode="json"), "prev": previous})
        previous = hashlib.sha256(line.encode()).hexdigest()
        lines.append(line)
    atomic.write_text(path, "".join(lines))


def read_audit(path: Path) -> list[Begun | Passed | KeptBack | Ended]:
    """Check schema and chain.  Raises ``CytolineError`` naming the first line that does not fit."""
    events, previous = [], GENESIS
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(keepends=True), start=1):
        try:
            fields = json.loads(line)
            fits = fields.pop("prev") == previous
            events.append(_EVENT.validate_python(fields))
        except (ValueError, KeyError, AttributeError, ValidationError):
            fits = False
        if not fits:
            raise CytolineError(
                f"{path.name}: line {number} is not what was written",
                "find out who changed it; `dvc checkout` restores",
            )
        previous = hashlib.sha256(line.encode()).hexdigest()
    if not events or not isinstance(events[-1], Ended):
        raise CytolineError(f"{path.name}: the end is missing", "find out who cut it; `dvc checkout` restores")
    return events
