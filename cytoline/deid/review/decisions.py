"""A reviewer's decisions about single images: a closed schema in an append-only chain that git keeps.

Nothing in it tells who is in a picture: an image goes by its pseudonym, which follows the file's content.  (A hash of
the private file itself would let anyone who has the file find it here.)  Of the reviewer it holds a handle.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from cytoline import atomic
from cytoline.deid.polygon import Polygon
from cytoline.deid.review.chain import chained, unchained

REVIEW = Path("data/review")
DECISIONS = "decisions.jsonl"
"""Name of the file inside it."""
_REMEDY = "restore it (`git checkout` or `git log -p` on it), then record what is missing with `cytoline review`"
_STAMP = "%Y-%m-%dT%H:%M:%SZ"

LARGEST_SIDE = 1_000_000
MOST_REGIONS = 1000


def _real_time(text: str) -> str:
    datetime.datetime.strptime(text, _STAMP)
    return text


Pseudonym = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Handle = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{1,31}$")]
Time = Annotated[str, Field(pattern=r"^[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}Z$"), AfterValidator(_real_time)]
"""UTC, to the second."""
Word = Literal["release", "redact", "reject"]
Stated = Literal["no_identifier", "identifier_painted", "identifier_remains", "not_usable", "wrong_image"]
"""Why a reviewer decided so."""
_LETS_GO: frozenset[Stated] = frozenset({"no_identifier", "identifier_painted"})

_From = Annotated[int, Field(ge=0, le=LARGEST_SIDE)]
_Size = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]
Box = tuple[_From, _From, _Size, _Size]
"""x, y, width, height in pixels of the upright picture."""


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Ruling(_Closed):
    """The part of a decision that changes pixels, and nothing else: images are made anew only where it changes."""

    release: bool = False
    regions: tuple[Box, ...] = ()


class Decision(_Closed):
    """One decision; a later one about the same image takes its place."""

    image: Pseudonym
    decision: Word
    regions: tuple[Box, ...] = Field(default=(), max_length=MOST_REGIONS)
    reviewer: Handle
    time: Time
    reason: Stated

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if bool(self.regions) != (self.decision == "redact"):
            raise ValueError("regions belong to `redact`, which needs at least one, and to nothing else")
        if (self.reason in _LETS_GO) != (self.decision != "reject"):
            raise ValueError(f"`{self.reason}` is no reason to {self.decision}")
        return self

    @property
    def ruling(self) -> Ruling:
        """What it means for the pixels."""
        return Ruling(release=self.decision == "release", regions=self.regions)


def read_decisions(folder: Path) -> list[Decision]:
    """All of them, oldest first; none where nobody decided yet.  Raises ``CytolineError`` naming a line that is not
    what was written.
    """
    path = folder / DECISIONS if folder.is_dir() else folder
    return unchained(path, Decision.model_validate_json, _REMEDY) if path.is_file() else []


def latest(decisions: list[Decision]) -> dict[str, Decision]:
    """Image -> what holds now."""
    return {decision.image: decision for decision in decisions}


def record(folder: Path, *decisions: Decision) -> None:
    """Add some at the end.  What is there is checked first."""
    atomic.write_text(folder / DECISIONS, chained([*read_decisions(folder), *decisions]))


def now() -> str:
    """The time as decisions hold it."""
    return datetime.datetime.now(datetime.UTC).strftime(_STAMP)


def corners(box: Box) -> Polygon:
    """A box as a polygon of the pixels that it covers."""
    x, y, w, h = box
    return ((x, y), (x + w - 1, y), (x + w - 1, y + h - 1), (x, y + h - 1))
