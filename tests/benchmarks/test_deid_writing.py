"""Words and barcodes: the answers are the pixels that changed, contrasts are as stated, nothing depends on chance."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from benchmarks.deid import barcodes, writing
from benchmarks.deid.ground import FIELD_SIZE, purple_field
from benchmarks.deid.writing import CONDITIONS, Condition, covered, hidden, page

SIZE = (1000, 640)
SEED = 100


def union(made: writing.Page) -> writing.Ink:
    return np.asarray(np.any(made.inks, axis=0))


def test_there_are_17_conditions_and_204_texts() -> None:
    assert len(CONDITIONS) == len({condition.name for condition in CONDITIONS}) == 17
    assert len(CONDITIONS) * writing.TEXTS == 204
    texts = {writing._text(c, n) for c in CONDITIONS for n in range(writing.TEXTS)}
    assert len(texts) == 204
    assert FIELD_SIZE == (1250, 800)
    assert writing.FIELDS >= 20


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: condition.name)
def test_the_ink_is_what_changed(condition: Condition) -> None:
    made = page(condition, 1, SEED, SIZE)
    changed = (made.drawn != made.ground).any(axis=2)
    assert (union(made) == changed).all()
    assert len(made.texts) == len(made.inks) == writing.PER_PAGE
    assert all(ink.sum() > 200 for ink in made.inks)
    assert int(np.sum(made.inks, axis=0).max()) == 1, "texts overlap"


@pytest.mark.parametrize("condition", [c for c in CONDITIONS if c.contrast], ids=lambda condition: condition.name)
def test_the_contrast_is_as_stated(condition: Condition) -> None:
    made = page(condition, 0, SEED, SIZE)
    apart = np.abs(made.drawn.astype(int) - made.ground.astype(int))[union(made)]
    assert apart.max() == condition.contrast
    # Whole strokes have it, edges less.
    assert np.median(apart) >= 0.8 * float(condition.contrast or 0)


def test_pages_do_not_depend_on_chance_and_differ_from_each_other() -> None:
    condition = CONDITIONS[0]
    one = page(condition, 0, SEED, SIZE)
    writing.field_of.cache_clear()
    again, other = page(condition, 0, SEED, SIZE), page(condition, 1, SEED, SIZE)
    assert one.file == again.file
    assert one.answer == again.answer
    assert one.answer != other.answer
    assert not set(one.texts) & set(other.texts)


def test_the_stored_answer_numbers_the_texts() -> None:
    made = page(CONDITIONS[5], 2, SEED, SIZE)
    marks = np.asarray(Image.open(io.BytesIO(made.answer)))
    for number, ink in enumerate(made.inks, 1):
        assert ((marks == number) == ink).all()


def test_a_jpeg_page_is_stored_as_jpeg() -> None:
    made = page(next(c for c in CONDITIONS if c.quality == 30), 0, SEED, SIZE)
    suffix, data = made.file
    assert suffix == ".jpg"
    assert Image.open(io.BytesIO(data)).format == "JPEG"


def test_hidden_needs_95_of_100_pixels() -> None:
    before = np.random.default_rng(0).integers(80, 100, (10, 100, 3)).astype(np.uint8)
    ink = np.zeros((10, 100), bool)
    ink[4] = True
    before[4] = 10
    after = before.copy()
    after[1:8, :94] = 90
    assert not hidden(before, after, ink)
    after[1:8, :95] = 90
    assert hidden(before, after, ink)
    assert not hidden(before, after, ink, tolerance=80)
    assert covered(before, after[:5], ink) == 0
    assert not hidden(before, before.copy(), ink)


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: condition.name)
def test_new_colours_and_new_coding_hide_nothing_but_paint_does(condition: Condition) -> None:
    made = page(condition, 3, SEED, SIZE)
    before = np.asarray(Image.open(io.BytesIO(made.file[1])).convert("RGB"))
    buffer = io.BytesIO()
    Image.fromarray(before).save(buffer, "JPEG", quality=80)
    for after in (255 - before, np.asarray(Image.open(buffer)), np.clip(before, 5, 250) - 5):
        assert not any(hidden(before, after, ink) for ink in made.inks)
    for ink in made.inks:
        rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
        after = before.copy()
        after[max(rows[0] - 3, 0) : rows[-1] + 4, max(columns[0] - 3, 0) : columns[-1] + 4] = (181, 151, 211)
        assert hidden(before, after, ink)


def test_fields_are_purple_textured_and_differ() -> None:
    one, two = purple_field(SEED, SIZE), purple_field(SEED + 1, SIZE)
    red, green, blue = one.reshape(-1, 3).mean(axis=0)
    assert green < red < blue
    assert one.std(axis=(0, 1)).min() > 6
    assert (one != two).mean() > 0.5


@pytest.mark.parametrize("kind", barcodes.KINDS)
def test_upright_codes_are_read_and_blurred_ones_are_not(kind: str) -> None:
    plain = barcodes.label(kind, 0, barcodes.LARGE, None, 0, SEED)
    blurred = barcodes.label(kind, 0, barcodes.SMALL, None, barcodes.BLUR, SEED)
    assert plain.readable
    assert not blurred.readable
    assert plain.value in barcodes.texts_in(np.asarray(Image.open(io.BytesIO(plain.file[1])).convert("RGB")))


def test_covering_the_area_of_a_code_hides_it() -> None:
    made = barcodes.label("QRCode", 45, barcodes.LARGE, None, 0, SEED)
    assert made.readable
    painted, recoloured = made.image.copy(), made.image.copy()
    painted[made.ink] = (180, 150, 210)
    assert barcodes.texts_in(painted) == []
    assert hidden(made.image, painted, made.ink)
    dark = made.ink & (made.image.max(axis=2) < 60)
    recoloured[dark] = (180, 150, 210)
    assert not hidden(made.image, recoloured, made.ink)


def test_code_128_at_45_degrees_is_beyond_the_reader() -> None:
    assert not barcodes.label("Code128", 45, barcodes.SMALL, None, 0, SEED).readable


def test_nothing_is_read_on_a_clean_field() -> None:
    assert barcodes.texts_in(purple_field(barcodes.FIRST_CLEAN)) == []
