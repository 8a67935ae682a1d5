"""DICOM files to mutate: one frame in every coding that is read, several frames, tiles of a slide; canaries at depth.

Source: PS3.3 (VL Whole Slide Microscopy Image), PS3.5 A.4 (encapsulated pixel data).
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from benchmarks.deid.canary import Canary
from benchmarks.deid.dicom_bytes import dataset, saved
from benchmarks.deid.ground import swatch
from benchmarks.deid.jpeg_bytes import coded
from benchmarks.deid.place import Make
from cytoline.images import RGB

WSI = UID("1.2.840.10008.5.1.4.1.1.77.1.6")
FRAMES = 3
_Change = Callable[[FileDataset, Canary], None]


def single() -> dict[str, Make]:
    """Codings that no hiding place has."""
    return {
        "rle": _made(_rle),
        "jpeg-2000": _made(_jpeg_2000),
        "grey-16": _made(_grey),
        "palette": _made(_palette),
    }


def multi_frame() -> dict[str, Make]:
    """Three frames."""
    return {name: _made(_frames, *changes) for name, changes in _CODINGS.items()}


def slides() -> dict[str, Make]:
    """Three tiles of a slide with the sequences that scanners write."""
    return {name: _made(_frames, _slide, *changes) for name, changes in _CODINGS.items()}


def _made(*changes: _Change) -> Make:
    def make(canary: Canary) -> bytes:
        ds = dataset(canary.token)
        _name(ds, canary)
        for change in changes:
            change(ds, canary)
        return saved(ds)

    return make


def _name(ds: FileDataset, canary: Canary) -> None:
    """Words where files have them, each of a canary's shapes."""
    ds.PatientName, ds.PatientID, ds.AccessionNumber = canary.name, canary.token, canary.accession
    ds.ImageComments = canary.text
    ds.private_block(0x0009, "BENCH 1.0", create=True).add_new(0x10, "LT", canary.text)
    ds.RequestAttributesSequence = Sequence([_item(RequestedProcedureDescription=canary.token)])


def _item(**values: object) -> Dataset:
    out = Dataset()
    for keyword, value in values.items():
        setattr(out, keyword, value)
    return out


def _pictures(canary: Canary) -> list[RGB]:
    return [np.roll(swatch(canary.token), 16 * number, axis=1) for number in range(FRAMES)]


def _frames(ds: FileDataset, canary: Canary) -> None:
    ds.NumberOfFrames = FRAMES
    ds.PixelData = b"".join(rgb.tobytes() for rgb in _pictures(canary))


def _coded(ds: FileDataset, frames: list[bytes], syntax: UID, photometric: str) -> None:
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PhotometricInterpretation = photometric
    ds.PixelData = encapsulate(frames)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True


def _jpegs(ds: FileDataset, canary: Canary) -> None:
    _coded(ds, [coded(rgb) for rgb in _pictures(canary)], JPEGBaseline8Bit, "YBR_FULL_422")


def _jpeg_2000(ds: FileDataset, canary: Canary) -> None:
    pictures = _pictures(canary)[: ds.get("NumberOfFrames", 1)]
    _coded(ds, [_codestream(rgb) for rgb in pictures], JPEG2000Lossless, "YBR_RCT")


def _codestream(rgb: RGB) -> bytes:
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "JPEG2000", no_jp2=True, irreversible=False, mct=1)
    return out.getvalue()


def _rle(ds: FileDataset, _: Canary) -> None:
    ds.compress(RLELossless, generate_instance_uid=False)


def _grey(ds: FileDataset, canary: Canary) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    del ds.PlanarConfiguration
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PixelData = (swatch(canary.token)[:, :, 1].astype("<u2") * 16).tobytes()


def _palette(ds: FileDataset, canary: Canary) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "PALETTE COLOR"
    del ds.PlanarConfiguration
    for number, colour in enumerate(("Red", "Green", "Blue")):
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        table = (np.arange(256, dtype="<u2") * (257 - number)).tobytes()
        setattr(ds, f"{colour}PaletteColorLookupTableData", table)
    ds.PixelData = swatch(canary.token)[:, :, 1].tobytes()


def _slide(ds: FileDataset, canary: Canary) -> None:
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = WSI
    ds.Modality, ds.ImageType = "SM", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.ContainerIdentifier, ds.BarcodeValue, ds.LabelText = canary.accession, canary.token, canary.text
    ds.TotalPixelMatrixColumns, ds.TotalPixelMatrixRows = ds.Columns * FRAMES, ds.Rows
    ds.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    ds.SpecimenLabelInImage, ds.DimensionOrganizationType = "NO", "TILED_SPARSE"
    ds.ImagedVolumeWidth = 12.5
    ds.TotalPixelMatrixOriginSequence = Sequence([_item(XOffsetInSlideCoordinateSystem=20.5)])
    specimen = _item(SpecimenIdentifier=canary.token, SpecimenUID=canary.uid)
    specimen.SpecimenPreparationSequence = Sequence([_item(SpecimenPreparationStepContentItemSequence=Sequence(
        [_item(ValueType="TEXT", TextValue=canary.text)]
    ))])  # fmt: skip
    ds.SpecimenDescriptionSequence = Sequence([specimen])
    path = _item(OpticalPathIdentifier="A", ObjectiveLensPower=40, OpticalPathDescription=canary.token)
    ds.OpticalPathSequence = Sequence([path])
    measures = _item(PixelSpacing=[0.00025, 0.00025], SliceThickness=0.001)
    ds.SharedFunctionalGroupsSequence = Sequence([_item(PixelMeasuresSequence=Sequence([measures]))])
    ds.PerFrameFunctionalGroupsSequence = Sequence([_place(ds, number) for number in range(FRAMES)])
    ds.DimensionOrganizationSequence = Sequence([_item(DimensionOrganizationUID=canary.uid)])


def _place(ds: FileDataset, number: int) -> Dataset:
    left = 1 + ds.Columns * number
    place = _item(ColumnPositionInTotalImagePixelMatrix=left, RowPositionInTotalImagePixelMatrix=1)
    return _item(
        PlanePositionSlideSequence=Sequence([place]),
        FrameContentSequence=Sequence([_item(DimensionIndexValues=[number + 1, 1])]),
        OpticalPathIdentificationSequence=Sequence([_item(OpticalPathIdentifier="A")]),
    )


_CODINGS: dict[str, tuple[_Change, ...]] = {"native": (), "jpeg": (_jpegs,), "rle": (_rle,), "jpeg-2000": (_jpeg_2000,)}
