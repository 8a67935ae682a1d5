"""What a cell of a grade looks like, as numbers: sizes in field pixels (0.5 microns), optical densities, shapes.

Sizes and signs follow the Bethesda atlas (Nayar & Wilbur 2015): an intermediate nucleus is about 35 square
microns, LSIL at least three times that in a large cell with haloes, HSIL nuclei of the same size in small cells,
coarse dark chromatin and wrinkled outlines; keratinising carcinoma has orange spindles and tadpoles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cytoline.phantom.outlines import Points, blob, polygon, spindle, tadpole
from cytoline.phantom.spec import GRADES, PhantomSpec

# Latent severity at which the curves below are given: the four grades' centres.
_AT = (0.0, 1.0, 2.0, 3.0)
_DENSITY = (0.62, 0.86, 1.10, 1.45)
_COARSENESS = (0.10, 0.24, 0.44, 0.62)
_WRINKLE = (0.03, 0.06, 0.13, 0.20)


@dataclass(frozen=True)
class Nucleus:
    """One nucleus; ``outline`` is relative to the cell's centre."""

    outline: Points
    centre: tuple[float, float]
    radius: float
    density: float
    coarseness: float
    nucleoli: int


@dataclass(frozen=True)
class Cell:
    """One cell before it is placed.  Outlines are relative to (0, 0)."""

    grade: int
    kind: str
    label: str
    outline: Points
    nuclei: tuple[Nucleus, ...]
    stain: tuple[float, float, float]
    """Amounts of green, eosin and orange in the cytoplasm."""
    halo: float
    """Radius of the koilocytic clearing, 0 for none."""
    folds: int
    granules: int
    blur: float
    smudged: bool


def draw_cell(rng: np.random.Generator, grade: int, spec: PhantomSpec) -> Cell:
    """A cell of ``grade`` whose latent severity scatters around it by ``severity_overlap``."""
    latent = grade + spec.severity_overlap * float(rng.standard_normal())
    kind = _kind(rng, grade, latent)
    outline, radius = _body(rng, kind, latent)
    return Cell(
        grade=grade,
        kind=kind,
        label=_label(rng, grade, latent),
        outline=outline,
        nuclei=_nuclei(rng, kind, latent, radius),
        stain=_stain(rng, kind),
        halo=_halo(rng, kind, radius),
        folds=int(rng.random() < 0.5) * int(rng.integers(1, 4)) if kind in _LARGE else 0,
        granules=int(rng.integers(8, 40)) if kind == "superficial" and rng.random() < 0.4 else 0,
        blur=spec.defocus * max(0.0, 0.9 * float(rng.standard_normal())),
        smudged=bool(rng.random() < 0.05),
    )


_LARGE = ("superficial", "intermediate", "mild")


def _kind(rng: np.random.Generator, grade: int, latent: float) -> str:
    chance = rng.random()
    if grade == 0:
        kinds = ((0.29, "superficial"), (0.67, "intermediate"), (0.93, "parabasal"), (1.0, "parakeratotic"))
        return next(kind for below, kind in kinds if chance < below)
    if grade == 1:
        return "mild"
    if grade == 2:
        return "moderate" if latent < 1.85 else "severe"
    return "keratinised" if chance < 0.55 else "tadpole" if chance < 0.7 else "invasive"


def _label(rng: np.random.Generator, grade: int, latent: float) -> str:
    """Readers hedge on borderline cells."""
    if grade == 1 and latent < 0.85 and rng.random() < 0.5:
        return "ASC-US"
    if grade == 2 and latent < 1.8 and rng.random() < 0.4:
        return "ASC-H"
    return GRADES[grade]


def _body(rng: np.random.Generator, kind: str, latent: float) -> tuple[Points, float]:
    spread = float(np.exp(0.10 * rng.standard_normal()))
    angle = rng.uniform(0, 2 * np.pi)
    if kind in ("keratinised", "tadpole"):
        length, width = rng.uniform(38, 62), rng.uniform(10, 17) * spread
        shape = spindle if kind == "keratinised" else tadpole
        return shape(rng, length, width, angle), width
    radius = {
        "superficial": 50.0,
        "intermediate": 46.0,
        "parabasal": 24.0,
        "parakeratotic": 19.0,
        "mild": float(np.interp(latent, (0.5, 1, 1.6), (49, 46, 37))),
        "moderate": 32.0,
        "severe": float(np.interp(latent, (1.8, 2.6), (25, 22))),
        "invasive": 27.0,
    }[kind] * spread
    if kind in _LARGE:
        return polygon(rng, radius, angle), radius
    return blob(rng, radius, rng.uniform(1.0, 1.35), angle, 0.12 if kind == "invasive" else 0.05), radius


def _nuclear_radius(rng: np.random.Generator, kind: str, latent: float, radius: float) -> float:
    s = max(0.0, latent)
    mean = {
        "superficial": 5.0 + 2.0 * s,
        "intermediate": 7.0 + 3.0 * s,
        "parabasal": 8.6 + 1.8 * s,
        "parakeratotic": 5.2 + 2.0 * s,
        "mild": 7.3 + 3.8 * min(s, 1.7),
        "moderate": 12.2,
        "severe": 13.4,
        "keratinised": 8.5,
        "tadpole": 9.0,
        "invasive": 14.5,
    }[kind]
    grown = mean * float(np.exp((0.08 + 0.06 * latent) * rng.standard_normal()))
    return float(np.clip(grown, 4.2, 0.72 * radius if kind not in ("keratinised", "tadpole") else 0.95 * radius))


def _nuclei(rng: np.random.Generator, kind: str, latent: float, radius: float) -> tuple[Nucleus, ...]:
    double = {"mild": 0.25, "severe": 0.05, "invasive": 0.1, "intermediate": 0.03}.get(kind, 0.0)
    count = 1 + int(rng.random() < double)
    size = _nuclear_radius(rng, kind, latent, radius) * (0.85 if count == 2 else 1.0)
    density = float(np.interp(latent, _AT, _DENSITY)) * float(np.exp(0.12 * rng.standard_normal()))
    if kind in ("superficial", "parakeratotic"):
        # Pyknotic: small, dark and without texture, although benign.
        density += 0.45
    heading = rng.uniform(0, 2 * np.pi)
    shift = radius * (0.10 if count == 1 else 0.0) * rng.uniform(0, 1)
    nuclei = []
    for number in range(count):
        away = size * 1.02 * (2 * number - 1) if count == 2 else shift
        centre = (away * float(np.cos(heading)), away * float(np.sin(heading)))
        wrinkle = float(np.interp(latent, _AT, _WRINKLE)) * rng.uniform(0.6, 1.4)
        shape = blob(rng, size, rng.uniform(1.0, 1.25 + 0.15 * max(latent, 0)), rng.uniform(0, np.pi), wrinkle)
        coarse = 0.05 if kind in ("superficial", "parakeratotic") else float(np.interp(latent, _AT, _COARSENESS))
        nucleoli = int(rng.integers(1, 3)) if kind == "invasive" and rng.random() < 0.7 else 0
        nuclei.append(Nucleus(shape + centre, centre, size, density, coarse, nucleoli))
    return tuple(nuclei)


def _stain(rng: np.random.Generator, kind: str) -> tuple[float, float, float]:
    """Superficial and keratinised cells take eosin and orange, all others light green."""
    thick = float(np.exp(0.18 * rng.standard_normal()))
    mix = float(rng.beta(0.6, 0.6))
    if kind == "superficial":
        green, eosin, orange = (0.02, 0.28, 0.08 + 0.22 * mix) if rng.random() > 0.25 else (0.22, 0.10, 0.02)
    elif kind in ("keratinised", "tadpole", "parakeratotic"):
        green, eosin, orange = (
            (0.0, 0.22 + 0.15 * mix, 0.35 + 0.35 * mix) if rng.random() > 0.25 else (0.34, 0.25, 0.08)
        )
    elif kind in ("intermediate", "mild"):
        green, eosin, orange = (0.30, 0.03, 0.0) if mix > 0.3 else (0.14, 0.16, 0.03)
    else:
        green, eosin, orange = (0.50, 0.08, 0.0) if mix > 0.2 else (0.38, 0.24, 0.02)
    return green * thick, eosin * thick, orange * thick


def _halo(rng: np.random.Generator, kind: str, radius: float) -> float:
    if kind == "mild" and rng.random() < 0.55:
        return radius * float(rng.uniform(0.45, 0.62))
    return 0.0
