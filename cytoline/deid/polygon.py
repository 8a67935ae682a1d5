"""Where something lies in a picture, and who looks for it."""

from __future__ import annotations

from collections.abc import Callable

from cytoline.images import RGB

Polygon = tuple[tuple[int, int], ...]
"""Corner points x, y in pixels."""

Look = Callable[[RGB], tuple[Polygon, ...]]
"""Finds what must be painted over in an RGB picture."""
