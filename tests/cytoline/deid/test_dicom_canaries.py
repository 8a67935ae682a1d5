"""A canary in each place where a DICOM file can hide words: found in the original, gone from the new file."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import JPEGBaseline8Bit

from cytoline.deid.accounting.dicom import findings
from cytoline.deid.dicom import CannotRecreate, recreate_dicom
from cytoline.images import RGB
from tests.cytoline.deid.test_dicom_files import (
    IDENTITY,
    anew,
    code,
    item,
    jpeg,
    set_pixels,
    slide,
    tissue,
    with_jpegs,
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


def test_surplus_pixel_data_is_left_behind() -> None:
    out = slide()
    out.PixelData += RAW
    assert "dicom:(7FE0,0010)" in places(written(out))
    assert_gone(anew(written(out)))


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_bits_that_no_pixel_uses(kind: type) -> None:
    """An overlay in the upper four bits of sixteen."""
    values = np.random.default_rng(1).integers(0, 1 << 11, (1, 16, 16)).astype(kind)
    hidden = values.view(np.uint16) | np.resize(np.frombuffer(RAW, np.uint8), (1, 16, 16)).astype(np.uint16) << 12
    out = slide()
    set_pixels(out, hidden.view(kind), "MONOCHROME2", stored=12)
    assert "dicom:frame/bits" in places(written(out))
    made = anew(written(out))
    assert findings(made) == []
    assert np.array_equal(dcmread(io.BytesIO(made)).pixel_array, values[0])


def test_palette_entries_that_no_pixel_uses() -> None:
    out = slide()
    set_pixels(out, np.arange(16, dtype=np.uint8).reshape(1, 4, 4), "PALETTE COLOR")
    table = np.arange(256, dtype="<u2") * 257
    table[100:104] = np.frombuffer(RAW, "<u2")
    for name in ("Red", "Green", "Blue"):
        setattr(out, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(out, f"{name}PaletteColorLookupTableData", table.tobytes())
    assert "dicom:(0028,1202)" in places(written(out))
    made = anew(written(out))
    assert_gone(made)
    assert dcmread(io.BytesIO(made)).GreenPaletteColorLookupTableData[:32] == table[:16].tobytes()


def _segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


@pytest.mark.parametrize(("plant", "place", "route"), [
    (lambda frame: frame[:2] + _segment(0xFE, RAW) + frame[2:], "dicom:frame/jpeg:COM", "copied"),
    (lambda frame: frame[:2] + _segment(0xE1, b"Exif\0\0" + RAW) + frame[2:], "dicom:frame/jpeg:APP1", "copied"),
    (lambda frame: frame[:2] + _segment(0xEE, b"Adobe\0\x64\0\0\0\0\x01" + RAW) + frame[2:], "dicom:frame/jpeg:APP14",
     "copied"),
    (lambda frame: frame + RAW, "dicom:frame/jpeg:trailing", "copied"),
    (lambda frame: frame[:2] + _segment(0xDB, b"\x03" + RAW * 8) + frame[2:], "dicom:frame/jpeg:tables", "decoded"),
    (lambda frame: frame[:-2] + RAW + frame[-2:], None, "decoded"),
])  # fmt: skip
def test_a_canary_in_a_jpeg_frame(plant: Callable[[bytes], bytes], place: str | None, route: str) -> None:
    """In its segments, behind its end, in a table that nothing asks for, and behind the last block of its scan."""
    frames = [jpeg(tissue(0)), plant(jpeg(tissue(1)))]
    content = written(with_jpegs(slide(), frames), JPEGBaseline8Bit)
    assert RAW in content
    assert place is None or place in places(content)
    made = recreate_dicom(content, IDENTITY, lambda rgb: ())
    assert made.route == route
    assert made.content is not None
    assert_gone(made.content)
    before, after = (dcmread(io.BytesIO(one)).pixel_array for one in (content, made.content))
    assert np.array_equal(before, after)


def test_a_comment_in_a_jpeg_2000_frame() -> None:
    """In the main header and behind the end."""
    out = dcmread(get_testdata_file("MR_small_jp2klossless.dcm", download=False))
    codestream = out.PixelData[16:].rstrip(b"\0")
    codestream = codestream[: codestream.rfind(b"\xff\xd9") + 2]
    at = 4 + int.from_bytes(codestream[4:6], "big")
    planted = codestream[:at] + b"\xff\x64\x00\x0c\x00\x01" + RAW + codestream[at:] + RAW
    out.PixelData = encapsulate([planted + b"\0" * (len(planted) % 2)])
    content = written(out, out.file_meta.TransferSyntaxUID)
    assert {"dicom:frame/j2k:COM", "dicom:frame/j2k:trailing"} <= places(content)
    made = recreate_dicom(content, IDENTITY, None)
    assert made.route == "copied"
    assert made.content is not None
    assert_gone(made.content)
    assert np.array_equal(dcmread(io.BytesIO(made.content)).pixel_array, out.pixel_array)


def test_offset_table_with_words() -> None:
    content = written(with_jpegs(slide(), [jpeg(tissue(0)), jpeg(tissue(1))]), JPEGBaseline8Bit)
    at = content.index(b"\xfe\xff\x00\xe0\x08\x00\x00\x00") + 8
    content = content[:at] + RAW + content[at + 8 :]
    assert "dicom:frame/offsets" in places(content)
    assert_gone(anew(content))


def _block(rgb: RGB) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Finds the planted block of pure magenta."""
    rows, columns = np.nonzero((rgb == (255, 0, 255)).all(axis=2))
    if not len(rows):
        return ()
    x0, x1, y0, y1 = (int(one) for one in (columns.min(), columns.max(), rows.min(), rows.max()))
    return (((x0, y0), (x1, y0), (x1, y1), (x0, y1)),)


def test_marks_in_one_frame_are_painted_and_the_others_kept() -> None:
    out = slide()
    frames = np.stack([tissue(0), tissue(1)])
    frames[1, 10:14, 20:26] = (255, 0, 255)
    set_pixels(out, frames, "RGB")
    made = recreate_dicom(written(out), IDENTITY, _block)
    assert made.content is not None
    assert (made.route, list(made.painted)) == ("decoded", [1])
    assert findings(made.content) == []
    new = dcmread(io.BytesIO(made.content))
    assert np.array_equal(new.pixel_array[0], frames[0])
    assert not _block(new.pixel_array[1])
    assert np.array_equal(new.pixel_array[1, 24:], frames[1, 24:])
    assert new.ImageType[0] == "DERIVED"


def test_marks_that_come_back_lead_to_quarantine() -> None:
    with pytest.raises(CannotRecreate, match="text_remains"):
        recreate_dicom(written(slide()), IDENTITY, lambda rgb: (((1, 1), (4, 1), (4, 4), (1, 4)),))


@pytest.mark.parametrize("change", [
    {"ImageType": ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]},
    {"ImageType": ["DERIVED", "PRIMARY", "OVERVIEW", "NONE"]},
    {"ImageType": ["DERIVED", "PRIMARY", "THUMBNAIL", "RESAMPLED"]},
    {"ImageType": ["ORIGINAL", "PRIMARY"]},
    {"SpecimenLabelInImage": "YES"},
])  # fmt: skip
def test_a_label_is_refused(change: dict[str, object]) -> None:
    out = slide()
    for keyword, value in change.items():
        setattr(out, keyword, value)
    with pytest.raises(CannotRecreate, match="slide_label"):
        recreate_dicom(written(out), IDENTITY, None)
