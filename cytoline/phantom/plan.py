"""What will be drawn and planted where, decided before a pixel exists.

Both the renderer and the answer key read this plan, and neither reads the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cytoline.phantom.overlay import Overlay, plan_barcode, plan_text
from cytoline.phantom.people import Person, draw_person
from cytoline.phantom.spec import PhantomSpec, stream

PATIENT, SLIDE, FIELD, PIXELS = 1, 2, 3, 4
"""First key of the random streams."""

# Interleaved so that the first handful of patients already holds every grade: 2 NILM, 4 LSIL, 3 HSIL, 3 SCC of 12.
DOMINANT = (1, 2, 3, 0, 1, 2, 3, 1, 0, 2, 3, 1)
# What a smear of that grade shows: abnormal cells always lie among normal ones, and next to milder lesions.
MIXTURE = (
    (1.00, 0.00, 0.00, 0.00),
    (0.42, 0.51, 0.07, 0.00),
    (0.33, 0.12, 0.49, 0.06),
    (0.25, 0.04, 0.18, 0.53),
)
BATCHES = 4
SCANNERS = 3
SCANNER_SERIALS = ("OLY-77120453", "ZX-3340-0091", "LBD-SN-5581207")


@dataclass(frozen=True)
class SlidePlan:
    """One glass slide: who, which accession number, how stained, on which scanner."""

    patient: int
    slide: int
    person: Person
    dominant: int
    accession: str
    taken: str
    batch: int
    scanner: int

    @property
    def folder(self) -> str:
        return f"{self.person.folder}/{self.accession}-{self.slide + 1}"


@dataclass(frozen=True)
class FieldPlan:
    """One image file: its path below the source, and every identifier planted in it by place."""

    on: SlidePlan
    number: int
    file: str
    format: str
    metadata: tuple[tuple[str, str], ...]
    """(place, value); places are named in ``containers``."""
    overlay: Overlay | None

    @property
    def key(self) -> tuple[int, int, int]:
        return (self.on.patient, self.on.slide, self.number)

    @property
    def mixture(self) -> tuple[float, ...]:
        return MIXTURE[self.on.dominant]


def plan_slides(spec: PhantomSpec) -> Iterator[SlidePlan]:
    """Every slide, patient by patient."""
    start = int(stream(spec.seed, PATIENT).integers(len(DOMINANT)))
    for patient in range(spec.patients):
        rng = stream(spec.seed, PATIENT, patient)
        person = draw_person(rng, patient, spec.seed)
        further = sum(rng.random(spec.slides_per_patient - 1) < 0.6)
        dominant = DOMINANT[(start + patient) % len(DOMINANT)]
        for slide in range(1 + int(further)):
            own = stream(spec.seed, SLIDE, patient, slide)
            year = int(own.integers(2016, 2024))
            yield SlidePlan(
                patient=patient,
                slide=slide,
                person=person,
                dominant=dominant,
                accession=f"C{year % 100}-{own.integers(10, 99)}{patient:04d}",
                taken=f"{year}-{own.integers(1, 13):02d}-{own.integers(1, 29):02d}",
                batch=int(own.integers(BATCHES)),
                scanner=int(own.integers(SCANNERS)),
            )


def plan_fields(spec: PhantomSpec) -> Iterator[FieldPlan]:
    """Every field in a fixed order."""
    for slide in plan_slides(spec):
        for number in range(spec.fields_per_slide):
            yield _plan_field(spec, slide, number)


def _plan_field(spec: PhantomSpec, on: SlidePlan, number: int) -> FieldPlan:
    rng = stream(spec.seed, FIELD, on.patient, on.slide, number)
    kind = _format(rng, on, number)
    stem = _stem(rng, on, number)
    return FieldPlan(
        on=on,
        number=number,
        file=f"{on.folder}/{stem}.{kind}",
        format=kind,
        metadata=tuple(_metadata(rng, on, kind)),
        overlay=_overlay(rng, spec, on),
    )


def _format(rng: np.random.Generator, on: SlidePlan, number: int) -> str:
    drawn = "jpg" if rng.random() < 0.65 else "png"
    odd = {(0, 0, 1): "bmp", (1, 0, 0): "tif"}
    return odd.get((on.patient, on.slide, number), drawn)


def _stem(rng: np.random.Generator, on: SlidePlan, number: int) -> str:
    """File names as people give them: a camera's counter, or the patient's name once more."""
    if rng.random() < 0.5:
        return f"IMG_{rng.integers(1000, 9990)}_{number + 1:02d}"
    return f"{on.person.given}-{on.person.family.title()}_{on.taken}_{number + 1:02d}"


def _metadata(rng: np.random.Generator, on: SlidePlan, kind: str) -> Iterator[tuple[str, str]]:
    person = on.person
    notes = f"{person.name} *{person.born} {on.accession}"
    exif = [
        ("exif:Artist", person.reader),
        ("exif:ImageDescription", notes),
        ("exif:UserComment", f"Pat.-No. {person.record}, {person.hospital}"),
        ("exif:BodySerialNumber", SCANNER_SERIALS[on.scanner]),
        ("exif:GPS", f"{person.latitude:.4f},{person.longitude:.4f}"),
    ]
    own = {
        "jpg": [("xmp", f"{person.name}|{person.record}"), ("jpeg:COM", f"{on.accession} {person.name}")],
        "png": [
            ("png:tEXt:Author", person.reader),
            ("png:tEXt:Description", notes),
            ("png:iTXt:Patient", f"{person.name} ({person.record})"),
            ("xmp", f"{person.name}|{person.record}"),
        ],
        "tif": [],
        "bmp": [("bmp:trailer", notes)],
    }[kind]
    candidates = own if kind == "bmp" else exif + own
    keep = rng.random(len(candidates)) < (1.0 if kind in ("tif", "bmp") else 0.45)
    yield from (item for item, kept in zip(candidates, keep, strict=True) if kept)


def _overlay(rng: np.random.Generator, spec: PhantomSpec, on: SlidePlan) -> Overlay | None:
    chance, corner = rng.random(), int(rng.integers(4))
    style = int(rng.integers(3))
    size = (spec.width, spec.height)
    if chance >= spec.burned_in:
        return None
    if chance < 0.35 * spec.burned_in:
        kind = "QRCode" if style else "Code128"
        value = f"{on.accession}|{on.person.family}^{on.person.given}" if style else on.accession.replace("-", "")
        return plan_barcode(kind, value, corner, size)
    lines = {
        "name": f"{on.person.family} {on.person.given}",
        "birth date": f"geb. {on.person.born}",
        "accession number": on.accession,
        "date": on.taken,
    }
    kinds = (("name", "birth date"), ("accession number", "date"), ("name", "accession number", "date"))
    chosen = kinds[int(rng.integers(len(kinds)))]
    return plan_text([(kind, lines[kind]) for kind in chosen], style, corner, size)
