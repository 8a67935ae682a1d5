"""Valid files to mutate, by format: every hiding place of the benchmark on a small picture, and real samples.

Pictures are 176 x 40 (slides 256 x 128): wide enough that no text is looked for under ``text_min_image`` (see
``cytoline.deid.marks``), small enough that most of a file is structure and a case costs milliseconds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.deid import fuzz_dicom, fuzz_slides, plant_heic
from benchmarks.deid.canary import Canary
from benchmarks.deid.fuzz_case import Format
from benchmarks.deid.ground import swatches_of
from benchmarks.deid.place import Make
from benchmarks.deid.plant import places
from benchmarks.result import ROOT

SAMPLES = ROOT.parent / "shared" / "data" / "phi"
LARGEST_SAMPLE = 1 << 14
"""Bytes: larger ones take a second each."""
_SIZE, _SLIDE_SIZE = (176, 40), (256, 128)
_ENDINGS: dict[Format, tuple[str, ...]] = {
    "jpeg": (".jpg",),
    "png": (".png",),
    "tiff": (".tiff",),
    "svs": (".svs",),
    "dicom-wsi": (".dcm",),
}
_PREFIXES: dict[Format, tuple[str, ...]] = {"svs": ("svs/", "philips/")}
_MORE: dict[Format, dict[str, Make]] = {
    "heic": plant_heic.makes(),
    "svs": fuzz_slides.makes(),
    "dicom": fuzz_dicom.single(),
    "dicom-frames": fuzz_dicom.multi_frame(),
    "dicom-wsi": fuzz_dicom.slides(),
}


@dataclass(frozen=True)
class Seed:
    """A valid file and the words that it hides."""

    name: str
    content: bytes
    words: tuple[str, ...] = ()


@cache
def planted(fmt: Format) -> tuple[Seed, ...]:
    """Written by the benchmark: the same on every machine."""
    with swatches_of(_SLIDE_SIZE if fmt == "svs" else _SIZE):
        return tuple(_from_places(fmt)) + tuple(
            _seed(f"{fmt}/fuzz/{name}", make) for name, make in _MORE.get(fmt, {}).items()
        )


@cache
def samples(fmt: Format) -> tuple[Seed, ...]:
    """Small real files; none where the data are not here."""
    endings = _ENDINGS.get(fmt, ())
    files = sorted(path for path in SAMPLES.rglob("*") if path.suffix in endings)
    return tuple(Seed(path.name, path.read_bytes()) for path in files if path.stat().st_size <= LARGEST_SAMPLE)


def _from_places(fmt: Format) -> Iterator[Seed]:
    prefixes = _PREFIXES.get(fmt, (f"{fmt}/",))
    with tempfile.TemporaryDirectory() as folder:
        for place in places():
            if place.name.startswith(prefixes):
                canary = Canary.of(place.name)
                place.write(Path(folder), canary)
                (file,) = Path(folder).iterdir()
                words = tuple(word for word in canary.needles(place.carries) if isinstance(word, str))
                yield Seed(place.name, file.read_bytes(), words)
                file.unlink()


def _seed(name: str, make: Make) -> Seed:
    canary = Canary.of(name)
    return Seed(name, make(canary), tuple(str(word) for word in canary.needles("text")))
