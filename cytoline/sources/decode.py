"""The verdict on one image file: readable, how large, which bytes.  Runs in worker processes and is memoised."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from cytoline.images import UnreadableImage, probe, read_image

SUFFIX = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif", "BMP": ".bmp", "WEBP": ".webp", "HEIF": ".heic"}
"""The real format decides the suffix, whatever the file was called."""

VERDICT = "verdict.json"


class DecodeLimits(BaseModel):
    """What may be decoded."""

    model_config = ConfigDict(frozen=True)

    max_pixels: int


def judge(path: Path, limits: DecodeLimits) -> dict[str, bytes]:
    """Decode the whole image once.  A JSON object with size, suffix and sha256, or with reason and detail."""
    content = path.read_bytes()
    try:
        width, height, kind = probe(content, limits.max_pixels)
        read_image(content, limits.max_pixels)
    except UnreadableImage as error:
        return _json({"reason": error.reason, "detail": error.detail})
    digest = hashlib.sha256(content).hexdigest()
    return _json({"width": width, "height": height, "suffix": SUFFIX[kind], "sha256": digest})


def _json(verdict: dict[str, object]) -> dict[str, bytes]:
    return {VERDICT: json.dumps(verdict, sort_keys=True).encode()}
