"""The planted slide opens as one, and the secrets are really in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide
from PIL import Image
from planted_slides import SIZE, leaks, picture, planted_svs


def test_the_planted_slide_is_read_by_others_and_full_of_secrets(tmp_path: Path) -> None:
    for order, big in (("<", False), (">", False), ("<", True), (">", True)):
        path = tmp_path / f"planted{big}{ord(order)}.svs"
        path.write_bytes(planted_svs(order=order, big=big))
        if order == ">" and not big:  # which OpenSlide 4.0 does not open, whoever wrote it
            with Image.open(path) as image:
                seen = np.asarray(image.convert("RGB"), np.int16)
        else:
            with openslide.OpenSlide(path) as slide:
                seen = np.asarray(slide.read_region((0, 0), 0, SIZE).convert("RGB"), np.int16)
        assert seen.shape == (SIZE[1], SIZE[0], 3)
        assert np.abs(seen - picture()).mean() < 4
        assert leaks(path.read_bytes()) >= 7
