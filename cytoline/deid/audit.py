"""The audit log: what was done to each image, in a closed vocabulary, each line bound to the one before it.

Codes, counts and enumerated words only: no text that was read, no path, no part of a value, and no time but that of a
reviewer's decision.  Changing, removing or reordering a line breaks the chain from there on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from cytoline import atomic
from cytoline.deid.review.chain import chained, unchained
from cytoline.deid.review.decisions import Decision, Handle, Pseudonym, Stated, Time
from cytoline.errors import CytolineError

AUDIT = "audit.jsonl"

Reason = Literal[
    "unreadable",
    "too_large",
    "unsupported",
    "size_differs",
    "text_remains",  # found again after every round of painting
    "barcode_like",  # black on white, restless, rectangular: nobody can read it, and it may be a barcode
    "pen_or_handwriting",  # long thin strokes of one ink that is no dye of the stain
    "doubtful_text",  # weak hits, where ``anonymize.review`` wants a person to look at them
    "check_failed",
]
"""Why an image is kept back."""

RELEASABLE: frozenset[Reason] = frozenset({"text_remains", "barcode_like", "pen_or_handwriting", "doubtful_text"})
"""Suspicions that a person may set aside.  What cannot be read or checked can only be rejected."""

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


class Released(_Event):
    """Beside the line of an image in data/clean: a person let it out, as it was found or with regions painted over."""

    event: Literal["released"] = "released"
    image: Pseudonym
    decision: Literal["release", "redact"]
    reviewer: Handle
    reason: Stated
    time: Time


class Rejected(_Event):
    """An image that is nowhere any more."""

    event: Literal["rejected"] = "rejected"
    image: Pseudonym
    reviewer: Handle
    reason: Stated
    time: Time


class Ended(_Event):
    """The balance; ``rejected`` is what a reviewer decided to drop for good."""

    event: Literal["ended"] = "ended"
    came_in: Count
    untouched: Count
    redacted: Count
    quarantined: Count
    rejected: Count


Event = Begun | Passed | KeptBack | Released | Rejected | Ended
_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def write_audit(path: Path, events: Sequence[Event]) -> None:
    """Write the chain: every line holds the SHA-256 of the line before it."""
    atomic.write_text(path, chained(events))


def read_audit(path: Path) -> list[Event]:
    """Check schema and chain.  Raises ``CytolineError`` naming the first line that does not fit."""
    events = unchained(path, _EVENT.validate_json, "find out who changed it; `dvc checkout` restores")
    if not events or not isinstance(events[-1], Ended):
        raise CytolineError(f"{path.name}: the end is missing", "find out who cut it; `dvc checkout` restores")
    return events


def log_entry(decision: Decision) -> Released | Rejected:
    """What the log says of a decision that was carried out."""
    if decision.decision == "reject":
        return Rejected(image=decision.image, reviewer=decision.reviewer, reason=decision.reason, time=decision.time)
    return Released(
        image=decision.image,
        decision=decision.decision,
        reviewer=decision.reviewer,
        reason=decision.reason,
        time=decision.time,
    )
