"""Independent parsers that account for every byte of a file: what is no pixel must be on a closed list.

They share no code with the modules that write files, so a mistake there is not repeated here.  An empty list of
findings means that each byte belongs to the pixels or to a listed structural field whose value is of the allowed kind;
what a format lets nobody prove is named in the docstring of its module.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from cytoline.deid.accounting import bmp, jpeg, png, tiff, webp
from cytoline.deid.accounting.jpeg import Budget
from cytoline.deid.accounting.source import Source
from cytoline.deid.finding import Finding

WALK_BYTES = 1 << 32
"""Bytes of JPEG scans that are walked (25 MB a second, 1 of progressive ones); what is beyond is ``unsupported``."""

_DICOM = "cytoline.deid.accounting.dicom"


def account(content: Source, walk_bytes: int = WALK_BYTES) -> list[Finding]:
    """Everything in a file that must not be there, each kind once; empty if every byte is accounted for."""
    if content[128:132] == b"DICM":
        found = _dicom(content)
        if any(content[:128]) and Finding("dicom:preamble", "unused") not in found:
            found = [*found, Finding("dicom:preamble", "unused")]
    elif content[:2] == b"\xff\xd8":
        found = jpeg.findings(content, budget=Budget(walk_bytes))
    elif content[:8] == png.SIGNATURE:
        found = png.findings(content)
    elif content[:4] in tiff.SIGNATURES:
        found = tiff.findings(content, Budget(walk_bytes))
    elif content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        found = webp.findings(content)
    elif content[:2] == b"BM":
        found = bmp.findings(content)
    else:
        found = [Finding("file", "unsupported")]
    return sorted(set(found))


def _dicom(content: Source) -> list[Finding]:
    if find_spec(_DICOM) is None:
        return [Finding("dicom", "unsupported")]
    found: list[Finding] = import_module(_DICOM).findings(content)
    return found
