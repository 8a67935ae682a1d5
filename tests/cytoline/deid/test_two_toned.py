"""Which parts of a picture are scanned for codes: all of one with a code, nearly nothing of a field without."""

from __future__ import annotations

import numpy as np
import pytest
import zxingcpp
from numpy.typing import NDArray

from cytoline.deid.two_toned import Area, code_areas
from cytoline.images import RGB

SIDE = 600
COLOURS = {
    "black on white": ((8, 8, 10), (250, 249, 244)),
    "white on blue": ((255, 255, 255), (30, 70, 180)),
    "red on green of one brightness": ((200, 60, 50), (40, 160, 60)),
    "grey on grey": ((150, 150, 150), (175, 175, 175)),
}


def scanned(areas: list[Area]) -> NDArray[np.bool_]:
    covered = np.zeros((SIDE, SIDE), bool)
    for area in areas:
        covered[area] = True
    return covered


def slopes() -> RGB:
    """Tissue that rises and falls gently, with grain."""
    rng = np.random.default_rng(0)
    wave = 30 * np.sin(np.arange(SIDE) / 40)
    even = np.array((205, 160, 195)) + (wave[:, None] + wave[None, :])[..., None] / 2
    return np.asarray(np.clip(even + rng.normal(0, 1.5, even.shape), 0, 255), np.uint8)


@pytest.mark.parametrize("module", [2, 5, 9])
@pytest.mark.parametrize("colours", COLOURS)
@pytest.mark.parametrize("kind", ["QRCode", "DataMatrix", "Code128"])
def test_a_code_of_any_size_and_colour_is_scanned(kind: str, colours: str, module: int) -> None:
    code = zxingcpp.create_barcode("A24-1183", getattr(zxingcpp.BarcodeFormat, kind))
    pixels = np.array(code.to_image(scale=1, add_quiet_zones=True)) > 0
    pixels = np.repeat(pixels[:1], 8, axis=0) if kind == "Code128" else pixels
    if pixels.shape[1] * module > SIDE - 40:
        pytest.skip("larger than the picture")
    ink, paper = COLOURS[colours]
    large = np.kron(pixels, np.ones((module, module), bool))[..., None]
    field, (height, width) = slopes(), large.shape[:2]
    field[20 : 20 + height, 20 : 20 + width] = np.where(large, paper, ink)
    assert scanned(code_areas(field))[20 : 20 + height, 20 : 20 + width].all()


def test_tissue_without_codes_is_not_scanned() -> None:
    assert code_areas(slopes()) == []


def test_small_pictures_are_scanned_as_a_whole() -> None:
    assert code_areas(slopes()[:120, :100].copy()) == [(slice(0, 120), slice(0, 100))]
