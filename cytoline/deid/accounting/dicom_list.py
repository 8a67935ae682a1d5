"""Every attribute that a de-identified DICOM file may hold, by tag, with its VR and a test of its value.

Source: PS3.6 (tags and VRs), PS3.15 Annex E (what may stay and what must be replaced), PS3.16 CID 8121 to 8123.
Written from the standard, not from the code that makes the files: a mistake there is to be seen here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cytoline.deid.accounting.dicom_values import (
    Test,
    age,
    anything,
    day,
    fixed,
    maybe,
    nothing,
    numbers,
    own_uid,
    pseudonym,
    storage_class,
    tags,
    words,
)


@dataclass(frozen=True)
class Entry:
    """A VR and a test; or, for a sequence, what its items may hold."""

    vr: str
    test: Test = anything
    items: Mapping[int, Entry] = field(default_factory=dict)
    codes: frozenset[tuple[str, str, str]] = frozenset()
    """Allowed codes of a code sequence: value, scheme, meaning."""


def _n(vr: str, low: float, high: float, least: int = 1, most: int = 1) -> Entry:
    return Entry(vr, numbers(vr, low, high, least, most))


def _w(listed: str, most: int = 1, vr: str = "CS") -> Entry:
    return Entry(vr, words(listed, most))


def _sq(items: Mapping[int, Entry]) -> Entry:
    return Entry("SQ", items=items)


def _coded(scheme: str, codes: Mapping[str, str]) -> Entry:
    listed = frozenset((value, scheme, meaning) for value, meaning in codes.items())
    items = {0x00080100: Entry("SH"), 0x00080102: Entry("SH"), 0x00080104: Entry("LO")}
    return Entry("SQ", items=items, codes=listed)


_UID, _CLASS, _DAY = Entry("UI", own_uid), Entry("UI", storage_class), Entry("DA", day)
_MM, _AT, _BIG = _n("DS", 0, 1e6), _n("DS", -1e6, 1e6), _n("DS", -1e9, 1e9)
_COSINES, _PAIR = _n("DS", -1, 1, 6, 6), _n("DS", 0, 1e4, 2, 2)
_KINDS = "ORIGINAL DERIVED PRIMARY SECONDARY VOLUME NONE RESAMPLED AXIAL LOCALIZER OTHER MIXED"

META: Mapping[int, Entry] = {
    0x00020000: _n("UL", 1, 1000),
    0x00020001: Entry("OB", lambda value: value == b"\x00\x01"),
    0x00020002: _CLASS,
    0x00020003: _UID,
    0x00020010: Entry("UI"),
    0x00020012: _UID,
}

_REFERENCE = {0x00081150: _CLASS, 0x00081155: _UID}
_RESCALE = {0x00281052: _BIG, 0x00281053: _BIG, 0x00281054: _w("US HU OD", vr="LO")}
_WINDOW = {
    0x00281050: _n("DS", -1e9, 1e9, 1, 8),
    0x00281051: _n("DS", -1e9, 1e9, 1, 8),
    0x00281056: _w("LINEAR LINEAR_EXACT SIGMOID"),
}
_MEASURES = {0x00280030: _PAIR, 0x00180050: _MM, 0x00180088: _AT}
_ORIGIN = {0x0040072A: _AT, 0x0040073A: _AT}

_GROUPS: Mapping[int, Entry] = {
    0x00289110: _sq(_MEASURES),
    0x0048021A: _sq({
        **_ORIGIN,
        0x0040074A: _AT,
        0x0048021E: _n("SL", -1e8, 1e8),
        0x0048021F: _n("SL", -1e8, 1e8),
    }),
    0x00209113: _sq({0x00200032: _n("DS", -1e6, 1e6, 3, 3)}),
    0x00209116: _sq({0x00200037: _COSINES}),
    0x00480207: _sq({0x00480106: Entry("SH", numbers("IS", 1, 9999))}),
    0x00400710: _sq({0x00089007: _w(_KINDS, 4)}),
    0x00209111: _sq({0x00209157: _n("UL", 1, 1e8, 1, 8)}),
    0x00289145: _sq(_RESCALE),
    0x00289132: _sq(_WINDOW),
}  # fmt: skip

_OPTICS: Mapping[int, Entry] = {
    0x00480106: Entry("SH", numbers("IS", 1, 9999)),
    0x00220016: _coded(
        "DCM",
        {
            "111741": "Transmission illumination",
            "111742": "Reflection illumination",
            "111743": "Epifluorescence illumination",
            "111744": "Brightfield illumination",
            "111745": "Darkfield illumination",
            "111746": "Oblique illumination",
            "111747": "Phase contrast illumination",
            "111748": "Differential interference contrast",
            "111749": "Total internal reflection fluorescence",
        },
    ),
    0x00480108: _coded(
        "SCT",
        {
            "414298005": "Full Spectrum",
            "371240000": "Red",
            "371246006": "Green",
            "405738005": "Blue",
            "414497003": "Infrared",
            "415770004": "Ultraviolet",
        },
    ),
    0x00220055: _n("FL", 1, 1e5),
    0x00220019: _coded(
        "SCT",
        {
            "445601002": "Slide overview lens",
            "445622008": "Oil immersion lens",
            "445621001": "High power non-immersion lens",
        },
    ),
    0x00480111: _n("DS", 0, 1000),
    0x00480112: _n("DS", 0, 1000),
    0x00480113: _n("DS", 0, 10),
}

DATASET: Mapping[int, Entry] = {
    0x00080008: _w(_KINDS, 4),
    0x00080016: _CLASS,
    0x00080017: _UID,
    0x00080018: _UID,
    0x00080019: _UID,
    0x00080020: _DAY,
    0x00080021: _DAY,
    0x00080022: _DAY,
    0x00080023: _DAY,
    0x0008002A: Entry("DT", day),
    0x00080030: Entry("TM", nothing),
    0x00080033: Entry("TM", nothing),
    0x00080050: Entry("SH", nothing),
    0x00080060: _w("SM GM XC OT US CT MR CR DX NM ES OP PT XA MG"),
    0x00080070: Entry("LO", nothing),
    0x00080090: Entry("PN", nothing),
    0x00081115: _sq({0x0020000E: _UID, 0x0008114A: _sq(_REFERENCE)}),
    0x00081140: _sq(_REFERENCE),
    0x00082112: _sq(_REFERENCE),
    0x00089206: _w("VOLUME SAMPLED DISTORTED MIXED"),
    0x00100010: Entry("PN", pseudonym),
    0x00100020: Entry("LO", pseudonym),
    0x00100030: Entry("DA", nothing),
    0x00100040: _w("M F O"),
    0x00101010: Entry("AS", age),
    0x00120062: Entry("CS", fixed("YES")),
    0x00120063: Entry("LO", fixed("DICOM PS3.15 E.1 Basic Profile; attributes kept by exception")),
    0x00120064: _coded(
        "DCM",
        {
            "113100": "Basic Application Confidentiality Profile",
            "113101": "Clean Pixel Data Option",
            "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
        },
    ),
    **_MEASURES,
    0x00181164: _PAIR,
    0x0020000D: _UID,
    0x0020000E: _UID,
    0x00200010: Entry("SH", nothing),
    0x00200011: Entry("IS", maybe(numbers("IS", 0, 99_999))),
    0x00200012: _n("IS", 0, 99_999),
    0x00200013: Entry("IS", maybe(numbers("IS", 0, 99_999))),
    0x00200020: _w("A P L R H F AL AR PL PR HL HR FL FR AH AF PH PF LA LP RA RP LH LF RH RF", 2),
    0x00200032: _n("DS", -1e6, 1e6, 3, 3),
    0x00200037: _COSINES,
    0x00200052: _UID,
    0x00200242: _UID,
    0x00201040: _w("SLIDE_CORNER", vr="LO"),
    0x00209161: _UID,
    0x00209162: _n("US", 0, 65_535),
    0x00209163: _n("US", 0, 65_535),
    0x00209221: _sq({0x00209164: _UID}),
    0x00209222: _sq({
        0x00209164: _UID,
        0x00209165: Entry(
            "AT",
            tags(0x0048021E, 0x0048021F, 0x0040072A, 0x0040073A, 0x0040074A, 0x00480106, 0x00200032, 0x00209057),
        ),
        0x00209167: Entry("AT", tags(0x0048021A, 0x00480207, 0x00209111, 0x00209113)),
    }),
    0x00209228: _n("UL", 0, 1e8),
    0x00209311: _w("3D 3D_TEMPORAL TILED_FULL TILED_SPARSE"),
    0x00280002: _n("US", 1, 3),
    0x00280004: Entry("CS"),
    0x00280006: _n("US", 0, 1),
    0x00280008: _n("IS", 1, 1e8),
    0x00280010: _n("US", 1, 65_535),
    0x00280011: _n("US", 1, 65_535),
    0x00280034: _n("IS", 1, 99_999, 2, 2),
    0x00280100: _n("US", 8, 16),
    0x00280101: _n("US", 1, 16),
    0x00280102: _n("US", 0, 15),
    0x00280103: _n("US", 0, 1),
    0x00280301: Entry("CS", fixed("NO")),
    0x00280303: Entry("CS", fixed("MODIFIED")),
    0x00280A02: _w("GEOMETRY FIDUCIAL"),
    **_RESCALE,
    **_WINDOW,
    0x00281101: _n("US", 0, 65_535, 3, 3),
    0x00281102: _n("US", 0, 65_535, 3, 3),
    0x00281103: _n("US", 0, 65_535, 3, 3),
    0x00281201: Entry("OW"),
    0x00281202: Entry("OW"),
    0x00281203: Entry("OW"),
    0x00282002: _w("SRGB ADOBERGB ROMMRGB"),
    0x00282110: _w("00 01"),
    0x00282112: _n("DS", 0, 10_000, 1, 8),
    0x00282114: _w("ISO_10918_1 ISO_14495_1 ISO_15444_1 ISO_13818_2 ISO_14496_10", 8),
    0x00480001: _n("FL", 0, 1e6),
    0x00480002: _n("FL", 0, 1e6),
    0x00480003: _n("FL", 0, 1e6),
    0x00480006: _n("UL", 0, 1e8),
    0x00480007: _n("UL", 0, 1e8),
    0x00480008: _sq(_ORIGIN),
    0x00480010: Entry("CS", fixed("NO")),
    0x00480011: _w("AUTO MANUAL"),
    0x00480012: _w("YES NO"),
    0x00480013: _n("US", 0, 65_535),
    0x00480014: _n("FL", 0, 1e6),
    0x00480015: _n("US", 0, 65_535, 3, 3),
    0x00480102: _COSINES,
    0x00480105: _sq(_OPTICS),
    0x00480302: _n("UL", 0, 99_999),
    0x00480303: _n("UL", 0, 99_999),
    0x20500020: _w("IDENTITY INVERSE"),
    0x52009229: _sq(_GROUPS),
    0x52009230: _sq(_GROUPS),
}  # fmt: skip
