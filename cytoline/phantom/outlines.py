"""Closed outlines of cells and nuclei: float arrays [N, 2] of x, y around (0, 0), in field pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[Any]
_TURN = np.linspace(0, 2 * np.pi, 72, endpoint=False)


def blob(rng: np.random.Generator, radius: float, elongation: float, angle: float, wrinkle: float) -> Points:
    """An ellipse of the circle's area with low harmonics of relative height ``wrinkle`` on its edge."""
    r = np.ones_like(_TURN)
    for order in range(2, 8):
        height = wrinkle * rng.standard_normal() / (order - 1) ** 0.7
        r += 0.7 * height * np.cos(order * _TURN + rng.uniform(0, 2 * np.pi))
    r = radius * np.clip(r, 0.45, 1.6)
    stretch = np.sqrt(elongation)
    return _turned(np.stack([r * np.cos(_TURN) * stretch, r * np.sin(_TURN) / stretch], axis=1), angle)


def polygon(rng: np.random.Generator, radius: float, angle: float) -> Points:
    """A squamous cell: five to seven corners, rounded a little, sides slightly bent."""
    corners = int(rng.integers(5, 8))
    at = (np.arange(corners) + rng.uniform(-0.28, 0.28, corners)) * 2 * np.pi / corners
    r = radius * rng.uniform(0.86, 1.2, corners)
    points = np.stack([r * np.cos(at), r * np.sin(at) * rng.uniform(0.72, 1.0)], axis=1)
    for _ in range(3):
        # Chaikin's corner cutting; 0.18 keeps squamous corners visible.
        ahead = np.roll(points, -1, axis=0)
        points = np.stack([0.82 * points + 0.18 * ahead, 0.18 * points + 0.82 * ahead], axis=1).reshape(-1, 2)
    around = np.arctan2(points[:, 1], points[:, 0])
    ripple = 1 + sum(0.012 * rng.standard_normal() * np.cos(k * around + rng.uniform(0, 6.3)) for k in (5, 8, 11, 14))
    return _turned(points * np.asarray(ripple)[:, None], angle)


def spindle(rng: np.random.Generator, length: float, width: float, angle: float) -> Points:
    """A bent fibre, thickest in the middle; ``length`` and ``width`` are half axes."""
    t = np.linspace(-1, 1, 28)
    half = width * (1 - np.abs(t) ** rng.uniform(1.6, 2.6)) + 0.8
    return _along(rng, t, half, length, angle)


def tadpole(rng: np.random.Generator, length: float, width: float, angle: float) -> Points:
    """A round head around the origin and a tail."""
    t = np.linspace(-0.45, 1.55, 32)
    head = np.sqrt(np.clip(1 - (t / 0.45) ** 2, 0, 1))
    tail = 0.42 * np.clip(1 - (t - 0.25) / 1.3, 0, 1) * (t > 0.0)
    return _along(rng, t, width * 1.35 * np.maximum(head, tail) + 0.6, length, angle)


def _along(rng: np.random.Generator, t: Points, half: Points, length: float, angle: float) -> Points:
    bend = rng.uniform(-0.35, 0.35) * length
    x, y = t * length, bend * t**2
    above, below = (1 + 0.09 * np.cos(k * t + rng.uniform(0, 6.3)) for k in rng.uniform(3, 8, 2))
    upper = np.stack([x, y + half * above], axis=1)
    lower = np.stack([x, y - half * below], axis=1)
    return _turned(np.concatenate([upper, lower[::-1]]), angle)


def _turned(points: Points, angle: float) -> Points:
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(points @ np.array([[c, s], [-s, c]]))
