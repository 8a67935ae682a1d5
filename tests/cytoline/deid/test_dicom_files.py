"""DICOM files made by the tests, and what becomes of real ones: accounted for, or refused in closed words."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import dcmread, dcmwrite
from pydicom.data import get_testdata_files
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from cytoline.deid.accounting import account
from cytoline.deid.accounting.dicom import findings
from cytoline.deid.dicom import CannotRecreate, Limits, Recreated, describe, read_frames, recreate_dicom
from cytoline.deid.dicom.refusal import REASONS
from cytoline.deid.identity import Identity
from cytoline.images import RGB
from cytoline.pseudonyms import Pseudonyms

IDENTITY = Identity(Pseudonyms(b"k" * 32))
SLIDES = Path("../shared/data/phi/openslide")
WSI = "1.2.840.10008.5.1.4.1.1.77.1.6"
ROWS, COLUMNS, FRAMES = 32, 48, 2


def tissue(seed: int = 0) -> RGB:
    """A frame without an equal neighbour, so that every coded byte counts."""
    noise = np.random.default_rng(seed).integers(60, 200, (ROWS // 4, COLUMNS // 4, 3), np.uint8)
    return np.ascontiguousarray(np.repeat(np.repeat(noise, 4, 0), 4, 1))


def item(**values: object) -> Dataset:
    out = Dataset()
    for keyword, value in values.items():
        setattr(out, keyword, value)
    return out


def code(value: str, scheme: str, meaning: str) -> Sequence:
    return Sequence([item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)])


def slide(patient: str = "PATIENT-4711", study: str = "1.2.3.4.5", day: str = "20240229") -> Dataset:
    """A whole-slide image as a scanner writes it, with something in each attribute that is kept; RGB, uncompressed."""
    out = item(
        SOPClassUID=WSI,
        SOPInstanceUID="1.2.3.4.5.6.1",
        StudyInstanceUID=study,
        SeriesInstanceUID=study + ".1",
        FrameOfReferenceUID="1.2.3.9",
        PyramidUID="1.2.3.8",
        ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        Modality="SM",
        PatientName="Doe^Jane",
        PatientID=patient,
        PatientBirthDate="19330101",
        PatientSex="F",
        PatientAge="091Y",
        StudyDate=day,
        ContentDate=day,
        AcquisitionDateTime=day + "101112.5",
        StudyTime="101112",
        AccessionNumber="ACC-1",
        Manufacturer="Maker",
        SeriesNumber=3,
        InstanceNumber=1,
        NumberOfFrames=FRAMES,
        ImageOrientationSlide=[0, -1, 0, -1, 0, 0],
        ImagedVolumeWidth=12.5,
        TotalPixelMatrixColumns=96,
        TotalPixelMatrixRows=32,
        SpecimenLabelInImage="NO",
        DimensionOrganizationType="TILED_SPARSE",
        LossyImageCompression="00",
        PositionReferenceIndicator="SLIDE_CORNER",
    )
    out.TotalPixelMatrixOriginSequence = Sequence(
        [item(XOffsetInSlideCoordinateSystem=20.5, YOffsetInSlideCoordinateSystem=40.25)]
    )
    out.OpticalPathSequence = Sequence([item(OpticalPathIdentifier="A", ObjectiveLensPower=40)])
    out.OpticalPathSequence[0].IlluminationTypeCodeSequence = code("111744", "DCM", "Brightfield illumination")
    out.SharedFunctionalGroupsSequence = Sequence(
        [item(PixelMeasuresSequence=Sequence([item(PixelSpacing=[0.00025, 0.00025], SliceThickness=0.001)]))]
    )
    out.PerFrameFunctionalGroupsSequence = Sequence([_frame_group(index) for index in range(FRAMES)])
    out.DimensionIndexSequence = Sequence(
        [item(DimensionOrganizationUID="1.2.3.7", DimensionIndexPointer=0x0048021E, FunctionalGroupPointer=0x0048021A)]
    )
    out.SourceImageSequence = Sequence([item(ReferencedSOPClassUID=WSI, ReferencedSOPInstanceUID="1.2.3.4.5.6.1")])
    set_pixels(out, np.stack([tissue(index) for index in range(FRAMES)]), "RGB")
    return out


def _frame_group(index: int) -> Dataset:
    place = item(ColumnPositionInTotalImagePixelMatrix=1 + COLUMNS * index, RowPositionInTotalImagePixelMatrix=1)
    return item(
        PlanePositionSlideSequence=Sequence([place]),
        FrameContentSequence=Sequence([item(DimensionIndexValues=[index + 1, 1])]),
        OpticalPathIdentificationSequence=Sequence([item(OpticalPathIdentifier="A")]),
    )


def set_pixels(out: Dataset, values: np.ndarray, photometric: str, stored: int | None = None) -> None:
    out.NumberOfFrames, out.Rows, out.Columns = values.shape[:3]
    out.SamplesPerPixel = 3 if values.ndim == 4 else 1
    if values.ndim == 4:
        out.PlanarConfiguration = 0
    out.PhotometricInterpretation = photometric
    out.BitsAllocated = 8 * values.dtype.itemsize
    out.BitsStored = stored or out.BitsAllocated
    out.HighBit = out.BitsStored - 1
    out.PixelRepresentation = int(values.dtype.kind == "i")
    content = values.tobytes()
    out.add_new("PixelData", "OW" if out.BitsAllocated == 16 else "OB", content + b"\0" * (len(content) % 2))


def jpeg(rgb: RGB) -> bytes:
    target = io.BytesIO()
    Image.fromarray(rgb).save(target, "JPEG", quality=90, subsampling=0)
    return target.getvalue()


def with_jpegs(out: Dataset, frames: list[bytes]) -> Dataset:
    out.PhotometricInterpretation = "YBR_FULL_422"
    out.LossyImageCompression = "01"
    out.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2) for frame in frames])
    out["PixelData"].VR = "OB"
    out["PixelData"].is_undefined_length = True
    return out


def written(out: Dataset, syntax: str = ExplicitVRLittleEndian, preamble: bytes = bytes(128)) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = out.SOPClassUID
    meta.MediaStorageSOPInstanceUID = out.SOPInstanceUID
    out.file_meta, out.preamble = meta, preamble
    target = io.BytesIO()
    dcmwrite(target, out, enforce_file_format=True)
    return target.getvalue()


def anew(content: bytes) -> bytes:
    made = recreate_dicom(content, IDENTITY, lambda rgb: ())
    assert made.content is not None
    return made.content


def outcome(source: Path | bytes) -> tuple[Recreated | None, str | None]:
    """The result, or the refusal's message; any other exception is a failure."""
    try:
        return recreate_dicom(source, IDENTITY, None, vouches=lambda frame: not account(frame)), None
    except CannotRecreate as refusal:
        return None, str(refusal)


def real_files() -> Iterator[Path]:
    """What comes with the package, and the slides where they are."""
    inside = Path(pydicom.__file__).resolve().parent
    for name in get_testdata_files():
        path = Path(name).resolve()
        if path.is_file() and path.is_relative_to(inside) and not path.name.startswith("IM0000"):
            yield path
    yield from sorted(SLIDES.rglob("*.dcm"))


@pytest.mark.parametrize("path", real_files(), ids=lambda path: path.name)
def test_a_real_file_is_accounted_for_or_refused(path: Path) -> None:
    made, reason = outcome(path)
    if made is None or made.content is None:
        assert reason in REASONS
        return
    assert findings(made.content) == []
    before, after = list(read_frames(path)), list(read_frames(made.content))
    assert len(before) == len(after) == made.frames
    assert all(np.array_equal(one, two) for one, two in zip(before, after, strict=True))
    old, new = dcmread(path), dcmread(io.BytesIO(made.content))
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "SamplesPerPixel"):
        assert old.get(keyword) == new.get(keyword), keyword
    if old.get("PixelSpacing"):
        assert [float(x) for x in new.PixelSpacing] == pytest.approx([float(x) for x in old.PixelSpacing], rel=1e-9)


@pytest.mark.parametrize("name", [
    "CT_small.dcm", "MR_small_implicit.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "SC_rgb_dcmtk_+eb+cr.dcm",
    "examples_palette.dcm", "SC_ybr_full_422_uncompressed.dcm", "examples_overlay.dcm", "examples_ybr_color.dcm",
])  # fmt: skip
def test_the_usual_codings_are_not_refused(name: str) -> None:
    """A guard that turns every mistake of ours into a refusal would otherwise hide it."""
    path = next(path for path in real_files() if path.name == name)
    assert recreate_dicom(path, IDENTITY, None).frames >= 1


@pytest.mark.needs_shared
def test_the_openslide_slide_is_copied_and_its_thumbnail_refused() -> None:
    folder = SLIDES / "tests/fixtures"
    if not folder.is_dir():
        pytest.skip("no slides in ../shared/data/phi")
    assert recreate_dicom(folder / "boxes_0.dcm", IDENTITY, None).route == "copied"
    with pytest.raises(CannotRecreate, match="slide_label"):
        recreate_dicom(folder / "boxes_1.dcm", IDENTITY, None)


def test_the_made_slide_keeps_what_pixels_need(tmp_path: Path) -> None:
    """To a path: the same bytes as in memory, nothing else beside."""
    content = written(slide())
    made = anew(content)
    assert findings(made) == []
    out = tmp_path / "new.dcm"
    recreate_dicom(content, IDENTITY, lambda rgb: (), out=out)
    assert out.read_bytes() == made
    assert list(tmp_path.iterdir()) == [out]
    old, new = dcmread(io.BytesIO(content)), dcmread(io.BytesIO(made))
    assert np.array_equal(old.pixel_array, new.pixel_array)
    for keyword in (
        "ImageType", "Modality", "ImageOrientationSlide", "ImagedVolumeWidth", "TotalPixelMatrixColumns", "BitsStored",
        "TotalPixelMatrixOriginSequence", "SharedFunctionalGroupsSequence", "DimensionOrganizationType", "PatientSex",
    ):  # fmt: skip
        assert old[keyword].value == new[keyword].value, keyword
    second = new.PerFrameFunctionalGroupsSequence[1].PlanePositionSlideSequence[0]
    assert second.ColumnPositionInTotalImagePixelMatrix == 49
    path = new.OpticalPathSequence[0]
    assert path.IlluminationTypeCodeSequence[0].CodeMeaning == "Brightfield illumination"
    assert path.OpticalPathIdentifier == "1"
    groups = new.PerFrameFunctionalGroupsSequence
    assert groups[0].OpticalPathIdentificationSequence[0].OpticalPathIdentifier == "1"
    assert new.PatientAge == "090Y"
    assert new.PatientIdentityRemoved == "YES"
    assert [one.CodeValue for one in new.DeidentificationMethodCodeSequence] == ["113100", "113101", "113107"]
    assert (new.BurnedInAnnotation, new.LongitudinalTemporalInformationModified) == ("NO", "MODIFIED")
    assert new.SourceImageSequence[0].ReferencedSOPInstanceUID == new.SOPInstanceUID != old.SOPInstanceUID


def test_pixels_nobody_looked_at_are_not_called_clean() -> None:
    made = recreate_dicom(written(slide()), IDENTITY, None).content
    assert made is not None
    new = dcmread(io.BytesIO(made))
    assert "BurnedInAnnotation" not in new
    assert "113101" not in [one.CodeValue for one in new.DeidentificationMethodCodeSequence]


def test_two_files_of_a_person_stay_consistent() -> None:
    """One pseudonym, one study, the same number of days between them; another person has another shift."""
    dates = ("20231231", "20240229")
    one, two = (dcmread(io.BytesIO(anew(written(slide(day=day))))) for day in dates)
    other = dcmread(io.BytesIO(anew(written(slide(patient="OTHER", study="1.2.3.99", day=dates[0])))))
    assert one.PatientID == two.PatientID == one.PatientName != other.PatientID
    assert one.StudyInstanceUID == two.StudyInstanceUID != other.StudyInstanceUID
    days = [np.datetime64(f"{d[:4]}-{d[4:6]}-{d[6:]}") for d in (one.StudyDate, two.StudyDate)]
    assert days[1] - days[0] == np.timedelta64(60, "D")
    assert one.StudyDate == one.ContentDate == one.AcquisitionDateTime
    assert one.StudyDate not in (dates[0], other.StudyDate)


def test_description_gives_the_scale_and_only_what_was_calibrated() -> None:
    told = describe(written(slide()))
    assert (told.modality, told.frames, told.rows, told.columns) == ("SM", FRAMES, ROWS, COLUMNS)
    assert (told.patient, told.study) == ("PATIENT-4711", "1.2.3.4.5")
    assert told.mpp == pytest.approx(0.25)
    plain = slide()
    del plain.SharedFunctionalGroupsSequence
    assert describe(written(plain)).mpp is None


def test_limits_are_asked_before_anything_is_decoded() -> None:
    with pytest.raises(CannotRecreate, match="too_large"):
        next(read_frames(written(slide()), Limits(max_pixels=ROWS * COLUMNS - 1)))
    with pytest.raises(CannotRecreate, match="too_large"):
        recreate_dicom(written(slide()), IDENTITY, None, Limits(max_frames=1))
