"""The closed list: every attribute of a new file, and what it may say.  Whatever is not here is left behind.

Source: PS3.3 (Image Pixel, General Image, VL Whole Slide Microscopy Image, Optical Path, Multi-frame Functional
Groups), PS3.16 context groups 8121 to 8123 for the codes.  Only what pixels need to be read and measured, plus
what must stay consistent between files: pseudonym, UIDs, shifted days.
"""

from __future__ import annotations

from types import MappingProxyType

from cytoline.deid.dicom.rules import (
    Age,
    ClassUid,
    Codes,
    Day,
    Items,
    NewUid,
    Numbers,
    Pointers,
    Renumbered,
    Rule,
    Terms,
)


def _terms(words: str, most: int = 1, leading: bool = False) -> Terms:
    return Terms(frozenset(words.split()), most, leading)


LENGTH = Numbers(0, 1e6)
"""Millimetres."""
PLACE = Numbers(-1e6, 1e6)
PIXEL = Numbers(-(10**8), 10**8)
"""A column or row of the whole slide."""
SMALL = Numbers(0, 99_999)
COUNT = Numbers(0, 10**8)
VALUE = Numbers(-1e9, 1e9)
COSINES = Numbers(-1, 1, 6, 6)
SPACING = Numbers(1e-9, 1e4, 2, 2)

SLIDE_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.77.1.6"})
"""VL Whole Slide Microscopy Image Storage."""
SLIDE_LABELS = frozenset({"LABEL", "OVERVIEW", "THUMBNAIL"})

_IMAGE_TYPES = "ORIGINAL DERIVED PRIMARY SECONDARY VOLUME NONE RESAMPLED AXIAL LOCALIZER OTHER MIXED"

_ILLUMINATION = Codes(
    MappingProxyType({
        ("DCM", "111741"): "Transmission illumination",
        ("DCM", "111742"): "Reflection illumination",
        ("DCM", "111743"): "Epifluorescence illumination",
        ("DCM", "111744"): "Brightfield illumination",
        ("DCM", "111745"): "Darkfield illumination",
        ("DCM", "111746"): "Oblique illumination",
        ("DCM", "111747"): "Phase contrast illumination",
        ("DCM", "111748"): "Differential interference contrast",
        ("DCM", "111749"): "Total internal reflection fluorescence",
    })
)  # fmt: skip
_LIGHT = Codes(
    MappingProxyType({
        ("SCT", "414298005"): "Full Spectrum",
        ("SCT", "371240000"): "Red",
        ("SCT", "371246006"): "Green",
        ("SCT", "405738005"): "Blue",
        ("SCT", "414497003"): "Infrared",
        ("SCT", "415770004"): "Ultraviolet",
    })
)  # fmt: skip
_LENSES = Codes(
    MappingProxyType({
        ("SCT", "445601002"): "Slide overview lens",
        ("SCT", "445622008"): "Oil immersion lens",
        ("SCT", "445621001"): "High power non-immersion lens",
    })
)  # fmt: skip

_AXES = frozenset({0x0048021E, 0x0048021F, 0x0040072A, 0x0040073A, 0x0040074A, 0x00480106, 0x00200032, 0x00209057})
"""What a dimension may count along: positions, optical paths, places in a stack."""
_AXIS_GROUPS = frozenset({0x0048021A, 0x00480207, 0x00209111, 0x00209113})

_INSTANCE: dict[str, Rule] = {"ReferencedSOPClassUID": ClassUid(), "ReferencedSOPInstanceUID": NewUid()}
_TRANSFORMATION: dict[str, Rule] = {
    "RescaleIntercept": VALUE,
    "RescaleSlope": VALUE,
    "RescaleType": _terms("US HU OD"),
}
_WINDOW: dict[str, Rule] = {
    "WindowCenter": Numbers(-1e9, 1e9, 1, 8),
    "WindowWidth": Numbers(-1e9, 1e9, 1, 8),
    "VOILUTFunction": _terms("LINEAR LINEAR_EXACT SIGMOID"),
}
_MEASURES: dict[str, Rule] = {
    "PixelSpacing": SPACING,
    "SliceThickness": LENGTH,
    "SpacingBetweenSlices": PLACE,
}
_SLIDE_OFFSETS: dict[str, Rule] = {
    "XOffsetInSlideCoordinateSystem": PLACE,
    "YOffsetInSlideCoordinateSystem": PLACE,
}

_GROUPS: dict[str, Rule] = {
    "PixelMeasuresSequence": Items(_MEASURES),
    "PlanePositionSlideSequence": Items({
        **_SLIDE_OFFSETS,
        "ZOffsetInSlideCoordinateSystem": PLACE,
        "ColumnPositionInTotalImagePixelMatrix": PIXEL,
        "RowPositionInTotalImagePixelMatrix": PIXEL,
    }),
    "PlanePositionSequence": Items({"ImagePositionPatient": Numbers(-1e6, 1e6, 3, 3)}),
    "PlaneOrientationSequence": Items({"ImageOrientationPatient": COSINES}),
    "OpticalPathIdentificationSequence": Items({"OpticalPathIdentifier": Renumbered()}),
    "WholeSlideMicroscopyImageFrameTypeSequence": Items({"FrameType": _terms(_IMAGE_TYPES, 4, leading=True)}),
    "FrameContentSequence": Items({"DimensionIndexValues": Numbers(1, 10**8, 1, 8)}),
    "PixelValueTransformationSequence": Items(_TRANSFORMATION),
    "FrameVOILUTSequence": Items(_WINDOW),
}  # fmt: skip

_OPTICAL_PATH: dict[str, Rule] = {
    "OpticalPathIdentifier": Renumbered(),
    "IlluminationTypeCodeSequence": _ILLUMINATION,
    "IlluminationColorCodeSequence": _LIGHT,
    "IlluminationWaveLength": Numbers(1, 1e5),
    "LensesCodeSequence": _LENSES,
    "CondenserLensPower": Numbers(0, 1000),
    "ObjectiveLensPower": Numbers(0, 1000),
    "ObjectiveLensNumericalAperture": Numbers(0, 10),
}

_PERSON: dict[str, Rule] = {
    "PatientSex": _terms("M F O"),
    "PatientAge": Age(),
    "StudyDate": Day(),
    "SeriesDate": Day(),
    "AcquisitionDate": Day(),
    "ContentDate": Day(),
    "AcquisitionDateTime": Day(),
}
_THINGS: dict[str, Rule] = {
    "SOPClassUID": ClassUid(),
    "SOPInstanceUID": NewUid(),
    "StudyInstanceUID": NewUid(),
    "SeriesInstanceUID": NewUid(),
    "FrameOfReferenceUID": NewUid(),
    "ConcatenationUID": NewUid(),
    "SOPInstanceUIDOfConcatenationSource": NewUid(),
    "PyramidUID": NewUid(),
    "AcquisitionUID": NewUid(),
    "SeriesNumber": SMALL,
    "AcquisitionNumber": SMALL,
    "InstanceNumber": SMALL,
    "InConcatenationNumber": SMALL,
    "InConcatenationTotalNumber": SMALL,
    "ConcatenationFrameOffsetNumber": COUNT,
    "ReferencedImageSequence": Items(_INSTANCE),
    "SourceImageSequence": Items(_INSTANCE),
    "ReferencedSeriesSequence": Items({
        "SeriesInstanceUID": NewUid(),
        "ReferencedInstanceSequence": Items(_INSTANCE),
    }),
}  # fmt: skip
_IMAGE: dict[str, Rule] = {
    "ImageType": _terms(_IMAGE_TYPES, 4, leading=True),
    "Modality": _terms("SM GM XC OT US CT MR CR DX NM ES OP PT XA MG"),
    "VolumetricProperties": _terms("VOLUME SAMPLED DISTORTED MIXED"),
    "PatientOrientation": _terms("A P L R H F AL AR PL PR HL HR FL FR AH AF PH PF LA LP RA RP LH LF RH RF", 2),
    "PositionReferenceIndicator": _terms("SLIDE_CORNER"),
    "ImagePositionPatient": Numbers(-1e6, 1e6, 3, 3),
    "ImageOrientationPatient": COSINES,
    "ImageOrientationSlide": COSINES,
    "PixelAspectRatio": Numbers(1, 99_999, 2, 2),
    **_MEASURES,
    "ImagerPixelSpacing": SPACING,
    "PixelSpacingCalibrationType": _terms("GEOMETRY FIDUCIAL"),
    **_TRANSFORMATION,
    **_WINDOW,
    "PresentationLUTShape": _terms("IDENTITY INVERSE"),
    "ColorSpace": _terms("SRGB ADOBERGB ROMMRGB"),
    "LossyImageCompression": _terms("00 01"),
    "LossyImageCompressionRatio": Numbers(0, 10_000, 1, 8),
    "LossyImageCompressionMethod": _terms("ISO_10918_1 ISO_14495_1 ISO_15444_1 ISO_13818_2 ISO_14496_10", 8),
}
_SLIDE: dict[str, Rule] = {
    "ImagedVolumeWidth": LENGTH,
    "ImagedVolumeHeight": LENGTH,
    "ImagedVolumeDepth": LENGTH,
    "TotalPixelMatrixColumns": COUNT,
    "TotalPixelMatrixRows": COUNT,
    "TotalPixelMatrixFocalPlanes": SMALL,
    "TotalPixelMatrixOriginSequence": Items(_SLIDE_OFFSETS),
    "SpecimenLabelInImage": _terms("NO"),
    "FocusMethod": _terms("AUTO MANUAL"),
    "ExtendedDepthOfField": _terms("YES NO"),
    "NumberOfFocalPlanes": SMALL,
    "DistanceBetweenFocalPlanes": LENGTH,
    "RecommendedAbsentPixelCIELabValue": Numbers(0, 65_535, 3, 3),
    "NumberOfOpticalPaths": SMALL,
    "OpticalPathSequence": Items(_OPTICAL_PATH),
    "DimensionOrganizationType": _terms("3D 3D_TEMPORAL TILED_FULL TILED_SPARSE"),
    "DimensionOrganizationSequence": Items({"DimensionOrganizationUID": NewUid()}),
    "DimensionIndexSequence": Items({
        "DimensionOrganizationUID": NewUid(),
        "DimensionIndexPointer": Pointers(_AXES),
        "FunctionalGroupPointer": Pointers(_AXIS_GROUPS),
    }),
    "SharedFunctionalGroupsSequence": Items(_GROUPS, positional=True),
    "PerFrameFunctionalGroupsSequence": Items(_GROUPS, positional=True),
}  # fmt: skip

KEPT: dict[str, Rule] = {**_PERSON, **_THINGS, **_IMAGE, **_SLIDE}
"""By keyword.  The attributes that describe the pixels themselves are written from what was decoded (``header``)."""

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_ENDS = "77.1.1 77.1.2 77.1.3 77.1.4 77.1.5.1 77.1.6 7 7.2 7.3 7.4 1 1.1 1.1.1 1.2 1.2.1 2 2.1 4 4.1 6.1 3.1 20 128"
IMAGE_CLASSES = frozenset(_STORAGE + end for end in _ENDS.split())
"""Microscopy and photographs, secondary capture, and what radiology makes."""
