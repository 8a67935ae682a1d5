"""A small, valid DICOM file to plant canaries in: VL Microscopic Image, uncompressed, every UID its own."""

from __future__ import annotations

import io

from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from benchmarks.deid.canary import Canary
from benchmarks.deid.ground import swatch

MICROSCOPIC = UID("1.2.840.10008.5.1.4.1.1.77.1.2")
_IMPLEMENTATION = UID("2.25.329800735698586629295641978511506172918")


def dataset(place: str, syntax: UID = ExplicitVRLittleEndian) -> FileDataset:
    """Everything that the object needs, without an identifier; its UIDs come from the place's name."""
    uids = [Canary.of(f"{place}/uid/{number}").uid for number in range(3)]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MICROSCOPIC
    meta.MediaStorageSOPInstanceUID = UID(uids[0])
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = _IMPLEMENTATION
    rgb = swatch(place)
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.SOPClassUID = MICROSCOPIC
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = uids
    ds.Modality = "GM"
    ds.Manufacturer = "Bench"
    ds.PatientName = ds.PatientID = ds.AccessionNumber = ds.StudyDate = ds.StudyTime = ds.PatientBirthDate = ""
    ds.PatientSex = "F"
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "", 1, 1
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.Rows, ds.Columns = rgb.shape[:2]
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.PixelSpacing = [0.0005, 0.0005]
    ds.PixelData = rgb.tobytes()
    return ds


def saved(ds: FileDataset) -> bytes:
    """As a file; values that break a rule of their type are written as they are, since real files have such."""
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    """One explicit little-endian element, for what pydicom would not write."""
    value += b"\0" * (len(value) % 2)
    head = group.to_bytes(2, "little") + number.to_bytes(2, "little") + vr
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC", b"UR"):
        return head + bytes(2) + len(value).to_bytes(4, "little") + value
    return head + len(value).to_bytes(2, "little") + value
