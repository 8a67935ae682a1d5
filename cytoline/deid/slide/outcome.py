"""What was done to one slide; nothing in it says what was read."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from cytoline.deid.polygon import Polygon


class SlideOutcome(BaseModel):
    """Counts are over all levels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int
    """Of the base, pixels."""
    height: int
    levels: int
    mpp: tuple[float, float] | None
    """Microns per pixel of the base, x and y; None where the source has no calibration."""
    left_out: int
    """Pages of the source that are not in the result: label, macro, thumbnail, focal planes."""
    searched: bool
    """Whether the pixels were searched for text and barcodes."""
    painted: tuple[tuple[Polygon, ...], ...] = ()
    """Polygons of each round of painting, in base pixels, before they were widened."""
    tiles: int
    tiles_copied: int
    """Their bitstream is the source's, less the segments that no pixel needs."""
    tiles_edge: int
    """Coded anew because what lies beyond the picture's edge was not of one colour."""
    tiles_painted: int
    tiles_recoded: int
    """Coded anew for another cause: LZW, bytes in the stream that no pixel needs."""
