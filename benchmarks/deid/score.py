"""What had to be done in each case, whether it was, and the shares: MIDI-B's names of actions.

MIDI-B (medical image de-identification benchmark) scores radiology DICOM by kinds of required action; the same
names are used here, so that figures can be put side by side.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What a de-identifier has to do."""

    TAG_RETAINED = "tag retained"
    TAG_REMOVED = "tag removed"
    TEXT_REMOVED = "text removed"
    DATE_SHIFTED = "date shifted"
    UID_CONSISTENT = "uid consistent"
    PATIENT_ID_CONSISTENT = "patient id consistent"
    PIXELS_HIDDEN = "pixels hidden"
    PIXELS_RETAINED = "pixels retained"


@dataclass(frozen=True)
class Row:
    """One case.  ``withheld``: there is no output, since the file was put aside or refused.

    Nothing leaks from a file that is withheld, so removal counts as done; retaining does not.  The count of
    withheld files stands beside each share, because whoever withholds everything would otherwise score best.
    """

    case: str
    action: Action
    passed: bool
    withheld: bool = False


@dataclass(frozen=True)
class Tally:
    """Of ``of`` cases that asked for an action, so many passed and so many were withheld."""

    action: str
    passed: int
    withheld: int
    of: int

    @property
    def share(self) -> float:
        return self.passed / self.of


def tallies(rows: Iterable[Row]) -> list[Tally]:
    """One per action that occurs, in the order of ``Action``.  Raises ``ValueError`` where a case comes twice."""
    given = list(rows)
    if len({(row.case, row.action) for row in given}) < len(given):
        raise ValueError("a case is scored twice for the same action")
    found = []
    for action in Action:
        own = [row for row in given if row.action is action]
        if own:
            found.append(_tally(action.value, own))
    return found


def share(rows: Iterable[Row]) -> float | None:
    """Passed cases of all cases; None without cases, which is not a score of 1."""
    given = list(rows)
    return _tally("all", given).share if given else None


def table(rows: Iterable[Row]) -> str:
    """Markdown: a line per action and one for all."""
    given = list(rows)
    lines = ["| action | passed | of | withheld | share |", "|---|---|---|---|---|"]
    parts = tallies(given)
    if given:
        parts.append(_tally("all", given))
    lines += [f"| {part.action} | {part.passed} | {part.of} | {part.withheld} | {part.share:.4f} |" for part in parts]
    return "\n".join(lines) + "\n"


def _tally(action: str, rows: list[Row]) -> Tally:
    passed, withheld = sum(row.passed for row in rows), sum(row.withheld for row in rows)
    return Tally(action, passed, withheld, len(rows))
