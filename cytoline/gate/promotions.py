"""Who was champion when: one line for each move of the alias, in a hash chain that git keeps.

MLflow holds the alias that serves; its database can be edited and leaves no trace of that.  So every move stands here
first, and a champion that this file does not know of is not believed.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cytoline import atomic
from cytoline.deid.review.chain import chained, unchained
from cytoline.errors import CytolineError

PROMOTIONS = Path("approvals/promotions.jsonl")
_LARGEST = 1 << 24
_REMEDY = f"restore it from git: `git log -p {PROMOTIONS}` shows what it was"

Reason = Literal["worse_in_use", "data_withdrawn", "approval_withdrawn", "by_mistake", "incident"]
"""Why a champion is taken back.  A closed list: nothing about a person can be written into the log."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40,64}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]
Version = Annotated[int, Field(ge=1)]


class Promotion(BaseModel):
    """One move of the alias ``champion``."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    action: Literal["promote", "rollback"]
    model: Name
    version: Version
    """The champion from now on."""
    previous: Version | None
    """The champion until now; None for the first."""
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}(\.dir)?$")]
    """DVC's hash of the model folder."""
    commit: Commit
    """The commit that recorded the version in dvc.lock, with its figures and cases."""
    baseline: Commit | None
    """What the gate compared with; None where there was no champion yet, or for a rollback."""
    rules: Commit | None
    """The commit whose params.yaml held the gate's rules: with it anyone can run the gate again."""
    gate: Sha256 | None
    """Of the gate's answer as JSON."""
    approvals: Sha256 | None
    """Of approvals/approvals.jsonl as it was then."""
    reason: Reason | None = None
    time: Annotated[str, StringConstraints(pattern=r"^[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}Z$")]


def now() -> str:
    """UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_promotions(top: Path = Path()) -> list[Promotion]:
    """The whole log, checked line by line.  Raises ``CytolineError`` that names the first line that was changed."""
    path = top / PROMOTIONS
    if path.is_symlink() or (path.exists() and not path.is_file()) or (path.is_file() and _size(path) > _LARGEST):
        raise CytolineError(f"{PROMOTIONS} is not a plain file of a sensible size", _REMEDY)
    return unchained(path, Promotion.model_validate_json, _REMEDY) if path.exists() else []


def append(row: Promotion, top: Path = Path()) -> None:
    """Add one line; the file is replaced in one step."""
    atomic.write_text(top / PROMOTIONS, chained([*read_promotions(top), row]))


def champions(rows: Sequence[Promotion], model: str) -> list[Promotion]:
    """The promotions of ``model`` that still stand, oldest first: the last is the champion, the one before it the
    champion that a rollback goes back to.
    """
    standing: list[Promotion] = []
    for row in rows:
        if row.model != model:
            continue
        if row.action == "promote":
            standing.append(row)
        elif standing:
            standing.pop()
    return standing


def _size(path: Path) -> int:
    return path.stat().st_size
