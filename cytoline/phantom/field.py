"""One field: cells laid out so that none hides another, drawn with their surroundings, seen through a scanner."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cytoline.phantom.cells import Cell, draw_cell
from cytoline.phantom.drawing import SUPER, add_cell
from cytoline.phantom.optics import develop
from cytoline.phantom.overlay import draw_overlay
from cytoline.phantom.plan import PIXELS, FieldPlan
from cytoline.phantom.spec import PhantomSpec, stream
from cytoline.phantom.surroundings import add_surroundings
from cytoline.phantom.textures import Noise

COARSE = 4
"""Field pixels per pixel of the masks that layout compares."""
MOST_COVERED = 0.7
"""A cell of which others cover more is not placed, hence never annotated."""
LEAST_VISIBLE = 0.6
"""Share of a cell that must lie inside the field."""
MOST_LABELLED = 0.5
"""Share of a cell that may lie below burned-in text or a barcode: it stays annotated, so it must stay visible."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Placed:
    """A cell and where its centre lies."""

    cell: Cell
    at: tuple[float, float]
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Drawn:
    """A finished field: pixels, and (box xywh, label, grade index) of each cell."""

    image: NDArray[np.uint8]
    cells: tuple[tuple[Box, str, int], ...]


def render_field(spec: PhantomSpec, plan: FieldPlan) -> Drawn:
    """Draw one field; depends on nothing but the spec and the plan."""
    rng = stream(spec.seed, PIXELS, *plan.key)
    noise = Noise(rng)
    placed = _layout(rng, spec, plan)
    layers = np.zeros((4, spec.height * SUPER, spec.width * SUPER), np.float32)
    add_surroundings(layers, noise, rng, spec.artefacts, plan.on.dominant)
    for item in placed:
        add_cell(layers, item.cell, item.at, noise, rng)
    # Most fields are sharp, a tail is not.
    defocus = spec.defocus * float(rng.gamma(0.7, 0.6))
    image = develop(layers, plan.on.batch, plan.on.scanner, min(defocus, 2.2), rng)
    if plan.overlay:
        draw_overlay(image, plan.overlay)
    return Drawn(image, tuple((_box(item, spec), item.cell.label, item.cell.grade) for item in placed))


def _layout(rng: np.random.Generator, spec: PhantomSpec, plan: FieldPlan) -> list[Placed]:
    placed: list[Placed] = []
    label = np.zeros((spec.height // COARSE, spec.width // COARSE), bool)
    if plan.overlay:
        x, y, w, h = (side // COARSE for side in plan.overlay.box)
        label[y : y + h, x : x + w] = True
    for _ in range(int(rng.integers(spec.cells_min, spec.cells_max + 1))):
        grade = int(rng.choice(4, p=plan.mixture))
        cell = draw_cell(rng, grade, spec)
        for _attempt in range(30):
            at = _somewhere(rng, spec, cell, placed)
            mask = _mask(cell, at, spec)
            hidden = int((mask & label).sum()) > MOST_LABELLED * int(mask.sum())
            if not hidden and _fits(cell, mask, placed, spec.crowding):
                placed.append(Placed(cell, at, mask))
                break
    return placed


def _somewhere(rng: np.random.Generator, spec: PhantomSpec, cell: Cell, placed: list[Placed]) -> tuple[float, float]:
    """Anywhere, or beside a cell of the same grade: high-grade cells hang together in groups."""
    kin = [item for item in placed if item.cell.grade == cell.grade]
    sticky = (0.25, 0.3, 0.75, 0.5)[cell.grade] * min(1.0, 0.4 + 2 * spec.crowding)
    if kin and rng.random() < sticky:
        other = kin[int(rng.integers(len(kin)))]
        reach = 0.5 * (np.ptp(cell.outline, axis=0).mean() + np.ptp(other.cell.outline, axis=0).mean())
        turn = rng.uniform(0, 2 * np.pi)
        away = reach * rng.uniform(0.75, 1.15)
        x, y = other.at[0] + away * np.cos(turn), other.at[1] + away * np.sin(turn)
    else:
        x, y = rng.uniform(8, spec.width - 8), rng.uniform(8, spec.height - 8)
    return float(np.clip(x, 0, spec.width)), float(np.clip(y, 0, spec.height))


def _mask(cell: Cell, at: tuple[float, float], spec: PhantomSpec) -> NDArray[np.bool_]:
    mask = np.zeros((spec.height // COARSE, spec.width // COARSE), np.uint8)
    cv2.fillPoly(mask, [np.round((cell.outline + at) / COARSE).astype(np.int32)], 1)
    return mask.astype(bool)


def _fits(cell: Cell, mask: NDArray[np.bool_], placed: list[Placed], crowding: float) -> bool:
    """Enough of it inside, no pair closer than ``crowding`` allows, no cell buried under the sum of the others."""
    area = float(cv2.contourArea(cell.outline.astype(np.float32))) / COARSE**2
    own = int(mask.sum())
    if own < LEAST_VISIBLE * area or own < 20:
        return False
    masks = [item.mask for item in placed]
    for other in masks:
        if int((mask & other).sum()) > crowding * min(own, int(other.sum())):
            return False
    everything = [*masks, mask]
    depth = np.asarray(np.sum(everything, axis=0, dtype=np.uint8))
    return all(int((depth[item] > 1).sum()) <= MOST_COVERED * int(item.sum()) for item in everything)


def _box(item: Placed, spec: PhantomSpec) -> Box:
    """The visible part's box, whole pixels, inside the field."""
    low = np.clip(np.floor(item.cell.outline.min(axis=0) + item.at), 0, (spec.width, spec.height))
    high = np.clip(np.ceil(item.cell.outline.max(axis=0) + item.at), 0, (spec.width, spec.height))
    x, y, right, bottom = (float(value) for value in (*low, *high))
    return (x, y, right - x, bottom - y)
