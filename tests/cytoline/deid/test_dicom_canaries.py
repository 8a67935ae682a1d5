"""A canary in each place where a DICOM file can hide words: found in the original, gone from the new file."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from cytoline.deid.accounting.dicom import findings
from tests.cytoline.deid.test_dicom_files import (
    anew,
    code,
    item,
    set_pixels,
    slide,
    written,
)

CANARY = "CANARY7Q"
RAW = CANARY.encode()
Plant = Callable[[Dataset], object]


def _raw(target: Dataset, tag: int, vr: str, value: bytes) -> None:
    """As it lies in a file, whatever the VR allows."""
    target[Tag(tag)] = RawDataElement(Tag(tag), vr, len(value), value, 0, False, True)


def _set(keyword: str, value: object = CANARY) -> Plant:
    return lambda out: setattr(out, keyword, value)


def _put(tag: int, vr: str, value: bytes = RAW, where: Callable[[Dataset], Dataset] = lambda out: out) -> Plant:
    return lambda out: _raw(where(out), tag, vr, value)


def _private(target: Dataset) -> None:
    target.private_block(0x0009, CANARY, create=True).add_new(1, "LO", CANARY)


def _icon(out: Dataset) -> None:
    icon = Dataset()
    set_pixels(icon, np.frombuffer(RAW, np.uint8).reshape(1, 2, 4), "MONOCHROME2")
    out.IconImageSequence = Sequence([icon])


def _specimen(out: Dataset) -> None:
    step = item(SpecimenPreparationStepContentItemSequence=Sequence([item(ValueType="TEXT", TextValue=CANARY)]))
    out.SpecimenDescriptionSequence = Sequence(
        [item(SpecimenIdentifier=CANARY, SpecimenUID="1.2.3", SpecimenPreparationSequence=Sequence([step]))]
    )


def _optics(out: Dataset) -> Dataset:
    return out.OpticalPathSequence[0]


def _measures(out: Dataset) -> Dataset:
    return out.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]


def _frame(out: Dataset) -> Dataset:
    return out.PerFrameFunctionalGroupsSequence[1]


def _illumination(out: Dataset, scheme: str, value: str, meaning: str) -> None:
    _optics(out).IlluminationTypeCodeSequence = code(value, scheme, meaning)


FRAME_GROUP = "dicom:(5200,9230)"
OPTICS = "dicom:(0048,0105)"
MEASURES = "dicom:(5200,9229)/(0028,9110)"

PLACES: dict[str, tuple[Plant, str]] = {
    # Every text VR on the top level
    "PN patient": (_set("PatientName"), "dicom:(0010,0010)"),
    "LO patient id": (_set("PatientID"), "dicom:(0010,0020)"),
    "LO other ids": (_set("OtherPatientIDs"), "dicom:(0010,1000)"),
    "PN physician": (_set("ReferringPhysicianName"), "dicom:(0008,0090)"),
    "SH accession": (_set("AccessionNumber"), "dicom:(0008,0050)"),
    "LO institution": (_set("InstitutionName"), "dicom:(0008,0080)"),
    "ST address": (_set("InstitutionAddress"), "dicom:(0008,0081)"),
    "LO manufacturer": (_set("Manufacturer"), "dicom:(0008,0070)"),
    "LO serial": (_set("DeviceSerialNumber"), "dicom:(0018,1000)"),
    "LO study text": (_set("StudyDescription"), "dicom:(0008,1030)"),
    "LT comments": (_set("ImageComments"), "dicom:(0020,4000)"),
    "LT history": (_set("AdditionalPatientHistory"), "dicom:(0010,21B0)"),
    "UT label": (_set("LabelText"), "dicom:(2200,0002)"),
    "UT barcode": (_set("BarcodeValue"), "dicom:(2200,0005)"),
    "LO container": (_set("ContainerIdentifier"), "dicom:(0040,0512)"),
    "AE station": (_set("RetrieveAETitle"), "dicom:(0008,0054)"),
    "SH station": (_set("StationName"), "dicom:(0008,1010)"),
    "UR reference": (_set("RetrieveURL"), "dicom:(0008,1190)"),
    "UC text": (_set("LongCodeValue"), "dicom:(0008,0119)"),
    # Kept attributes whose value is not of the kind
    "CS modality": (_put(0x00080060, "CS"), "dicom:(0008,0060)"),
    "CS image type": (_set("ImageType", ["ORIGINAL", "PRIMARY", "VOLUME", CANARY]), "dicom:(0008,0008)"),
    "CS sex": (_put(0x00100040, "CS"), "dicom:(0010,0040)"),
    "AS age": (_put(0x00101010, "AS"), "dicom:(0010,1010)"),
    "DA study": (_put(0x00080020, "DA"), "dicom:(0008,0020)"),
    "DT acquisition": (_put(0x0008002A, "DT", b"20240229101112.123456&" + RAW), "dicom:(0008,002A)"),
    "TM study": (_put(0x00080030, "TM"), "dicom:(0008,0030)"),
    "IS series": (_put(0x00200011, "IS"), "dicom:(0020,0011)"),
    "DS spacing": (_put(0x00280030, "DS", b"1\\" + RAW), "dicom:(0028,0030)"),
    "UI frame": (_put(0x00200052, "UI", b"1.2." + RAW), "dicom:(0020,0052)"),
    "UI class": (_put(0x00081150, "UI", b"1.2.840.10008." + RAW, lambda out: out.SourceImageSequence[0]),
                 "dicom:(0008,2112)/(0008,1150)"),
    "LO reference": (_set("PositionReferenceIndicator"), "dicom:(0020,1040)"),
    "FL width": (_put(0x00480001, "FL", RAW[:4]), "dicom:(0048,0001)"),
    "UL columns": (_put(0x00480006, "UL", RAW[:4]), "dicom:(0048,0006)"),
    # Other depths
    "nested LO": (_put(0x00081080, "LO", where=_measures), f"{MEASURES}/(0008,1080)"),
    "nested DS": (_put(0x00280030, "DS", b"1\\" + RAW, _measures), f"{MEASURES}/(0028,0030)"),
    "nested private": (lambda out: _private(_measures(out)), f"{MEASURES}/(0009,0010)"),
    "nested date": (_put(0x00080020, "DA", where=_frame), f"{FRAME_GROUP}/(0008,0020)"),
    "nested UN": (_put(0x00204000, "UN", where=_frame), f"{FRAME_GROUP}/(0020,4000)"),
    "frame comments": (lambda out: setattr(_frame(out).FrameContentSequence[0], "FrameComments", CANARY),
                       f"{FRAME_GROUP}/(0020,9111)/(0020,9158)"),
    "frame index": (_put(0x00209157, "UL", RAW, lambda out: _frame(out).FrameContentSequence[0]),
                    f"{FRAME_GROUP}/(0020,9111)/(0020,9157)"),
    "optical path name": (lambda out: setattr(_optics(out), "OpticalPathIdentifier", CANARY), f"{OPTICS}/(0048,0106)"),
    "optical path text": (lambda out: setattr(_optics(out), "OpticalPathDescription", CANARY),
                          f"{OPTICS}/(0048,0107)"),
    "colour profile": (lambda out: setattr(_optics(out), "ICCProfile", RAW), f"{OPTICS}/(0028,2000)"),
    "code meaning": (lambda out: _illumination(out, "DCM", "111744", CANARY), f"{OPTICS}/(0022,0016)"),
    "code value": (lambda out: _illumination(out, "DCM", CANARY, "Brightfield illumination"), f"{OPTICS}/(0022,0016)"),
    "code scheme": (lambda out: _illumination(out, CANARY, "111744", "x"), f"{OPTICS}/(0022,0016)"),
    "specimen": (_specimen, "dicom:(0040,0560)"),
    "context": (_set("AcquisitionContextSequence", Sequence([item(TextValue=CANARY)])), "dicom:(0040,0555)"),
    "content items": (_set("ContentSequence", Sequence([item(PersonName=CANARY)])), "dicom:(0040,A730)"),
    "equipment": (_set("ContributingEquipmentSequence", Sequence([item(OperatorsName=CANARY)])), "dicom:(0018,A001)"),
    "original values": (_set("OriginalAttributesSequence", Sequence([item(SourceOfPreviousValues=CANARY)])),
                        "dicom:(0400,0561)"),
    "request": (_set("RequestAttributesSequence", Sequence([item(ScheduledProcedureStepID=CANARY)])),
                "dicom:(0040,0275)"),
    # Groups
    "private": (_private, "dicom:(0009,0010)"),
    "private UN": (_put(0x00091002, "UN"), "dicom:(0009,1002)"),
    "unknown tag": (_put(0x00280999, "LO"), "dicom:(0028,0999)"),
    "overlay": (_put(0x60003000, "OB"), "dicom:(6000,3000)"),
    "overlay text": (_put(0x60001500, "LO"), "dicom:(6000,1500)"),
    "curve": (_put(0x50003000, "OB"), "dicom:(5000,3000)"),
    "icon": (_icon, "dicom:(0088,0200)"),
    "padding": (_put(0xFFFCFFFC, "OB"), "dicom:(FFFC,FFFC)"),
    "signature": (_set("DigitalSignaturesSequence", Sequence([item(CertificateOfSigner=RAW)])), "dicom:(FFFA,FFFA)"),
    "palette": (_put(0x00281201, "OW"), "dicom:(0028,1201)"),
    "UN sequence": (_put(0x00400560, "UN", b"\xfe\xff\x00\xe0\x10\x00\x00\x00\x40\x00\x51\x05\x08\0\0\0" + RAW),
                    "dicom:(0040,0560)"),
}  # fmt: skip


def places(content: bytes) -> set[str]:
    return {found.place for found in findings(content)}


def assert_gone(made: bytes, needle: bytes = RAW) -> None:
    """Neither in the bytes, in either byte order, nor in anything that a reader makes of them."""
    text = needle.decode("latin-1")
    for form in (needle, text.encode("utf-16-le"), text.encode("utf-16-be"), needle[::-1]):
        assert form not in made
    dataset = dcmread(io.BytesIO(made))
    assert all(text not in str(element.value) for element in dataset.iterall())
    assert findings(made) == []


@pytest.mark.parametrize("name", PLACES)
def test_a_canary_in_the_header(name: str) -> None:
    plant, place = PLACES[name]
    clean = slide()
    kept = dcmread(io.BytesIO(anew(written(clean)))).pixel_array
    plant(clean)
    content = written(clean)
    needle = next(needle for needle in (RAW, RAW[:4]) if needle in content)
    assert place in places(content)
    made = anew(content)
    assert_gone(made, needle)
    assert np.array_equal(dcmread(io.BytesIO(made)).pixel_array, kept)


def test_what_is_found_is_what_was_planted() -> None:
    """Places of a file without canaries are not of a canary's making: the new file has none, the old one its names."""
    assert places(anew(written(slide()))) == set()
    assert "dicom:(0010,0010)" in places(written(slide()))


def _with_meta(content: bytes) -> bytes:
    out = dcmread(io.BytesIO(content))
    out.file_meta.SourceApplicationEntityTitle = CANARY
    out.file_meta.ImplementationVersionName = CANARY
    out.file_meta.PrivateInformationCreatorUID = "1.2.3"
    out.file_meta.PrivateInformation = RAW
    target = io.BytesIO()
    out.save_as(target)
    return target.getvalue()


@pytest.mark.parametrize(("plant", "place"), [
    (lambda content: RAW + content[len(RAW):], "dicom:preamble"),
    (lambda content: b"II*\0" + struct.pack("<I", len(content)) + content[8:] + RAW, "dicom:preamble"),
    (_with_meta, "dicom:(0002,0016)"),
    (_with_meta, "dicom:(0002,0102)"),
    (lambda content: content + RAW, "dicom:trailing"),
    (lambda content: content + struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 8) + RAW, "dicom:(FFFC,FFFC)"),
    (lambda content: content + struct.pack("<HH2sH", 0x7FE1, 0x1001, b"LO", 8) + RAW, "dicom:(7FE1,1001)"),
])  # fmt: skip
def test_a_canary_around_the_dataset(plant: Callable[[bytes], bytes], place: str) -> None:
    """Preamble (a TIFF's header among them), file meta, padding, a trailer."""
    content = plant(written(slide()))
    assert place in places(content)
    assert_gone(anew(content))
