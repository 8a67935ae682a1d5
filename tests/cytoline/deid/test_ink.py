"""Strokes of pens planted in fields: found where a marker wrote, and nothing where only cells are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cytoline.deid.ink import find_strokes
from cytoline.images import RGB, read_image
from cytoline.phantom.field import render_field
from cytoline.phantom.plan import plan_fields
from cytoline.phantom.spec import PhantomSpec

SHARED = Path("../shared/data")
PENS = {"black": (25, 25, 30), "blue": (30, 55, 170), "green": (20, 120, 60), "red": (190, 30, 40)}
WIDTHS = {"line": (4, 7, 12, 18), "circle": (4, 7, 12, 18), "hand": (4, 5, 7, 9)}
"""Pixels in a picture of 512."""


def fields(patients: int, each: int) -> list[RGB]:
    spec = PhantomSpec(
        seed=31,
        patients=patients,
        slides_per_patient=1,
        fields_per_slide=each,
        cells_min=6,
        cells_max=30,
        burned_in=0,
        problems=(),
    )
    return [render_field(spec, plan).image for plan in plan_fields(spec)]


def path(kind: str, rng: np.random.Generator, width: int, height: int) -> NDArray[np.float64]:
    """A wavy line, an open ring around cells, or loops like those of a hand that writes."""
    if kind == "line":
        way = rng.normal(0, 1, 2)
        way /= np.linalg.norm(way)
        t = np.linspace(-0.5, 0.5, 60)[:, None]
        long = rng.uniform(0.5, 0.9) * max(width, height)
        across = np.array([-way[1], way[0]]) * 0.05 * long
        return rng.uniform(0.3, 0.7, 2) * (width, height) + t * long * way + np.sin(6 * t) * across
    if kind == "circle":
        t = np.linspace(0, rng.uniform(5, 6.3), 80)
        radius = rng.uniform(0.2, 0.4) * min(width, height)
        return rng.uniform(0.4, 0.6, 2) * (width, height) + radius * np.stack([np.cos(t), np.sin(t)], 1)
    t = np.linspace(0, 1, 240)
    tall, loops = rng.uniform(0.06, 0.14) * height, 2 * np.pi * rng.uniform(5, 9)
    x = rng.uniform(0.05, 0.25) * width + rng.uniform(0.5, 0.7) * width * t + 0.6 * tall * np.sin(loops * t + 1.2)
    return np.stack([x, rng.uniform(0.3, 0.7) * height + tall * np.sin(loops * t) + 0.1 * height * (t - 0.5)], 1)


def written(field: RGB, pen: str, kind: str, width: int, rng: np.random.Generator) -> RGB:
    """A marker's stroke; the tissue shines through a little."""
    height, across = field.shape[:2]
    thick = max(2, round(width * max(height, across) / 512))
    mask = np.zeros(field.shape[:2], np.uint8)
    points = np.rint(path(kind, rng, across, height)).astype(np.int32)
    cv2.polylines(mask, [points], False, (255,), thick, cv2.LINE_AA)
    share = cv2.GaussianBlur(mask, (0, 0), max(0.8, thick / 12))[..., None] / 255 * rng.uniform(0.8, 0.97)
    ink = np.array(PENS[pen]) * (1 + rng.normal(0, 0.02, (height, across, 1))) * (0.55 + 0.45 * field / 255)
    return np.clip(field * (1 - share) + ink * share, 0, 255).astype(np.uint8)


def test_nine_of_ten_planted_strokes_are_found() -> None:
    rng = np.random.default_rng(3)
    grounds = fields(4, 1)
    found, missed = 0, []
    cases = [(pen, kind, width) for kind, widths in WIDTHS.items() for width in widths for pen in PENS]
    for number, (pen, kind, width) in enumerate(cases):
        picture = written(grounds[number % len(grounds)], pen, kind, width, rng)
        if find_strokes(picture).sure:
            found += 1
        else:
            missed.append((pen, kind, width))
    assert found >= 0.9 * len(cases), missed


def test_clean_fields_raise_no_alarm() -> None:
    assert [find_strokes(field).sure for field in fields(20, 1)] == [()] * 20


@pytest.mark.parametrize("kind", ["bccd/JPEGImages", "cric_fields"])
def test_real_fields_raise_no_alarm(kind: str) -> None:
    folder = SHARED / kind
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    for file in sorted(folder.glob("*.[jp][pn]g"))[::6]:
        assert find_strokes(read_image(file)).sure == (), file.name
