"""Cells as layers of dye: each layer holds how much of one dye lies over a pixel, so overlaps add up by themselves."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cytoline.phantom.cells import Cell, Nucleus
from cytoline.phantom.outlines import Points
from cytoline.phantom.textures import Noise, Plane, blurred, filled

SUPER = 2
"""Canvas pixels per field pixel: antialiasing, and optics that act on what is finer than the camera's grid."""
HEMATOXYLIN, GREEN, EOSIN, ORANGE = range(4)
Layers = NDArray[Any]
"""float32 [dye, height, width]"""


def add_cell(layers: Layers, cell: Cell, at: tuple[float, float], noise: Noise, rng: np.random.Generator) -> None:
    """Add one cell centred at ``at`` (field pixels) to layers [4, H, W] at canvas resolution."""
    margin = 8 + 3 * cell.blur
    low = np.floor((cell.outline.min(axis=0) - margin) * SUPER)
    high = np.ceil((cell.outline.max(axis=0) + margin) * SUPER)
    shape = (int(high[1] - low[1]), int(high[0] - low[0]))
    patch: Layers = np.zeros((4, *shape), np.float32)
    body = filled(cell.outline * SUPER - low, shape)
    thickness = _cytoplasm(cell, body, low, noise, rng)
    for layer, amount in zip((GREEN, EOSIN, ORANGE), cell.stain, strict=True):
        patch[layer] = amount * thickness
    # Superficial cells show both dyes in one cell: a slow drift between them.
    drift = np.clip(0.25 * noise.cut(rng, "wide", shape), -0.6, 0.6)
    patch[EOSIN] *= 1 + drift
    patch[GREEN] *= 1 - drift
    for nucleus in cell.nuclei:
        _nucleus(patch, cell, nucleus, low, noise, rng)
    if cell.granules:
        _granules(patch, cell, low, rng)
    if cell.blur > 0.1:
        patch = np.stack([blurred(plane, cell.blur * SUPER) for plane in patch])
    paste(layers, patch, np.round(np.asarray(at) * SUPER + low).astype(int))


def _cytoplasm(cell: Cell, body: Plane, low: Points, noise: Noise, rng: np.random.Generator) -> Plane:
    shape = (body.shape[0], body.shape[1])
    rim = body * np.clip(1 - blurred(body, 2.5 * SUPER), 0, 1)
    texture = 1 + 0.15 * noise.cut(rng, "wide", shape) + 0.09 * noise.cut(rng, "clump", shape)
    texture += 0.10 * noise.cut(rng, "fine", shape)
    thick = body * texture + 0.35 * rim
    if cell.kind not in ("superficial", "intermediate", "mild"):
        # Small round cells are thick in the middle.
        thick *= 0.75 + 0.4 * blurred(body, 7 * SUPER)
    if cell.halo:
        thick = _with_halo(cell, thick, low)
    for _ in range(cell.folds):
        thick += body * _fold(cell, shape, low, rng)
    return np.asarray(blurred(np.clip(thick, 0, None), 0.35 * SUPER), np.float32)


def _with_halo(cell: Cell, thick: Plane, low: Points) -> Plane:
    """Koilocytosis: a sharp clearing around the nucleus, its rim condensed."""
    centre = np.mean([nucleus.centre for nucleus in cell.nuclei], axis=0)
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    wobble = 1 + 0.10 * np.cos(2 * turn + cell.halo) + 0.06 * np.cos(3 * turn + 2 * cell.halo)
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=1) * (cell.halo * wobble)[:, None] + centre
    clearing = blurred(filled(ring * SUPER - low, (thick.shape[0], thick.shape[1])), 0.8 * SUPER)
    rim = np.clip(blurred(clearing, 3 * SUPER) - clearing, 0, 1)
    return np.asarray(thick * (1 - 0.82 * clearing) * (1 + 1.6 * rim))


def _fold(cell: Cell, shape: tuple[int, ...], low: Points, rng: np.random.Generator) -> Plane:
    ends = cell.outline[rng.integers(0, len(cell.outline), 2)]
    middle = ends.mean(axis=0) * rng.uniform(0.5, 1.1)
    t = np.linspace(0, 1, 16)[:, None]
    curve = (1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * middle + t**2 * ends[1]
    line = np.zeros(shape[:2], np.uint8)
    points = np.round((curve * SUPER - low) * 16).astype(np.int32)
    cv2.polylines(line, [points], False, 255, int(rng.integers(1, 4)), cv2.LINE_AA, 4)
    return blurred(line.astype(np.float32) / 255, 0.7 * SUPER) * np.float32(rng.uniform(0.35, 0.9))


def _nucleus(patch: Layers, cell: Cell, nucleus: Nucleus, low: Points, noise: Noise, rng: np.random.Generator) -> None:
    shape = (patch.shape[1], patch.shape[2])
    mask = filled(nucleus.outline * SUPER - low, shape)
    edge = mask * np.clip(1 - blurred(mask, 1.0 * SUPER), 0, 1)
    clumps = np.tanh(1.2 * noise.cut(rng, "clump", shape))
    fine = noise.cut(rng, "fine", shape)
    chromatin: Plane = 1 + nucleus.coarseness * clumps + 0.10 * fine
    if cell.smudged:
        chromatin, mask, edge = np.full(shape, 0.8, np.float32), blurred(mask, 1.6 * SUPER), edge * 0
    # The membrane shows where chromatin is pale: vesicular nuclei have a line, dark ones are dark all over.
    dense = nucleus.density * (mask * np.clip(chromatin, 0.25, 1.9) + (0.45 + nucleus.coarseness) * edge)
    patch[HEMATOXYLIN] += np.asarray(blurred(np.asarray(dense, np.float32), 0.3 * SUPER), np.float32)
    for layer in (GREEN, EOSIN, ORANGE):
        patch[layer] *= 1 - 0.5 * mask
    for _ in range(nucleus.nucleoli):
        spot = rng.uniform(-0.4, 0.4, 2) * nucleus.radius + nucleus.centre
        x, y = np.round((spot * SUPER - low) * 16).astype(int).tolist()
        dot = np.zeros(shape, np.uint8)
        cv2.circle(dot, (x, y), int(rng.uniform(1.5, 2.6) * SUPER * 16), 255, -1, cv2.LINE_AA, 4)
        patch[EOSIN] += 0.9 * blurred(dot.astype(np.float32) / 255, 0.4 * SUPER)


def _granules(patch: Layers, cell: Cell, low: Points, rng: np.random.Generator) -> None:
    """Keratohyalin: dark dots in superficial cytoplasm."""
    dots = np.zeros(patch.shape[1:], np.uint8)
    inner = cell.outline[rng.integers(0, len(cell.outline), cell.granules)] * rng.uniform(0.1, 0.8, (cell.granules, 1))
    for x, y in np.round((inner * SUPER - low) * 16).astype(int).tolist():
        cv2.circle(dots, (x, y), int(rng.uniform(0.4, 0.9) * SUPER * 16), 255, -1, cv2.LINE_AA, 4)
    patch[HEMATOXYLIN] += 0.55 * dots.astype(np.float32) / 255


def paste(layers: Layers, patch: Layers, corner: NDArray[np.int_]) -> None:
    """Add a patch whose upper left corner may lie outside."""
    x, y = corner.tolist()
    height, width = layers.shape[1:]
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + patch.shape[1], height), min(x + patch.shape[2], width)
    if bottom > top and right > left:
        layers[:, top:bottom, left:right] += patch[:, top - y : bottom - y, left - x : right - x]
