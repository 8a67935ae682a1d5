"""Small DICOM files and slides for tests, written on the spot, and a look at a source of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from cytoline.images import RGB, read_image
from cytoline.memo import Memo
from cytoline.sources.examine import Examined, Kept, check_conservation, examine
from cytoline.sources.schema import SourceInfo
from tests.planted_sources import PARAMS

MICROSCOPE = "1.2.840.10008.5.1.4.1.1.77.1.2"
WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
SLIDE_SIZE = (320, 256)


def frame(seed: int, size: tuple[int, int] = (48, 32)) -> RGB:
    """Noise of ``size`` = (width, height)."""
    return np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)


def dicom(path: Path, frames: Sequence[RGB], patient: str, series: str = "1.2.3", **tags: Any) -> Path:
    """Uncompressed RGB frames of one patient; ``tags`` are set over the usual ones, None takes one away."""
    out = Dataset()
    usual = {
        "SOPClassUID": MICROSCOPE,
        "SOPInstanceUID": f"{series}.{len(frames)}",
        "StudyInstanceUID": "1.2",
        "SeriesInstanceUID": series,
        "Modality": "GM",
        "PatientName": "Muster^Erika",
        "PatientID": patient,
        "PixelSpacing": [0.00025, 0.00025],
        "NumberOfFrames": len(frames),
        "Rows": frames[0].shape[0],
        "Columns": frames[0].shape[1],
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "RGB",
        "PlanarConfiguration": 0,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
    }
    for keyword, value in {**usual, **tags}.items():
        if value is not None:
            setattr(out, keyword, value)
    out.PixelData = b"".join(one.tobytes() for one in frames)
    out["PixelData"].VR = "OB"
    out.file_meta = FileMetaDataset()
    out.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    out.file_meta.MediaStorageSOPClassUID = out.SOPClassUID
    out.file_meta.MediaStorageSOPInstanceUID = out.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    dcmwrite(path, out, enforce_file_format=True)
    return path


def tissue(seed: int = 0) -> RGB:
    """A pale slide with a coloured, grainy half; no two places are alike."""
    rgb = np.full((SLIDE_SIZE[1], SLIDE_SIZE[0], 3), 245, np.uint8)
    rgb[64:192, 64:256] = np.array([150, 50, 130], np.uint8) + frame(seed, (192, 128)) // 8
    return rgb


def slide(path: Path, rgb: RGB, mpp: float | None = 0.25) -> Path:
    """A tiled TIFF, which OpenSlide reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scale = {} if mpp is None else {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, rgb, tile=(64, 64), photometric="rgb", metadata=None, **scale)
    return path


def shape(x: float, y: float, w: float, h: float, label: str | None = None) -> dict[str, Any]:
    """A rectangle as QuPath exports it."""
    corners = [[x, y], [x + w, y], [x + w, y + h], [x, y + h], [x, y]]
    named = {} if label is None else {"classification": {"name": label, "color": [1, 2, 3]}}
    geometry = {"type": "Polygon", "coordinates": [corners]}
    return {"type": "Feature", "geometry": geometry, "properties": {"objectType": "annotation", **named}}


def point(x: float, y: float) -> dict[str, Any]:
    """A point as QuPath exports it."""
    return {"type": "Feature", "geometry": {"type": "Point", "coordinates": [x, y]}, "properties": {}}


def geojson(path: Path, features: Sequence[dict[str, Any]]) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}))
    return path


def unpacked(folder: Path, about: SourceInfo, **params: int) -> Examined:
    """Examine ``folder`` as the source ``s``; pictures go beside it."""
    target = folder.parent / "unpacked" / str(len(list(folder.parent.glob("unpacked/*"))))
    target.mkdir(parents=True)
    limits = PARAMS.model_copy(update=params)
    examined = examine("s", folder, about, limits, Memo(folder.parent / "memo"), None, target)
    check_conservation(examined)
    return examined


def one_lost(examined: Examined) -> Examined:
    """The same with one picture gone, which conservation must notice."""
    return replace(examined, kept=examined.kept[1:])


def pixels(image: Kept) -> RGB:
    return read_image(image.file)


def left_out(examined: Examined) -> dict[tuple[str, str], int]:
    """(file or entry or box, reason) -> how many."""
    found: dict[tuple[str, str], int] = {}
    for note in examined.notes:
        if note.reason != "clipped":
            key = (note.what, note.reason)
            found[key] = found.get(key, 0) + note.count
    return found
