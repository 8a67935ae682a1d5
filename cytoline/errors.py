"""The one exception that a user of cytoline can cause."""

from __future__ import annotations


class CytolineError(Exception):
    """Something the user can put right: one line of cause, one line of remedy.

    Command lines print both without a traceback and exit with code 2 (see ``cytoline.command``).
    Neither line may hold anything that could identify a person.
    """

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"{cause}\n{remedy}")
        self.cause = cause
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[CytolineError], tuple[str, str]]:
        """Survive the trip back from a worker process with both lines."""
        return (type(self), (self.cause, self.remedy))
