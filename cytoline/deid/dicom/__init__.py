"""DICOM files made anew without identifiers, and read for what the pipeline needs of them.

Source: PS3.15 Annex E, Basic Application Level Confidentiality Profile with the options Clean Pixel Data and Retain
Longitudinal Temporal Information with Modified Dates.  The attributes that stay are a closed list (``kept``); all
else is left behind at every depth.  The check of the result is ``cytoline.deid.accounting.dicom``, which shares no
code and no list with this package.
"""

from cytoline.deid.dicom.reading import Description, describe, read_frames
from cytoline.deid.dicom.recreate import Recreated, recreate_dicom
from cytoline.deid.dicom.refusal import CannotRecreate, Limits, Reason
from cytoline.deid.polygon import Look

__all__ = [
    "CannotRecreate",
    "Description",
    "Limits",
    "Look",
    "Reason",
    "Recreated",
    "describe",
    "read_frames",
    "recreate_dicom",
]
