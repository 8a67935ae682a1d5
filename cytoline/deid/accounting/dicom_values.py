"""What a value in a de-identified DICOM file may look like, as bytes.

Source: PS3.5 6.2 (value representations).  Every test takes the value as it lies in the file and is strict: one
padding byte, numbers in their shortest form, so that no letters travel in blanks, zeros or long fractions.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from datetime import date
from typing import Any

Test = Callable[[bytes], bool]

_BINARY = {"US": "<H", "SS": "<h", "UL": "<I", "SL": "<i", "FL": "<f"}
_OWN_UID = re.compile(r"2\.25\.(0|[1-9]\d{0,38})")
_STORAGE_UID = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1(\.[1-9]\d{0,2}){1,4}")
_PSEUDONYM = re.compile(r"[0-9a-f]{32}")


def text_of(value: bytes, padding: bytes = b" ") -> str:
    """ASCII without the one byte that makes a length even.  Raises ``ValueError`` for other letters."""
    return (value[:-1] if value.endswith(padding) else value).decode("ascii")


def words(listed: str, most: int = 1) -> Test:
    """One to ``most`` terms of a list."""
    allowed = frozenset(listed.split())

    def test(value: bytes) -> bool:
        given = text_of(value).split("\\")
        return len(given) <= most and (not value or all(word in allowed for word in given))

    return test


def fixed(text: str, padding: bytes = b" ") -> Test:
    """This text and no other."""
    return lambda value: text_of(value, padding) == text


def numbers(vr: str, low: float, high: float, least: int = 1, most: int = 1) -> Test:
    """``least`` to ``most`` numbers from ``low`` to ``high``."""

    def test(value: bytes) -> bool:
        given = _binary(vr, value) if vr in _BINARY else _written(vr, value)
        return given is not None and least <= len(given) <= most and all(low <= one <= high for one in given)

    return test


def maybe(test: Test) -> Test:
    """Nothing, or what ``test`` allows."""
    return lambda value: not value or test(value)


def nothing(value: bytes) -> bool:
    """An attribute that has to be there and has to be empty."""
    return not value


def own_uid(value: bytes) -> bool:
    """Made from a UUID or a key (PS3.5 B.2), never an organisation's own."""
    found = _OWN_UID.fullmatch(text_of(value, b"\0"))
    return found is not None and int(found[1]) < 1 << 128


def storage_class(value: bytes) -> bool:
    """A storage class of the standard."""
    return _STORAGE_UID.fullmatch(text_of(value, b"\0")) is not None


def pseudonym(value: bytes) -> bool:
    """32 hex digits."""
    return _PSEUDONYM.fullmatch(value.decode("ascii")) is not None


def day(value: bytes) -> bool:
    """A day of the calendar, nothing finer."""
    text = text_of(value)
    if not value:
        return True
    return len(text) == 8 and text.isdigit() and bool(date(int(text[:4]), int(text[4:6]), int(text[6:])))


def age(value: bytes) -> bool:
    """At most 90 years."""
    return re.fullmatch(rb"(0[0-8]\d|090)Y|\d{3}[DWM]", value) is not None


def tags(*allowed: int) -> Test:
    """One of these tags."""
    return lambda value: (
        len(value) == 4 and struct.unpack("<HH", value) in {(tag >> 16, tag & 0xFFFF) for tag in allowed}
    )


def anything(value: bytes) -> bool:
    """For what is tested elsewhere."""
    return True


def passes(test: Test, value: bytes) -> bool:
    """A test that cannot make sense of a value fails."""
    try:
        return test(value)
    except (ValueError, OverflowError, struct.error):
        return False


def _binary(vr: str, value: bytes) -> list[Any] | None:
    size = struct.calcsize(_BINARY[vr])
    if len(value) % size:
        return None
    given = [one for (one,) in struct.iter_unpack(_BINARY[vr], value)]
    if vr != "FL":
        return given
    short = [struct.unpack("<f", struct.pack("<f", float(f"{one:.6g}")))[0] for one in given if math.isfinite(one)]
    return given if short == given else None


def _written(vr: str, value: bytes) -> list[float] | None:
    parts = text_of(value).split("\\")
    given = [float(part) for part in parts]
    shortest = [str(int(one)) if vr == "IS" else f"{one:.10g}" for one in given]
    return given if shortest == parts else None
