"""A new dataset out of an old one: only what the closed list names, at every depth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from cytoline.deid.dicom.kept import IMAGE_CLASSES, KEPT, SLIDE_CLASSES, SLIDE_LABELS
from cytoline.deid.dicom.refusal import CannotRecreate
from cytoline.deid.dicom.rules import Codes, Items, Replacements, Rule, plain

_EMPTY = (
    "StudyTime",
    "ContentTime",
    "AccessionNumber",
    "Manufacturer",
    "ReferringPhysicianName",
    "PatientBirthDate",
    "StudyID",
)
"""The standard wants these to be there; it allows them to be empty (type 2)."""
_EMPTY_IF_DROPPED = ("StudyDate", "PatientSex", "SeriesNumber", "InstanceNumber")

_METHOD = "DICOM PS3.15 E.1 Basic Profile; attributes kept by exception"
_PROFILE = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
)
_CLEAN_PIXELS = ("113101", "Clean Pixel Data Option")


def patient_of(header: Dataset) -> str:
    """What tells persons apart: the patient's id, or, where there is none, the name, or the study."""
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "SOPInstanceUID"):
        text = str(_value(header, keyword) or "").strip(" \0")
        if text.strip("^ "):
            return text
    raise CannotRecreate("damaged")


def refuse_other_kinds(header: Dataset) -> None:
    """Only images, and of slides only the tissue: a label is an identifier, and words are not cleaned here."""
    sop_class = str(_value(header, "SOPClassUID") or "")
    if sop_class not in IMAGE_CLASSES:
        raise CannotRecreate("no_image")
    kinds = _words(header, "ImageType")
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in _value(header, name) or ():
            for item in _value(group, "WholeSlideMicroscopyImageFrameTypeSequence") or ():
                kinds += _words(item, "FrameType")
    if SLIDE_LABELS & set(kinds) or _words(header, "SpecimenLabelInImage") not in ([], ["NO"]):
        raise CannotRecreate("slide_label")
    if sop_class in SLIDE_CLASSES and "VOLUME" not in kinds[2:3]:
        raise CannotRecreate("slide_label")


def rebuilt(header: Dataset, new: Replacements) -> Dataset:
    """The new header, without what describes the pixels."""
    out = _rebuilt(header, KEPT, new)
    for keyword in _EMPTY:
        _put(out, keyword, None)
    for keyword in _EMPTY_IF_DROPPED:
        if keyword not in out:
            _put(out, keyword, None)
    pseudonym = new.identity.pseudonym("patient", new.patient)
    _put(out, "PatientID", pseudonym)
    _put(out, "PatientName", pseudonym)
    if any(keyword not in out for keyword in ("SOPClassUID", "SOPInstanceUID")):
        raise CannotRecreate("damaged")
    refuse_other_kinds(out)  # a term that is not known is left out, and without it the file could not be read again
    return out


def stamp(out: Dataset, looked: bool) -> None:
    """Say what was done, in the standard's own attributes.  Pixels nobody looked at are not called clean."""
    _put(out, "PatientIdentityRemoved", "YES")
    _put(out, "DeidentificationMethod", _METHOD)
    codes = [*_PROFILE, *([_CLEAN_PIXELS] if looked else [])]
    items = [_code("DCM", value, meaning) for value, meaning in sorted(codes)]
    _put(out, "DeidentificationMethodCodeSequence", Sequence(items))
    _put(out, "LongitudinalTemporalInformationModified", "MODIFIED")
    if looked:
        _put(out, "BurnedInAnnotation", "NO")


def put(out: Dataset, keyword: str, value: Any, vr: str | None = None) -> None:
    """Set an attribute under the VR that the standard gives it."""
    _put(out, keyword, value, vr)


def _rebuilt(source: Dataset, rules: Mapping[str, Rule], new: Replacements) -> Dataset:
    out = Dataset()
    for keyword, rule in rules.items():
        value = _value(source, keyword)
        if isinstance(rule, Items):
            made = _items(value, rule, new)
        elif isinstance(rule, Codes):
            made = _coded(value, rule)
        else:
            made = _plain(dictionary_VR(keyword), value, rule, new)
        if made is not None:
            _put(out, keyword, made)
    return out


def _plain(vr: str, value: Any, rule: Rule, new: Replacements) -> Any:
    try:
        return plain(vr, value, rule, new)
    except Exception:  # a hostile value can be of any type and break any comparison; it is left out
        return None


def _items(value: Any, rule: Items, new: Replacements) -> Sequence | None:
    if not isinstance(value, Sequence):
        return None
    items = [_rebuilt(item, rule.rules, new) for item in value]
    items = [item for item in items if rule.positional or len(item)]
    return Sequence(items) if any(len(item) for item in items) else None


def _coded(value: Any, rule: Codes) -> Sequence | None:
    if not isinstance(value, Sequence) or len(value) != 1:
        return None
    scheme, code = (_text(value[0], keyword) for keyword in ("CodingSchemeDesignator", "CodeValue"))
    meaning = rule.allowed.get((scheme, code))
    return None if meaning is None else Sequence([_code(scheme, code, meaning)])


def _code(scheme: str, value: str, meaning: str) -> Dataset:
    out = Dataset()
    _put(out, "CodeValue", value)
    _put(out, "CodingSchemeDesignator", scheme)
    _put(out, "CodeMeaning", meaning)
    return out


def _put(out: Dataset, keyword: str, value: Any, vr: str | None = None) -> None:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    out.add_new(tag, vr or dictionary_VR(tag), value)


def _value(source: Dataset, keyword: str) -> Any:
    """What the reader makes of an attribute; None where it is absent or cannot be read."""
    try:
        return source[keyword].value if keyword in source else None
    except Exception:
        return None


def _words(source: Dataset, keyword: str) -> list[str]:
    value = _value(source, keyword)
    given = [value] if isinstance(value, str) else list(value or ())
    return [str(word).strip(" \0").upper() for word in given if str(word).strip(" \0")]


def _text(source: Dataset, keyword: str) -> str:
    return str(_value(source, keyword) or "").strip(" \0")
