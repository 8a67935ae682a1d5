"""patches: the square is where the cell is, whatever the cell's place; the table is the same for the same cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cytoline.errors import CytolineError
from cytoline.patches import PATCHES, PatchRecord, crop, read_patches, window, write_patches


@st.composite
def planted(draw: st.DrawFn) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """An image whose every pixel tells its place, and a box inside it."""
    width, height = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    w, h = draw(st.integers(1, width - x)), draw(st.integers(1, height - y))
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns, rows, np.zeros_like(rows)], axis=2).astype(np.uint8), (x, y, w, h)


@given(planted(), st.sampled_from([1.0, 1.3, 2.0, 5.0]), st.integers(1, 50))
def test_crop_is_a_square_centred_on_the_box(case: tuple, context: float, min_px: int) -> None:
    image, box = case
    height, width = image.shape[:2]
    patch = crop(image, box, context, min_px)
    left, top, side = window(box, context, min_px, (width, height))
    assert patch.shape == (side, side, 3)
    assert patch.dtype == np.uint8
    assert max(box[2:]) <= side <= max(width, height)
    assert abs(left + side / 2 - (box[0] + box[2] / 2)) <= 0.5
    assert abs(top + side / 2 - (box[1] + box[3] / 2)) <= 0.5


@given(planted(), st.sampled_from([1.0, 1.3, 2.0, 5.0]), st.integers(1, 50))
def test_every_pixel_of_the_box_is_at_its_place(case: tuple, context: float, min_px: int) -> None:
    image, box = case
    x, y, w, h = box
    left, top, _ = window(box, context, min_px, (image.shape[1], image.shape[0]))
    patch = crop(image, box, context, min_px)
    # A box as long as the whole image may lie half a pixel off the square's middle, so its last line can fall out.
    inside = patch[max(0, y - top) : y - top + h, max(0, x - left) : x - left + w]
    shown_x, shown_y = max(x, left), max(y, top)
    assert np.array_equal(inside, image[shown_y : shown_y + inside.shape[0], shown_x : shown_x + inside.shape[1]])
    assert inside.shape[0] >= h - 1
    assert inside.shape[1] >= w - 1


def test_the_missing_part_at_a_border_is_grey() -> None:
    image = np.arange(20 * 20, dtype=np.uint8).reshape(20, 20)[..., None].repeat(3, axis=2)
    assert np.array_equal(
        crop(image, (0, 0, 6, 6), 2.0, 1), np.pad(image, [(3, 0), (3, 0), (0, 0)], constant_values=127)[:12, :12]
    )
    assert np.array_equal(
        crop(image, (14, 12, 6, 6), 2.0, 1), np.pad(image, [(0, 3), (0, 3), (0, 0)], constant_values=127)[9:21, 11:23]
    )


def test_one_nucleus_at_the_border_stays_one() -> None:
    """A mirrored nucleus would make two of it."""
    image = np.full((80, 80, 3), 230, dtype=np.uint8)
    image[30:50, 4:18] = 40
    dark = crop(image, (0, 25, 22, 30), 1.5, 24)[:, :, 0] < 100
    assert np.count_nonzero(np.diff(dark.any(axis=0).astype(int)) == 1) == 1


def test_a_picture_of_one_cell_is_kept_whole() -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    assert np.array_equal(crop(image, (0, 0, 40, 40), 1.8, 64), image)


def test_an_elongated_cell_keeps_its_shape() -> None:
    image = np.zeros((100, 100, 3), dtype=np.uint8)
    image[48:52, 30:70] = 255
    patch = crop(image, (30, 48, 40, 4), 1.0, 1)
    assert patch.shape == (40, 40, 3)
    assert (patch[:, :, 0].max(axis=1) > 0).sum() == 4


def _record(number: int, **changes: object) -> PatchRecord:
    values: dict[str, object] = {
        "patch_id": f"i-a{number:04}",
        "image_id": "i",
        "patient": "p",
        "source": "s",
        "split": "train",
        "origin": "annotated",
        "label": "NILM",
        "bbox": (0.0, 0.0, 4.5, 4.0),
        "score": None,
    }
    return PatchRecord.model_validate(values | changes)


@given(st.permutations(range(6)))
def test_the_table_is_sorted_and_comes_back(tmp_path_factory: pytest.TempPathFactory, order: list[int]) -> None:
    folder = tmp_path_factory.mktemp("patches")
    records = [_record(number, label=None, score=number / 10) for number in order]
    write_patches(folder, records)
    assert read_patches(folder) == sorted(records, key=lambda record: record.patch_id)
    first = (folder / PATCHES).read_bytes()
    write_patches(folder, reversed(records))
    assert (folder / PATCHES).read_bytes() == first


def test_a_damaged_table_is_named_with_its_line(tmp_path: Path) -> None:
    write_patches(tmp_path, [_record(0), _record(1)])
    text = (tmp_path / PATCHES).read_text().replace('"score":null,"source":"s","split":"train"}', "}", 1)
    (tmp_path / PATCHES).write_text(text)
    with pytest.raises(CytolineError, match=r"patches\.jsonl:1"):
        read_patches(tmp_path)


def test_a_table_with_a_patch_twice_is_refused(tmp_path: Path) -> None:
    write_patches(tmp_path, [_record(0), _record(0)])
    with pytest.raises(CytolineError, match="unique"):
        read_patches(tmp_path)


def test_a_missing_table_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(CytolineError) as caught:
        read_patches(tmp_path)
    assert "dvc repro" in caught.value.remedy
