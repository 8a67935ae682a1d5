"""What a kept attribute may say: kinds of rule, and the one way in which each gives a value that is written anew.

A value that breaks its rule gives None, and the attribute is left out.  Numbers are typed again from the number
itself: PS3.5 allows blanks, signs and leading zeros, and long fractions in which letters could travel.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydicom.uid import UID

from cytoline.deid.identity import Identity

DS_DIGITS = 10
"""Significant digits of decimal strings and doubles: a nanometre in a metre."""
FL_DIGITS = 6
_AGE = re.compile(r"(\d{3})([DWMY])")
_DAY = re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)")


@dataclass
class Replacements:
    """Who becomes whom within one file."""

    identity: Identity
    patient: str
    numbers: dict[str, str] = field(default_factory=dict)
    """Names that only tell things apart within the file, as running numbers."""

    def number(self, name: str) -> str:
        return self.numbers.setdefault(name, str(len(self.numbers) + 1))


@dataclass(frozen=True)
class Numbers:
    """``least`` to ``most`` numbers, each in ``low`` to ``high``."""

    low: float
    high: float
    least: int = 1
    most: int = 1


@dataclass(frozen=True)
class Terms:
    """Terms of a closed list.  ``leading`` keeps those before the first unknown one, else all must be known."""

    allowed: frozenset[str]
    most: int = 1
    leading: bool = False


@dataclass(frozen=True)
class ClassUid:
    """A SOP class that the standard itself defines."""


@dataclass(frozen=True)
class NewUid:
    """The identity's UID in place of the file's."""


@dataclass(frozen=True)
class Day:
    """A date, or the date of a date and time, moved by the person's shift."""


@dataclass(frozen=True)
class Age:
    """Over 89 years become 90."""


@dataclass(frozen=True)
class Renumbered:
    """A running number in place of a name."""


@dataclass(frozen=True)
class Pointers:
    """Tags of a closed list."""

    allowed: frozenset[int]


@dataclass(frozen=True)
class Codes:
    """One code of a closed list, written with our own words: (scheme, value) to meaning."""

    allowed: Mapping[tuple[str, str], str]


@dataclass(frozen=True)
class Items:
    """A sequence whose items hold no more than ``rules``; empty ones go unless their position counts."""

    rules: Mapping[str, Rule]
    positional: bool = False


Rule = Numbers | Terms | ClassUid | NewUid | Day | Age | Renumbered | Pointers | Codes | Items


def plain(vr: str, value: Any, rule: Rule, new: Replacements) -> Any:
    """The value to write, or None.  ``value`` is what the reader made of it and may be of any type."""
    if isinstance(rule, Numbers):
        return _numbers(vr, value, rule)
    if isinstance(rule, Terms):
        return _terms(value, rule)
    if isinstance(rule, ClassUid):
        return _class_uid(value)
    if isinstance(rule, NewUid):
        text = _text(value)
        return new.identity.uid(text) if text else None
    if isinstance(rule, Day):
        day = day_of(value)
        return None if day is None else f"{new.identity.date(new.patient, day):%Y%m%d}".rjust(8, "0")
    if isinstance(rule, Age):
        return _age(value, new)
    if isinstance(rule, Renumbered):
        text = _text(value)
        return new.number(text) if text else None
    if isinstance(rule, Pointers):
        return int(value) if isinstance(value, int) and int(value) in rule.allowed else None
    raise TypeError("sequences are rebuilt elsewhere")


def day_of(value: Any) -> datetime.date | None:
    """The calendar day at the start of a DA or DT value."""
    found = _DAY.match(_text(value))
    try:
        return datetime.date(*(int(part) for part in found.groups())) if found else None
    except ValueError:
        return None


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip(" \0")


def _several(value: Any) -> list[Any]:
    if value is None or isinstance(value, str | bytes | int | float):
        return [] if value is None or value == "" else [value]
    return list(value)


def _numbers(vr: str, value: Any, rule: Numbers) -> list[Any] | Any:
    given = _several(value)
    if not rule.least <= len(given) <= rule.most:
        return None
    out = [_number(vr, one, rule) for one in given]
    if any(one is None for one in out):
        return None
    return out if rule.most > 1 else out[0]


def _number(vr: str, value: Any, rule: Numbers) -> str | int | float | None:
    number = float(value)
    if not math.isfinite(number) or not rule.low <= number <= rule.high:
        return None
    if vr in ("DS", "FD", "FL"):
        text = f"{number:.{FL_DIGITS if vr == 'FL' else DS_DIGITS}g}"
        # Minus nought and numbers too small to mean a length are nought.
        text = "0" if abs(number) < 1e-9 else text
        return text if vr == "DS" else float(text)
    return int(number) if number == int(number) else None


def _terms(value: Any, rule: Terms) -> list[str] | None:
    given = [_text(one) for one in _several(value)][: rule.most + 1]
    if rule.leading:
        known = next((index for index, one in enumerate(given) if one not in rule.allowed), len(given))
        given = given[: min(known, rule.most)]
    fine = 0 < len(given) <= rule.most and all(one in rule.allowed for one in given)
    return given if fine else None


def _class_uid(value: Any) -> str | None:
    uid = UID(_text(value))
    return str(uid) if uid.startswith("1.2.840.10008.") and uid.type == "SOP Class" else None


def _age(value: Any, new: Replacements) -> str | None:
    found = _AGE.fullmatch(_text(value))
    if not found:
        return None
    number = int(found[1])
    return f"{int(new.identity.age(number)) if found[2] == 'Y' else number:03d}{found[2]}"
