"""Barcodes planted in stained fields: read where they can be read, reported where they cannot, nothing elsewhere."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import zxingcpp
from numpy.typing import NDArray

from cytoline.deid.codes import find_codes
from cytoline.deid.painting import mask_of
from cytoline.images import RGB, read_image
from cytoline.phantom.field import render_field
from cytoline.phantom.plan import plan_fields
from cytoline.phantom.spec import PhantomSpec

SIZE = 500
SHARED = Path("../shared/data")
KINDS = ("QRCode", "DataMatrix", "Code128", "Code39", "PDF417", "Aztec")
LINEAR = ("Code128", "Code39")


def ground() -> RGB:
    """Even tissue with grain."""
    rng = np.random.default_rng(0)
    return np.asarray(np.clip(rng.normal((205, 160, 195), 6, (SIZE, SIZE, 3)), 0, 255), np.uint8)


def label(kind: str, module: int) -> NDArray[np.uint8]:
    """A paper label with one code."""
    code = zxingcpp.create_barcode("A24-1183", getattr(zxingcpp.BarcodeFormat, kind))
    pixels = np.array(code.to_image(scale=1, add_quiet_zones=True))
    tall = 60 // module if kind in LINEAR else pixels.shape[0]
    pixels = np.repeat(pixels[:1], tall, axis=0) if kind in LINEAR else pixels
    return np.pad(np.kron(pixels, np.ones((module, module), np.uint8)), 8, constant_values=255)


def planted(kind: str, module: int, angle: float, blur: float) -> tuple[RGB, NDArray[np.bool_]]:
    """A field with the label on it, and where it is."""
    field, paper = ground(), label(kind, module)
    height, width = paper.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1)
    turn[:, 2] += SIZE / 2 - width / 2, SIZE / 2 - height / 2
    laid = cv2.warpAffine(paper, turn, (SIZE, SIZE), borderValue=0)
    there = cv2.warpAffine(np.full_like(paper, 255), turn, (SIZE, SIZE), borderValue=0)
    if blur:
        laid = cv2.GaussianBlur(laid, (0, 0), blur)
    share = there[..., None] / 255
    return np.rint(field * (1 - share) + laid[..., None] * share).astype(np.uint8), there > 0


@pytest.mark.parametrize("angle", [0, 15, 45, 90])
@pytest.mark.parametrize("kind", KINDS)
def test_a_sharp_code_is_covered_at_any_angle(kind: str, angle: float) -> None:
    picture, there = planted(kind, 3, angle, 0)
    found = find_codes(picture)
    assert found.read
    assert not found.unread
    dark = there & (picture.max(axis=2) < 90)
    mask = mask_of(found.read, (SIZE, SIZE), 6) > 0
    assert dark[mask].sum() >= 0.99 * dark.sum()


@pytest.mark.parametrize("angle", [0, 45])
@pytest.mark.parametrize("module", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_blurred_code_is_read_or_reported(kind: str, module: int, angle: float) -> None:
    picture, there = planted(kind, module, angle, 2.5)
    found = find_codes(picture)
    places = found.read + found.unread
    assert places
    mask = mask_of(places, (SIZE, SIZE), 0) > 0
    assert there[SIZE // 2, SIZE // 2]
    assert mask[SIZE // 2, SIZE // 2]


def test_fields_without_codes_raise_no_alarm() -> None:
    spec = PhantomSpec(
        seed=5,
        patients=12,
        slides_per_patient=1,
        fields_per_slide=1,
        cells_min=8,
        cells_max=16,
        burned_in=0,
        problems=(),
    )
    for plan in plan_fields(spec):
        found = find_codes(render_field(spec, plan).image)
        assert found.read + found.unread == ()


@pytest.mark.parametrize("kind", ["bccd/JPEGImages", "cric_fields"])
def test_real_fields_raise_no_alarm(kind: str) -> None:
    folder = SHARED / kind
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    for file in sorted(folder.glob("*.[jp][pn]g"))[::12]:
        found = find_codes(read_image(file))
        assert found.read + found.unread == ()


COLOURED = {
    "white on blue": ((255, 255, 255), (30, 70, 180)),
    "grey on grey": ((150, 150, 150), (175, 175, 175)),
}


def coloured(kind: str, ink: tuple[int, int, int], paper: tuple[int, int, int]) -> RGB:
    """A field with a label of two colours in its middle."""
    field = ground()
    code = label(kind, 3)[..., None] / 255
    top, left = (SIZE - code.shape[0]) // 2, (SIZE - code.shape[1]) // 2
    field[top : top + code.shape[0], left : left + code.shape[1]] = np.rint(
        code * np.array(paper) + (1 - code) * np.array(ink)
    )
    return field


@pytest.mark.parametrize(
    ("kind", "colours"),
    [
        ("Code128", "white on blue"),
        ("Code39", "white on blue"),
        ("PDF417", "white on blue"),
        ("Code39", "grey on grey"),
    ],
)
def test_a_code_in_other_colours_is_found(kind: str, colours: str) -> None:
    found = find_codes(coloured(kind, *COLOURED[colours]))
    mask = mask_of(found.read + found.unread, (SIZE, SIZE), 0)
    assert mask[SIZE // 2, SIZE // 2]


def tissue() -> RGB:
    """A large field that rises and falls gently, with little grain."""
    rng = np.random.default_rng(0)
    down, across = np.sin(np.arange(601) / 40), np.sin(np.arange(901) / 40)
    even = np.array((205, 160, 195)) + 15 * (down[:, None] + across[None, :])[..., None]
    return np.asarray(np.clip(even + rng.normal(0, 1, even.shape), 0, 255), np.uint8)


def weak(kind: str, value: str, module: int, blur: float) -> tuple[RGB, NDArray[np.bool_]]:
    """Near a corner of the field: bars that are paper, on blue; or modules 25 grey levels darker than the tissue."""
    code = zxingcpp.create_barcode(value, getattr(zxingcpp.BarcodeFormat, kind))
    pixels = np.array(code.to_image(scale=1, add_quiet_zones=False))
    pixels = np.repeat(pixels[:1], 16, axis=0) if kind == "ITF" else pixels
    large, rim = np.kron(pixels, np.ones((module, module), np.uint8)), 10 * module
    light = np.pad(large, rim, constant_values=255)[..., None] / 255
    height, width = light.shape[:2]
    field = tissue().astype(np.float64)
    top, left = field.shape[0] - height - 7, field.shape[1] - width - 13
    place = field[top : top + height, left : left + width]
    blue = light * np.array((30, 70, 180)) + (1 - light) * 255
    place[:] = blue if kind == "ITF" else place - 25 * (1 - light)
    place[:] = cv2.GaussianBlur(place, (0, 0), blur)
    there = np.zeros(field.shape[:2], bool)
    there[top + rim : top + height - rim, left + rim : left + width - rim] = True
    return np.asarray(np.rint(np.clip(field, 0, 255)), np.uint8), there


@pytest.mark.parametrize(
    ("kind", "value", "module", "blur"), [("ITF", "118320", 6, 3.0), ("QRCode", "A24-1183/7", 4, 1.6)]
)
def test_a_weak_code_is_read_only_with_its_contrast_raised_and_is_covered(
    kind: str, value: str, module: int, blur: float
) -> None:
    picture, there = weak(kind, value, module, blur)
    assert not zxingcpp.read_barcodes(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    mask = mask_of(find_codes(picture).read, (picture.shape[1], picture.shape[0]), 0) > 0
    assert (mask & there).sum() >= 0.95 * mask.sum() > 0
    # Of bars a scanner knows the lines that it read, not how tall they are.
    assert mask[there.any(axis=1)].any(axis=0).sum() >= 0.95 * there.any(axis=0).sum()
