"""What collecting needs of a DICOM file: its frames as RGB, and who and what it shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cytoline.deid.dicom.frames import as_rgb, stored_frame
from cytoline.deid.dicom.palette import Palette, read_palette
from cytoline.deid.dicom.rebuild import patient_of, refuse_other_kinds
from cytoline.deid.dicom.refusal import Limits, guarded
from cytoline.deid.dicom.source import Source, opened
from cytoline.images import RGB


@dataclass(frozen=True)
class Description:
    """What an image file says of itself.  ``patient``, ``study`` and ``series`` are the file's own: identifiers."""

    modality: str
    frames: int
    rows: int
    columns: int
    mpp: float | None
    """Micrometres per pixel; None unless calibrated and equal in both directions to one part in a hundred."""
    patient: str
    study: str
    series: str


def describe(source: Path | bytes, limits: Limits | None = None) -> Description:
    """Raises ``CannotRecreate`` for files that hold no image or more than the limits allow."""
    with opened(source, limits or Limits()) as file, guarded():
        header, layout = file.header, file.layout
        refuse_other_kinds(header)
        return Description(
            modality=str(header.get("Modality") or ""),
            frames=layout.frames,
            rows=layout.rows,
            columns=layout.columns,
            mpp=_mpp(header),
            patient=patient_of(header),
            study=str(header.get("StudyInstanceUID") or ""),
            series=str(header.get("SeriesInstanceUID") or ""),
        )


def read_frames(source: Path | bytes, limits: Limits | None = None) -> Iterator[RGB]:
    """One RGB array for each frame, decoded when it is asked for.  Raises ``CannotRecreate``."""
    with opened(source, limits or Limits()) as file:
        with guarded():
            refuse_other_kinds(file.header)
        palette = palette_of(file)
        for index in range(file.layout.frames):
            yield as_rgb(stored_frame(file, index), file.layout, palette)


def palette_of(file: Source) -> Palette | None:
    """The palette of a palette image."""
    if file.layout.photometric != "PALETTE COLOR":
        return None
    with guarded("pixel_format"):
        return read_palette(file.header)


def _mpp(header: Any) -> float | None:
    """PixelSpacing (of the file or of all frames), else ImagerPixelSpacing; both are in millimetres."""
    for group in header.get("SharedFunctionalGroupsSequence") or ():
        for measures in group.get("PixelMeasuresSequence") or ():
            if found := _square(measures.get("PixelSpacing")):
                return found
    return _square(header.get("PixelSpacing")) or _square(header.get("ImagerPixelSpacing"))


def _square(spacing: Any) -> float | None:
    try:
        down, across = (float(number) for number in spacing)
    except (TypeError, ValueError):
        return None
    fine = 1e-9 < down < 1e4 and abs(down - across) <= 0.01 * down
    return 1000 * (down + across) / 2 if fine else None
