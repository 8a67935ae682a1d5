"""One hiding place: a stable name and a function that writes a folder with a canary in exactly that place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.deid.canary import Canary, Kind

Format = Literal["names", "jpeg", "png", "bmp", "webp", "avif", "tiff", "slide", "dicom"]
Make = Callable[[Canary], bytes]


@dataclass(frozen=True)
class Place:
    """``write`` puts a valid image, and what belongs to it, into an empty folder; ``carries`` says what is planted."""

    name: str
    format: Format
    write: Callable[[Path, Canary], None]
    carries: Kind = "text"


def in_file(name: str, format: Format, file: str, make: Make, carries: Kind = "text") -> Place:  # noqa: A002
    """A place inside one image file whose bytes ``make`` gives."""

    def write(folder: Path, canary: Canary) -> None:
        (folder / file).write_bytes(make(canary))

    return Place(name, format, write, carries)
