"""One DICOM file made anew: a header out of the closed list, pixels copied where nothing but pixels is in them.

Three routes.  ``copied``: JPEG and JPEG 2000 codestreams without their comments, bit for bit the same pixels.
``native``: uncompressed samples as they were, but for the bits that no pixel uses.  ``decoded``: all frames
uncompressed, where one had to be painted or a codestream holds bytes that no pixel needs.
"""

from __future__ import annotations

import io
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from cytoline.deid.dicom.codestreams import Odd
from cytoline.deid.dicom.copying import Vouches, plain_codestream
from cytoline.deid.dicom.frames import Stored, photometric_of, stored_frame
from cytoline.deid.dicom.palette import Palette
from cytoline.deid.dicom.reading import palette_of
from cytoline.deid.dicom.rebuild import patient_of, rebuilt, refuse_other_kinds
from cytoline.deid.dicom.redaction import Rounds, painted, search
from cytoline.deid.dicom.refusal import CannotRecreate, Limits, guarded
from cytoline.deid.dicom.rules import Replacements
from cytoline.deid.dicom.source import JPEG, JPEG_2000, Source, opened
from cytoline.deid.dicom.writing import FrameWriter, header_bytes
from cytoline.deid.identity import Identity
from cytoline.deid.polygon import Look

Route = Literal["copied", "native", "decoded"]


@dataclass(frozen=True)
class Recreated:
    """What came of one file; nothing in it says what was read."""

    content: bytes | None
    """The new file; None where it was written to a path."""
    route: Route
    frames: int
    painted: dict[int, Rounds]
    """Polygons by frame and round."""


@dataclass
class _Job:
    """One file on its way."""

    source: Source
    new: Replacements
    palette: Palette | None
    found: dict[int, Rounds]
    used: NDArray[np.bool_] | None
    looked: bool
    limits: Limits
    vouches: Vouches | None


def recreate_dicom(
    source: Path | bytes,
    identity: Identity,
    look: Look | None,
    limits: Limits | None = None,
    out: Path | None = None,
    vouches: Vouches | None = None,
) -> Recreated:
    """Write the new file to ``out``, frame by frame, or give its bytes.  Raises ``CannotRecreate``.

    ``look`` sees every frame.  Without it the file does not claim that its pixels are clean.  Coded frames that
    ``vouches`` does not vouch for are written uncompressed.
    """
    limits = limits or Limits()
    with opened(source, limits) as file:
        with guarded():
            refuse_other_kinds(file.header)
            new = Replacements(identity, patient_of(file.header))
        palette = palette_of(file)
        found, used = _surveyed(file, palette, look, limits)
        job = _Job(file, new, palette, found, used, look is not None, limits, vouches)
        if out is None:
            memory = io.BytesIO()
            route = _write(job, memory)
            return Recreated(memory.getvalue(), route, file.layout.frames, found)
        route = _write_beside(job, out)
        return Recreated(None, route, file.layout.frames, found)


def _surveyed(
    file: Source, palette: Palette | None, look: Look | None, limits: Limits
) -> tuple[dict[int, Rounds], NDArray[np.bool_] | None]:
    """Each frame once: what is to be painted, and which entries of the palette count."""
    used = None if palette is None else np.zeros(palette.tables.shape[1], np.bool_)
    found: dict[int, Rounds] = {}
    if look is None and palette is None:
        return found, used
    for index in range(file.layout.frames):
        values = _frame(file, palette, index)
        if look is not None:
            rounds = search(values, file.layout, palette, look, limits.margin)
            if rounds:
                found[index] = rounds
                values = painted(values, rounds, limits.margin, file.layout)
        if palette is not None and used is not None:
            used[palette.places(values)] = True
    return found, used


def _frame(file: Source, palette: Palette | None, index: int) -> Stored:
    values = stored_frame(file, index)
    return values if palette is None else palette.merged(values)


def _write_beside(job: _Job, out: Path) -> Route:
    """Whole or absent."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("w+b") as handle:
            route = _write(job, handle)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(out)
        return route
    finally:
        temporary.unlink(missing_ok=True)


def _write(job: _Job, target: BinaryIO) -> Route:
    layout = job.source.layout
    if layout.transfer_syntax in JPEG | JPEG_2000 and not job.found and job.palette is None:
        try:
            _copy(job, target)
            return "copied"
        except Odd:
            target.seek(0)
            target.truncate()
    _spell_out(job, target)
    return "decoded" if layout.coded or job.found else "native"


def _copy(job: _Job, target: BinaryIO) -> None:
    """Raises ``Odd`` as soon as one frame cannot be shown to be nothing but pixels."""
    layout = job.source.layout
    target.write(_header(job, layout.transfer_syntax, layout.photometric))
    writer = FrameWriter(target, layout.frames)
    for index in range(layout.frames):
        writer.add(plain_codestream(job.source.coded_frame(index), layout, job.vouches))
    writer.finish()


def _spell_out(job: _Job, target: BinaryIO) -> None:
    """Every frame uncompressed, in explicit VR little endian."""
    layout = job.source.layout
    photometric = photometric_of(layout)
    size = layout.rows * layout.columns * layout.samples * (layout.allocated // 8) * layout.frames
    if size > job.limits.max_native:
        raise CannotRecreate("too_large")
    target.write(_header(job, None, photometric))
    words = b"OW" if layout.allocated == 16 else b"OB"
    target.write(b"\xe0\x7f\x10\x00" + words + b"\0\0" + (size + size % 2).to_bytes(4, "little"))
    for index in range(layout.frames):
        values = painted(_frame(job.source, job.palette, index), job.found.get(index, ()), job.limits.margin, layout)
        target.write(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes())
    target.write(b"\0" * (size % 2))


def _header(job: _Job, transfer_syntax: str | None, photometric: str) -> bytes:
    with guarded():
        new = Replacements(job.new.identity, job.new.patient)
        out = rebuilt(job.source.header, new)
        return header_bytes(
            out, job.source.layout, transfer_syntax, photometric, job.looked, bool(job.found), _fill(job)
        )


def _fill(job: _Job) -> tuple[Palette, NDArray[np.bool_]] | None:
    return None if job.palette is None or job.used is None else (job.palette, job.used)
