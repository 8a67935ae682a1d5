"""Hiding places in DICOM: elements of every text type at several depths, private groups, overlays, icons, padding.

Tag numbers from PS3.6, what each holds from PS3.3; PS3.15 Annex E lists most, but not all, of these places.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from benchmarks.deid.canary import Canary, Kind
from benchmarks.deid.dicom_bytes import dataset, element, saved
from benchmarks.deid.ground import swatch
from benchmarks.deid.jpeg_bytes import after_jfif, coded, segment
from benchmarks.deid.place import Make, Place, in_file
from benchmarks.deid.tiff_bytes import Tiff, ascii_

Plant = Callable[[FileDataset, Canary], None]

# (place, path of tags, VR, kind); a path goes through the first item of each sequence.
Row = tuple[str, tuple[int, ...], str, Kind]
FLAT: tuple[Row, ...] = (
    ("0010,0010-PatientName", (0x00100010,), "PN", "name"),
    ("0010,0020-PatientID", (0x00100020,), "LO", "token"),
    ("0010,0021-IssuerOfPatientID", (0x00100021,), "LO", "token"),
    ("0010,0030-PatientBirthDate", (0x00100030,), "DA", "day"),
    ("0010,1000-OtherPatientIDs", (0x00101000,), "LO", "token"),
    ("0010,1001-OtherPatientNames", (0x00101001,), "PN", "name"),
    ("0010,1040-PatientAddress", (0x00101040,), "LO", "token"),
    ("0010,2154-PatientTelephoneNumbers", (0x00102154,), "SH", "digits"),
    ("0010,21B0-AdditionalPatientHistory", (0x001021B0,), "LT", "text"),
    ("0010,4000-PatientComments", (0x00104000,), "LT", "text"),
    ("0008,0012-InstanceCreationDate", (0x00080012,), "DA", "day"),
    ("0008,002A-AcquisitionDateTime", (0x0008002A,), "DT", "day"),
    ("0008,0018-SOPInstanceUID", (0x00080018,), "UI", "uid"),
    ("0020,000D-StudyInstanceUID", (0x0020000D,), "UI", "uid"),
    ("0020,0052-FrameOfReferenceUID", (0x00200052,), "UI", "uid"),
    ("0008,0050-AccessionNumber", (0x00080050,), "SH", "accession"),
    ("0008,0054-RetrieveAETitle", (0x00080054,), "AE", "accession"),
    ("0008,0080-InstitutionName", (0x00080080,), "LO", "token"),
    ("0008,0081-InstitutionAddress", (0x00080081,), "ST", "text"),
    ("0008,0090-ReferringPhysicianName", (0x00080090,), "PN", "name"),
    ("0008,1010-StationName", (0x00081010,), "SH", "accession"),
    ("0008,1030-StudyDescription", (0x00081030,), "LO", "token"),
    ("0008,1070-OperatorsName", (0x00081070,), "PN", "name"),
    ("0008,2111-DerivationDescription", (0x00082111,), "ST", "text"),
    ("0008,0008-ImageType", (0x00080008,), "CS", "accession"),
    ("0018,1000-DeviceSerialNumber", (0x00181000,), "LO", "token"),
    ("0018,1030-ProtocolName", (0x00181030,), "LO", "token"),
    ("0018,A001-ContributingEquipment", (0x0018A001, 0x00080080), "LO", "token"),
    ("0020,4000-ImageComments", (0x00204000,), "LT", "text"),
    ("0032,1060-RequestedProcedureDescription", (0x00321060,), "LO", "token"),
    ("0040,0512-ContainerIdentifier", (0x00400512,), "LO", "token"),
    ("2200,0002-LabelText", (0x22000002,), "UT", "text"),
    ("2200,0005-BarcodeValue", (0x22000005,), "LT", "text"),
    ("0040,A043/0008,0120-URNCodeValue", (0x0040A043, 0x00080120), "UR", "token"),
    ("0018,9367-XRaySourceID", (0x00189367,), "UC", "text"),
    ("4008,4000-ResultsComments-retired", (0x40084000,), "ST", "text"),
    ("0050,0020-DeviceDescription", (0x00500020,), "LO", "token"),
    ("0028,1199-PaletteUID", (0x00281199,), "UI", "uid"),
)
NESTED: tuple[Row, ...] = (
    ("0040,0560/0040,0551-SpecimenIdentifier", (0x00400560, 0x00400551), "LO", "token"),
    ("0040,0560/0040,0600-SpecimenShortDescription", (0x00400560, 0x00400600), "LO", "token"),
    ("0040,0560/0040,0602-SpecimenDetailedDescription", (0x00400560, 0x00400602), "UT", "text"),
    ("0040,0560/0040,0554-SpecimenUID", (0x00400560, 0x00400554), "UI", "uid"),
    ("0040,0560/0040,0562/0040,0031-Issuer", (0x00400560, 0x00400562, 0x00400031), "UT", "text"),
    ("0040,0560/0040,0610/0040,0612/0040,A160-Text", (0x00400560, 0x00400610, 0x00400612, 0x0040A160), "UT", "text"),
    ("0040,0560/0040,0610/0040,0612/0040,A123-PN", (0x00400560, 0x00400610, 0x00400612, 0x0040A123), "PN", "name"),
    ("0040,0560/0040,0610/0040,0612/0040,A120-DT", (0x00400560, 0x00400610, 0x00400612, 0x0040A120), "DT", "day"),
    ("0048,0105/0048,0107-OpticalPathDescription", (0x00480105, 0x00480107), "ST", "text"),
    ("0048,0105/0028,2000-ICCProfile", (0x00480105, 0x00282000), "OB", "text"),
    ("5200,9229/0040,A170/0008,0104-CodeMeaning", (0x52009229, 0x0040A170, 0x00080104), "LO", "token"),
    ("5200,9230/0020,9111/0018,9074-FrameDateTime", (0x52009230, 0x00209111, 0x00189074), "DT", "day"),
    ("0400,0561/0400,0550/0010,0010-OriginalName", (0x04000561, 0x04000550, 0x00100010), "PN", "name"),
    ("0400,0561/0400,0564-SourceOfPreviousValues", (0x04000561, 0x04000564), "LO", "token"),
    ("0008,1140/0008,1155-ReferencedUID", (0x00081140, 0x00081155), "UI", "uid"),
    ("0040,0275/0032,1060-RequestDescription", (0x00400275, 0x00321060), "LO", "token"),
    ("0040,A730/A730/A730/A160-ReportText", (0x0040A730, 0x0040A730, 0x0040A730, 0x0040A160), "UT", "text"),
    ("0040,A730/0040,A075-VerifyingObserver", (0x0040A730, 0x0040A075), "PN", "name"),
    ("FFFA,FFFA/0400,0120-Signature", (0xFFFAFFFA, 0x04000120), "OB", "text"),
    ("0088,0200/7FE0,0010-IconPixels", (0x00880200, 0x7FE00010), "OW", "text"),
)


def places() -> list[Place]:
    """Elements, then private ones, repeating groups, and what lies outside of elements."""
    made = [_place(name, _at(path, vr, kind), kind) for name, path, vr, kind in (*FLAT, *NESTED)]
    made += [_place(name, plant) for name, plant in _PRIVATE.items()]
    made += [_place(name, plant) for name, plant in _REPEATING.items()]
    made += [_place(name, plant, kind) for name, (plant, kind) in _META.items()]
    made += [in_file(f"dicom/{name}", "dicom", "image.dcm", make, _CARRIES.get(name, "text")) for name, make in _BYTES]
    return made


def _place(name: str, plant: Plant, carries: Kind = "text") -> Place:
    def make(canary: Canary) -> bytes:
        ds = dataset(canary.token)
        plant(ds, canary)
        return saved(ds)

    return in_file(f"dicom/{name}", "dicom", "image.dcm", make, carries)


def _at(path: tuple[int, ...], vr: str, kind: Kind) -> Plant:
    def plant(ds: FileDataset, canary: Canary) -> None:
        inner: Dataset = ds
        for tag in path[:-1]:
            item = Dataset()
            inner.add_new(tag, "SQ", Sequence([item]))
            inner = item
        text = str(getattr(canary, kind))
        binary = text.encode() + bytes(len(text) % 2)
        inner.add_new(path[-1], vr, binary if vr in ("OB", "OW") else text)
        if path == (0x00080018,):
            ds.file_meta.MediaStorageSOPInstanceUID = UID(canary.uid)

    return plant


def _private(ds: Dataset, vr: str, value: object, group: int = 0x0009) -> None:
    ds.private_block(group, "BENCH 1.0", create=True).add_new(0x10, vr, value)


def _private_creator(ds: FileDataset, canary: Canary) -> None:
    ds.add_new(0x00090010, "LO", canary.token)
    ds.add_new(0x00091001, "SH", "x")


def _private_deep(ds: FileDataset, canary: Canary) -> None:
    inner, shared = Dataset(), Dataset()
    _private(inner, "LO", canary.token)
    shared.add_new(0x00480207, "SQ", Sequence([inner]))
    ds.add_new(0x52009229, "SQ", Sequence([shared]))


def _private_sequence(ds: FileDataset, canary: Canary) -> None:
    inner = Dataset()
    inner.add_new(0x00104000, "LT", canary.text)
    _private(ds, "SQ", Sequence([inner]))


_PRIVATE: dict[str, Plant] = {
    "private-LO": lambda ds, c: _private(ds, "LT", c.text),
    "private-OB": lambda ds, c: _private(ds, "OB", c.text.encode()),
    "private-UN": lambda ds, c: _private(ds, "UN", c.text.encode(), 0x7FDF),
    "private-SQ": _private_sequence,
}


def _overlay(ds: FileDataset, canary: Canary, group: int = 0x6000) -> None:
    letters = canary.text.encode()
    base = group << 16
    ds.add_new(base | 0x0010, "US", 8)
    ds.add_new(base | 0x0011, "US", len(letters))
    ds.add_new(base | 0x0040, "CS", "G")
    ds.add_new(base | 0x0050, "SS", [1, 1])
    ds.add_new(base | 0x0100, "US", 1)
    ds.add_new(base | 0x0102, "US", 0)
    ds.add_new(base | 0x3000, "OW", letters + bytes(len(letters) % 2))


def _add(tag: int, vr: str) -> Plant:
    return lambda ds, c: ds.add_new(tag, vr, c.text.encode() if vr in ("OB", "OW", "UN") else c.text)


_REPEATING: dict[str, Plant] = {
    "6000,3000-overlay-bits": _overlay,
    "60FE,3000-overlay-bits": lambda ds, c: _overlay(ds, c, 0x60FE),
    "6000,4000-overlay-comments": _add(0x60004000, "LT"),
    "5000,3000-curve-data": _add(0x50003000, "OW"),
    "5000,2500-curve-label": lambda ds, c: ds.add_new(0x50002500, "LT", c.text),
    "FFFC,FFFC-padding": _add(0xFFFCFFFC, "OB"),
    "unknown-public-tag": _add(0x00110001, "UN"),
    "text-after-NUL": lambda ds, c: ds.add_new(0x00204000, "LT", "clean\0" + c.text),
}


def _preamble(ds: FileDataset, canary: Canary) -> None:
    ds.preamble = canary.text.encode().ljust(128, b"\0")


def _meta_private(ds: FileDataset, canary: Canary) -> None:
    ds.file_meta.PrivateInformationCreatorUID = UID("2.25.1")
    ds.file_meta.PrivateInformation = canary.text.encode()


def _meta_element(keyword: str, kind: Kind) -> Plant:
    return lambda ds, c: setattr(ds.file_meta, keyword, getattr(c, kind))


_META: dict[str, tuple[Plant, Kind]] = {
    "preamble": (_preamble, "text"),
    "private-creator": (_private_creator, "token"),
    "5200,9229/private": (_private_deep, "token"),
    "meta-private-information": (_meta_private, "text"),
    "meta-SourceApplicationEntityTitle": (_meta_element("SourceApplicationEntityTitle", "accession"), "accession"),
    "meta-ImplementationVersionName": (_meta_element("ImplementationVersionName", "accession"), "accession"),
    "meta-ImplementationClassUID": (_meta_element("ImplementationClassUID", "uid"), "uid"),
}
_CARRIES: dict[str, Kind] = {"implicit-PatientName": "name"}


def _surplus(canary: Canary) -> bytes:
    """Bytes of the pixel element behind the last row."""
    ds = dataset(canary.token)
    ds.PixelData = ds.PixelData + canary.text.encode() + bytes(len(canary.text) % 2)
    return saved(ds)


def _behind(canary: Canary) -> bytes:
    """An element whose tag sorts before the pixels, after them: readers that stop at the pixels miss it."""
    return saved(dataset(canary.token)) + element(0x0010, 0x4000, b"LT", canary.text.encode())


def _in_syntax(syntax: UID, plant: Plant) -> Make:
    def make(canary: Canary) -> bytes:
        ds = dataset(canary.token, syntax)
        plant(ds, canary)
        return saved(ds)

    return make


def _dual(canary: Canary) -> bytes:
    """DICOM and TIFF at once (PS3.10, 7.1): the preamble is a TIFF header, the directory lies in the padding."""
    ds = dataset(canary.token)
    plain = saved(ds)
    tiff = Tiff()
    start = len(plain) + 12
    # Offsets count from the file's begin, so the directory is written behind what there is already.
    tiff.out = bytearray(plain + bytes(12))
    page = tiff.page(swatch(canary.token)[:1].copy(), {270: ascii_(canary.text)})
    out = bytearray(plain + element(0xFFFC, 0xFFFC, b"OB", bytes(tiff.out[start:])))
    out[:8] = b"II*\0" + struct.pack("<I", page)
    return bytes(out)


def _encapsulated(change: Callable[[bytes, Canary], bytes]) -> Make:
    def make(canary: Canary) -> bytes:
        ds = dataset(canary.token, JPEGBaseline8Bit)
        ds.PhotometricInterpretation = "YBR_FULL_422"
        ds.PixelData = encapsulate([change(coded(swatch(canary.token)), canary)])
        ds["PixelData"].is_undefined_length = True
        return saved(ds)

    return make


_BYTES: tuple[tuple[str, Make], ...] = (
    ("pixel-data-surplus", _surplus),
    ("after-pixels-element", _behind),
    # Readers take an item's end for the end of the data.
    ("trailer", lambda c: saved(dataset(c.token)) + b"\xfe\xff\x0d\xe0\0\0\0\0" + c.text.encode()),
    ("deflated-PatientComments", _in_syntax(DeflatedExplicitVRLittleEndian, _add(0x00104000, "LT"))),
    ("implicit-PatientName", _in_syntax(ImplicitVRLittleEndian, _at((0x00100010,), "PN", "name"))),
    ("implicit-private", _in_syntax(ImplicitVRLittleEndian, lambda ds, c: _private(ds, "LT", c.text))),
    ("dual-TIFF-270", _dual),
    ("encapsulated-COM", _encapsulated(lambda jpeg, c: after_jfif(jpeg, segment(0xFE, c.text.encode())))),
    ("encapsulated-after-EOI", _encapsulated(lambda jpeg, c: jpeg + c.text.encode())),
)
