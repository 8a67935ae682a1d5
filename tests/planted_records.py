"""The record of an image as anonymize leaves it: codes only."""

from __future__ import annotations

from cytoline.manifest import Record


def coded_record(code: str, width: int, height: int) -> Record:
    """One picture, one slide and one patient under the same ``code``, without annotations."""
    return Record(
        image_id=code,
        file=f"{code}.png",
        sha256="0" * 64,
        width=width,
        height=height,
        mpp=None,
        patient=code,
        slide=code,
        source="clinic",
        organ="cervix",
        stain="",
        role="field",
    )
