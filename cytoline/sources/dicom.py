"""``dicom``: every frame of every DICOM image, with whose it is and how large a pixel is as the file says it.

Source: DICOM PS3.10 (the file's mark), PS3.3 C.7.6.6 (frames).  What a file may be and what is refused is decided by
``cytoline.deid.dicom``: labels, overviews and thumbnails of slides, reports and plans give no picture.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath

from cytoline.deid.dicom import CannotRecreate, Description, Limits, describe
from cytoline.deid.dicom import Reason as DicomReason
from cytoline.deid.dicom.frames import as_rgb, stored_frame
from cytoline.deid.dicom.reading import palette_of
from cytoline.deid.dicom.source import opened
from cytoline.sources.context import Context
from cytoline.sources.found import Reading, Reason, Refusal
from cytoline.sources.unpack import Picture, Task, Unpacked, evenly, unpack, write_picture

SUFFIXES = frozenset({".dcm", ".dicom", ".dic"})

_MEANS: dict[DicomReason, Reason] = {
    "not_dicom": "unknown_format",
    "damaged": "truncated",
    "too_large": "too_large",
    "transfer_syntax": "not_readable",
    "pixel_format": "not_readable",
    "no_image": "no_image",
    "slide_label": "slide_label",
    "text_remains": "not_readable",
}
_LONGEST = 1024
"""Characters of an identifier; the standard allows 64."""


def read_dicom(context: Context) -> Reading:
    """Frames, with no boxes: nobody looked at them here.  A file is DICOM by its mark, whatever it is called."""
    reading = Reading()
    tasks = []
    limits = Limits(max_pixels=context.params.max_megapixels * 1_000_000)
    work = partial(unpack_dicom, limits=limits, max_frames=context.info.max_frames)
    inside = frozenset(context.listing.below(context.info.images, list(context.listing.files)))
    for name, path in context.listing.files.items():
        if name in inside and is_dicom(path):
            tasks.append(Task(name, path, work))
        elif name not in context.listing.notices:
            called = name in inside and PurePosixPath(name).suffix.lower() in SUFFIXES
            reading.refuse_file(name, "unknown_format" if called else "other_file")
    unpack(context, tasks, reading)
    return reading


def is_dicom(path: Path) -> bool:
    """True for a file with a preamble and the mark."""
    try:
        with path.open("rb") as handle:
            return handle.read(132)[128:] == b"DICM"
    except OSError:
        return False


def unpack_dicom(path: Path, folder: Path, limits: Limits, max_frames: int) -> Unpacked:
    """Write the frames (of more than ``max_frames``, that many spread evenly) into ``folder``."""
    out = Unpacked()
    try:
        about = describe(path, limits)
        _write_frames(path, folder, limits, about, evenly(range(about.frames), max_frames), out)
    except CannotRecreate as error:
        return Unpacked(reason=_MEANS[error.reason])
    out.entries = about.frames
    if left := about.frames - min(about.frames, max_frames):
        out.refused.append(Refusal("entry", "", "over_limit", count=left))
    return out.ended()


def _write_frames(
    path: Path, folder: Path, limits: Limits, about: Description, chosen: list[int], out: Unpacked
) -> None:
    """A damaged frame is left out alone.  Not ``read_frames``, which decodes the frames between the chosen ones too."""
    row = _row(about)
    with opened(path, limits) as file:
        palette = palette_of(file)
        for index in chosen:
            name = f"frame-{index + 1:06d}.png"
            try:
                rgb = as_rgb(stored_frame(file, index), file.layout, palette)
            except CannotRecreate as error:
                out.refuse(name, _MEANS[error.reason])
                continue
            write_picture(folder, name, rgb)
            out.pictures.append(Picture(name, row, about.mpp))


def _row(about: Description) -> dict[str, str]:
    """Columns for ``column:`` rules; text that UTF-8 cannot write or that is absurdly long is none."""
    values = {
        "PatientID": about.patient,
        "StudyInstanceUID": about.study,
        "SeriesInstanceUID": about.series,
        "Modality": about.modality,
    }
    return {
        key: text.encode("utf-8", "backslashreplace").decode("utf-8") if len(text) <= _LONGEST else ""
        for key, text in values.items()
    }
