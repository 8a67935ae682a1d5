"""Invented people: whatever resembles a real person here does so by chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FAMILY = (
    *("ABELARDO", "BRANDVOLD", "CASTELLI", "DROZDOV", "ESKELINEN", "FARKASDI", "GRUNEWALD", "HOLMQVIST"),
    *("IVARSSON", "JANKOWIAK", "KOVALENKA", "LINDGAARD", "MUELLENBACH", "NAVARETTE", "OKONJIMA", "PETROSYAN"),
    *("QUINTEIRO", "ROSENTHALER", "SZCZEPANEK", "TAKEMORI", "UNDERHAUG", "VILLANUEVO", "WESTERGREN", "YAMASHIRO"),
)
GIVEN = (
    *("Adela", "Birgit", "Carmen", "Dagny", "Elvira", "Fiona", "Greta", "Helene"),
    *("Ines", "Judith", "Katrin", "Leonor", "Marta", "Nadine", "Olga"),
)
READERS = ("Dr. R. Halvorsen", "Dr. T. Okafor-Lind", "CT Maria Brunetti")
HOSPITALS = ("St. Elisabeth Klinikum Nordau", "Marbacka Regional Hospital", "Centro Citologico Vallelunga")


@dataclass(frozen=True)
class Person:
    """One patient with the identifiers that a laboratory keeps."""

    family: str
    given: str
    born: str
    record: str
    hospital: str
    reader: str
    latitude: float
    longitude: float

    @property
    def name(self) -> str:
        return f"{self.family}, {self.given}"

    @property
    def folder(self) -> str:
        return f"{self.family}_{self.given}_{self.born}"


def draw_person(rng: np.random.Generator, number: int, shift: int) -> Person:
    """The ``number``-th patient of a phantom; ``shift`` gives other phantoms other people.

    Names run through all 24 x 15 pairs before one comes again, then with another year of birth: no two
    patients of a phantom share a folder.
    """
    turn = number + 7 * shift
    years = 1938 + (7 * turn + turn // (len(FAMILY) * len(GIVEN))) % 64
    return Person(
        family=FAMILY[turn % len(FAMILY)],
        given=GIVEN[(turn % len(FAMILY) + turn // len(FAMILY)) % len(GIVEN)],
        born=f"{years}-{rng.integers(1, 13):02d}-{rng.integers(1, 29):02d}",
        record=f"MRN{rng.integers(100, 999)}{number:04d}",
        hospital=str(rng.choice(HOSPITALS)),
        reader=str(rng.choice(READERS)),
        latitude=float(np.round(rng.uniform(44, 60), 4)),
        longitude=float(np.round(rng.uniform(5, 20), 4)),
    )
