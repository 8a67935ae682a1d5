"""Whose image it is: the ``patient_id`` and ``slide_id`` rules of a source."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping
from typing import Literal

from cytoline.sources.schema import COLUMN, EACH_FILE, SourceInfo


def apply_rule(
    rule: str, field: Literal["patient", "slide"], source: str, path: str, row: Mapping[str, str]
) -> str | None:
    """The identifier that ``rule`` finds for the image at ``path``, None where it finds nothing.

    ``each-file`` carries the source's name, because equal file names of two sources are two people;
    identifiers that were given do not, so that one patient's images from two sources stay together.

    All come with composed accents (NFC): file systems and tables spell one name in two ways, and a patient with two
    spellings would get two pseudonyms and could be on both sides of the split.
    """
    if rule == EACH_FILE:
        return _composed(f"{source}/{path}")
    if rule.startswith(COLUMN):
        return _composed(row.get(rule[len(COLUMN) :].strip(), "")).strip() or None
    match = re.search(_composed(rule), _composed(path))
    if match is None:
        return None
    found = match.groupdict().get(field, match.group(1))
    return _composed(found or "").strip() or None


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def identify(info: SourceInfo, source: str, path: str, row: Mapping[str, str]) -> tuple[str, str] | None:
    """Patient and slide, None where one of the rules finds nothing.  Without ``slide_id`` the patient is the slide."""
    patient = apply_rule(info.patient_id, "patient", source, path, row)
    slide = apply_rule(info.slide_id, "slide", source, path, row) if info.slide_id else patient
    return (patient, slide) if patient and slide else None


def rows_disagree(info: SourceInfo, rows: Collection[Mapping[str, str]]) -> bool:
    """Whether the rows of one image name different patients or slides; an empty cell contradicts nothing."""
    rules = [rule for rule in (info.patient_id, info.slide_id) if rule is not None and rule.startswith(COLUMN)]
    return any(len({apply_rule(rule, "patient", "", "", row) for row in rows} - {None}) > 1 for rule in rules)
