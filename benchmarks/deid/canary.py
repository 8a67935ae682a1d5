"""Canaries: identifiers that exist nowhere else, so that finding one again proves that it leaked.

Each is drawn from the name of its hiding place: the same place always gets the same one, no two places share one.
"""

from __future__ import annotations

import datetime
import hashlib
import struct
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "token", "name", "accession", "day", "moment", "uid", "digits", "pair", "quad"]
"""What a hiding place has room for: all words at once, or one of them, or only numbers."""

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
_GIVEN = ("Adela", "Birgit", "Carmen", "Dagny", "Elvira", "Fiona", "Greta", "Helene")


@dataclass(frozen=True)
class Canary:
    """The identifiers of one hiding place, in the shapes that fields of image files ask for."""

    token: str
    """31 characters that nobody can guess."""
    family: str
    given: str
    accession: str
    """12 capitals and digits: fits a DICOM code string."""
    taken: datetime.datetime
    number: int
    """48 random bits."""

    @classmethod
    def of(cls, place: str, run: int = 0) -> Canary:
        """The canary of a place; another ``run`` gives others."""
        drawn = hashlib.sha512(f"canary|{run}|{place}".encode()).digest()
        family = "".join(_CONSONANTS[drawn[i] % 14] + _VOWELS[drawn[i + 1] % 5] for i in range(0, 12, 2)).upper()
        seconds = int.from_bytes(drawn[12:16], "big") % (70 * 365 * 86400)
        return cls(
            token=f"ZQ7F-CANARY-{drawn[16:26].hex()[:19].upper()}",
            family=family,
            given=_GIVEN[drawn[40] % len(_GIVEN)],
            accession=f"C{drawn[32:38].hex()[:11].upper()}",
            taken=datetime.datetime(1925, 1, 1) + datetime.timedelta(seconds=seconds),
            number=int.from_bytes(drawn[48:54], "big") | 1 << 47,
        )

    @property
    def name(self) -> str:
        return f"{self.family}^{self.given}"

    @property
    def iso(self) -> str:
        """The day as people write it."""
        return self.taken.strftime("%Y-%m-%d")

    @property
    def day(self) -> str:
        """The day as DICOM writes it."""
        return self.taken.strftime("%Y%m%d")

    @property
    def moment(self) -> str:
        """Day and time as Exif writes them."""
        return self.taken.strftime("%Y:%m:%d %H:%M:%S")

    @property
    def text(self) -> str:
        """All of it, as found in comments; ASCII, about 75 characters."""
        return f"{self.name} *{self.iso} {self.accession} {self.token}"

    @property
    def digits(self) -> str:
        """12 digits or more."""
        return str(self.number % 900_000_000_000 + 100_000_000_000)

    @property
    def uid(self) -> str:
        return f"2.25.{self.number}{self.digits}"

    @property
    def pair(self) -> tuple[int, int]:
        """Two 32-bit numbers, such as a fraction of degrees."""
        return (self.number & 0x7FFFFFFF | 0x10000001, self.number >> 17 | 0x10000001)

    @property
    def quad(self) -> bytes:
        """Four bytes, for a reserved field."""
        return struct.pack("<I", self.pair[0])

    def needles(self, kind: Kind) -> tuple[str | bytes, ...]:
        """What must not be found in an output when that kind was planted; text counts in any case of letters."""
        pair = self.pair
        shapes: dict[Kind, tuple[str | bytes, ...]] = {
            "text": (self.token, self.family, self.accession, self.iso),
            "token": (self.token,),
            "name": (self.family,),
            "accession": (self.accession,),
            "day": (self.day,),
            "moment": (self.moment,),
            "uid": (self.uid,),
            "digits": (self.digits,),
            "pair": (struct.pack("<2I", *pair), struct.pack(">2I", *pair)),
            "quad": (self.quad,),
        }
        return shapes[kind]
