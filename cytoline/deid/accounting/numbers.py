"""Which numbers about size and colour are plausible: what a resolution field may hold without being a place for words.

Four bytes that may hold any number up to a hundred million carry two or three letters of a code each; a real
resolution is known to a few digits.
"""

from __future__ import annotations

SIGNIFICANT = 5
"""Digits."""
_TENS = frozenset(10**power for power in range(10))
MOST_PER_UNIT = 10**6
"""Pixels per inch or centimetre; an oil immersion lens gives half of that."""


def is_short(number: int) -> bool:
    """At most ``SIGNIFICANT`` digits, zeros behind them not counted."""
    return number >= 0 and len(str(number).rstrip("0")) <= SIGNIFICANT


def is_plausible_ratio(numerator: int, denominator: int) -> bool:
    """A resolution as TIFF holds it: a power of ten over or under a number of few digits."""
    one_is_ten = (denominator in _TENS and is_short(numerator)) or (numerator in _TENS and is_short(denominator))
    return one_is_ten and 0 < numerator <= MOST_PER_UNIT * denominator
