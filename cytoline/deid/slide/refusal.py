"""Why a slide is kept back: the one exception of this package."""

from __future__ import annotations

from typing import Literal

from cytoline.errors import CytolineError

Reason = Literal[
    "not_a_tiff",
    "damaged",  # wild offsets, loops between IFDs, counts that do not fit, a tile that does not decode
    "too_large",
    "vendor_format",  # a format whose picture is more than its tiles: NDPI, SCN, BIF, Philips, MRXS, VMS ...
    "no_base",  # no tiled page that could be the picture
    "samples",  # not 8-bit grey or RGB, planar, turned, with alpha, several planes deep
    "compression",
    "old_jpeg",
    "missing_tile",
    "jpeg_sampling",
    "text_remains",
]


class CannotRecreate(CytolineError):  # noqa: N818 (says what it is)
    """The slide must be kept back; ``reason`` is fit for a table, the message names no file and no value of it."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(
            f"a slide cannot be made anew ({reason.replace('_', ' ')})",
            "keep the original where it is, or export its picture as a plain tiled TIFF",
        )
        self.reason: Reason = reason

    def __reduce__(self) -> tuple[type[CannotRecreate], tuple[Reason]]:  # type: ignore[override]
        return (type(self), (self.reason,))
