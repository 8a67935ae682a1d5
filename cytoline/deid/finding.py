"""What a check found: the kind of place and the kind of trouble, never a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Why = Literal[
    "metadata",  # a field that can hold words, and is not on the closed list
    "value",  # a field on the list whose value is not of the kind that the list allows
    "unused",  # bytes inside the file that no pixel and no listed field needs
    "trailing",  # bytes after the file's end
    "damaged",  # the structure does not hold together, so nothing can be said about the rest
    "unsupported",  # a format whose bytes nobody here can account for
    "name",  # a file's or folder's name
    "identifier",  # a known identifier of the input, found again
    "text",  # writing in the pixels
    "barcode",
    "ink",  # strokes of a pen in the pixels
]


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that must not be there.

    ``place`` comes from a closed vocabulary such as ``jpeg:COM``, ``png:tEXt``, ``tiff:page0/tag270`` or
    ``dicom:(0010,0010)``; it never repeats what the file says.
    """

    place: str
    why: Why
