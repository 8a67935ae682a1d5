"""What a slide may claim before it is refused, and how it is searched."""

from __future__ import annotations

from dataclasses import dataclass

from cytoline.deid.views import LONGEST


@dataclass(frozen=True)
class SlideLimits:
    """All in pixels or counts.  The defaults admit what scanners make (150,000 x 100,000) and keep memory flat."""

    max_pixels: int = 20_000_000_000
    """Of the base."""
    max_pages: int = 64
    max_tiles: int = 2_000_000
    """Of one page: their places are held in memory, 16 bytes each."""
    max_tile_pixels: int = 4_194_304
    window: int = LONGEST
    """Side of the square that is searched at once: what the reader takes as it is.

    Text longer than ``overlap`` may be cut between two.
    """
    overlap: int = 512
    margin: int = 8
    """Pixels by which a found polygon is widened before it is painted."""
    max_polygons: int = 10_000
