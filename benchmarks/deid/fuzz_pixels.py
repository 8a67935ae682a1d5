"""Is a canary among the pixels themselves?  A mutation can move words there, or point the pixels at them.

Samples may have any value: what spells a name there cannot be told from a picture, and only a search for known names
finds it (the verifier's third check, which is what found it here).  Such files are counted apart from failures.
"""

from __future__ import annotations

from pathlib import Path

import tifffile
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian

from cytoline.deid.folder import Made
from cytoline.deid.needles import Needles
from cytoline.images import read_image


def only_in_pixels(made: Made, file: Path, needles: Needles) -> bool:
    """True if the canary is in uncompressed samples and nowhere else.  For files whose bytes are accounted for."""
    if made.kind == "dicom":
        with file.open("rb") as handle:
            header = dcmread(handle, stop_before_pixels=True)
            before = handle.tell()
        native = header.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        return native and not needles.inside(file.read_bytes()[:before])
    if made.kind == "slide":
        content = bytearray(file.read_bytes())
        with tifffile.TiffFile(file) as tiff:
            for page in tiff.pages:
                plain = page.compression == tifffile.COMPRESSION.NONE
                for at, size in zip(page.dataoffsets, page.databytecounts, strict=True):
                    content[at : at + size] = bytes(size) if plain else content[at : at + size]
        return not needles.inside(bytes(content))
    # A PNG: its chunks are accounted for, so what was found was found in the unpacked rows.
    return file.suffix == ".png" and needles.inside(read_image(file).tobytes())
