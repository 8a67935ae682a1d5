"""The bytes of a new file: preamble of noughts, our own file meta group, header, and frames one after the other.

Source: PS3.10 7.1, PS3.5 A.4 (offset table and fragments).
"""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import UID

from cytoline.deid.dicom.palette import Palette
from cytoline.deid.dicom.rebuild import put, stamp
from cytoline.deid.dicom.refusal import CannotRecreate
from cytoline.deid.dicom.source import EXPLICIT, LOSSY, Layout

IMPLEMENTATION = "2.25.173929264012337462713187291226017514741"
"""Names this writer (PS3.7 D.3.3.2); a UUID drawn once."""


class FrameWriter:
    """Encapsulated pixel data: one fragment for each frame, the offset table filled in at the end."""

    def __init__(self, target: BinaryIO, frames: int) -> None:
        self.target = target
        self.offsets: list[int] = []
        target.write(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff")
        target.write(b"\xfe\xff\x00\xe0" + (4 * frames).to_bytes(4, "little"))
        self.table = target.tell()
        target.write(bytes(4 * frames))
        self.first = target.tell()

    def add(self, frame: bytes) -> None:
        offset = self.target.tell() - self.first
        if offset > 0xFFFFFFFF:
            raise CannotRecreate("too_large")
        self.offsets.append(offset)
        odd = len(frame) % 2
        self.target.write(b"\xfe\xff\x00\xe0" + (len(frame) + odd).to_bytes(4, "little") + frame + b"\0" * odd)

    def finish(self) -> None:
        self.target.write(b"\xfe\xff\xdd\xe0\0\0\0\0")
        end = self.target.tell()
        self.target.seek(self.table)
        self.target.write(np.array(self.offsets, "<u4").tobytes())
        self.target.seek(end)


def header_bytes(
    out: Dataset,
    layout: Layout,
    transfer_syntax: str | None,
    photometric: str,
    looked: bool,
    painted: bool,
    palette: tuple[Palette, NDArray[np.bool_]] | None,
) -> bytes:
    """Everything before the pixel data.  ``transfer_syntax`` None stands for uncompressed."""
    stamp(out, looked)
    _describe_pixels(out, layout, photometric)
    if palette is not None:
        palette[0].write(out, palette[1])
    if layout.transfer_syntax in LOSSY:
        put(out, "LossyImageCompression", "01")
    if painted and "ImageType" in out:
        put(out, "ImageType", ["DERIVED", *list(out["ImageType"].value)[1:]])
    return _file_start(out, transfer_syntax or EXPLICIT) + _encoded(out)


def _describe_pixels(out: Dataset, layout: Layout, photometric: str) -> None:
    """From what was read, not copied: these say how long the pixel data is."""
    put(out, "SamplesPerPixel", layout.samples)
    put(out, "PhotometricInterpretation", photometric)
    if layout.samples == 3:
        put(out, "PlanarConfiguration", 0)
    put(out, "NumberOfFrames", layout.frames)
    put(out, "Rows", layout.rows)
    put(out, "Columns", layout.columns)
    put(out, "BitsAllocated", layout.allocated)
    put(out, "BitsStored", layout.stored)
    put(out, "HighBit", layout.stored - 1)
    put(out, "PixelRepresentation", int(layout.signed))


def _file_start(out: Dataset, transfer_syntax: str) -> bytes:
    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0  # set when it is written
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(str(out["SOPClassUID"].value))
    meta.MediaStorageSOPInstanceUID = UID(str(out["SOPInstanceUID"].value))
    meta.TransferSyntaxUID = UID(transfer_syntax)
    meta.ImplementationClassUID = UID(IMPLEMENTATION)
    target = DicomBytesIO()
    target.write(bytes(128) + b"DICM")
    write_file_meta_info(target, meta, enforce_standard=False)  # would add the library's own name and version
    return target.getvalue()


def _encoded(out: Dataset) -> bytes:
    target = DicomBytesIO()
    target.is_implicit_VR, target.is_little_endian = False, True
    write_dataset(target, out)
    return target.getvalue()
