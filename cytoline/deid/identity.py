"""Who becomes whom: pseudonyms, shifted dates and new UIDs, all from one key or one crosswalk.

Sources: PS3.15 Annex E (dates and UIDs must stay consistent within a person), 45 CFR 164.514(b)(2)(i)(C) (ages over
89 are one group).
"""

from __future__ import annotations

import datetime
from typing import Literal

from cytoline.pseudonyms import Names

DateMode = Literal["shift", "year"]

SHIFT_YEARS = 5
"""A person's dates move by up to so many years, at least a week, backwards: none lies in the future."""
_LEAST_DAYS = 7
OLDEST = 89
"""Years; whoever is older is 90+."""


class Identity:
    """Replacements for what names a person, a thing or a day."""

    def __init__(self, names: Names, dates: DateMode = "shift") -> None:
        self.names = names
        self.dates = dates

    def pseudonym(self, domain: Literal["patient", "slide", "file"], value: str) -> str:
        """32 hex digits."""
        return self.names.of(domain, value)

    def uid(self, original: str) -> str:
        """A UUID-derived UID (PS3.5 B.2), the same for the same original; at most 44 characters."""
        return f"2.25.{int(self.names.of('uid', original.strip(chr(0) + ' ')), 16)}"

    def days(self, patient: str) -> int:
        """By how many days a person's dates move: -1826 to -7, the same for all dates of that person."""
        spread = SHIFT_YEARS * 365 + 1 - _LEAST_DAYS + 1
        return -(_LEAST_DAYS + int(self.names.of("days", patient), 16) % spread)

    def date(self, patient: str, day: datetime.date) -> datetime.date:
        """The day moved by the person's shift, or 1 January of its year where ``dates`` is ``year``."""
        if self.dates == "year":
            return datetime.date(day.year, 1, 1)
        try:
            return day + datetime.timedelta(days=self.days(patient))
        except OverflowError:
            return datetime.date(1, 1, 1)

    @staticmethod
    def age(years: float) -> float:
        """Ages over 89 become 90."""
        return 90 if years > OLDEST else years
