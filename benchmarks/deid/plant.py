"""Every hiding place that the benchmark knows."""

from __future__ import annotations

from benchmarks.deid import (
    plant_bmp,
    plant_dicom,
    plant_exif,
    plant_jpeg,
    plant_names,
    plant_png,
    plant_slide,
    plant_tiff,
    plant_web,
)
from benchmarks.deid.place import Place

_FORMATS = (plant_names, plant_jpeg, plant_exif, plant_png, plant_bmp, plant_web, plant_tiff, plant_slide, plant_dicom)


def places() -> list[Place]:
    """In a fixed order, each name once."""
    return [place for module in _FORMATS for place in module.places()]
