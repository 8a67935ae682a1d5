"""Two looks for writing, the first in 16 bits: it may only save the second, never decide what is found."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from benchmarks.deid.ground import purple_field
from cytoline.deid import marks
from cytoline.deid.finding import Finding
from cytoline.deid.marks import find_marks
from cytoline.deid.network import EXACT, ROUGH
from cytoline.deid.params import AnonymizeParams
from cytoline.deid.verify import check_pixels
from cytoline.images import RGB, png_bytes

PARAMS = AnonymizeParams.load()
SIZE = (480, 400)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The precision of each look from here on, on a processor that counts in 16 bits."""
    taken: list[str] = []
    reader = marks._reader(PARAMS.text_scale)

    class Watched:
        def lines(self, bgr: RGB, precision: str) -> list[marks._Line]:
            taken.append(precision)
            lines: list[marks._Line] = reader.lines(bgr, precision)
            return lines

    monkeypatch.setattr(marks, "_reader", lambda _scale: Watched())
    monkeypatch.setattr(marks, "counts_in_16_bits", lambda: True)
    return taken


def written(levels: int, seed: int = 3) -> RGB:
    """A name on a purple field, so many grey levels darker than what is below it."""
    ground = purple_field(seed, SIZE)
    ink = Image.new("L", SIZE)
    ImageDraw.Draw(ink).text((60, 150 + 20 * seed), "MUELLER 1956-03", fill=255, font=ImageFont.load_default(26))
    coverage = np.asarray(ink, np.float32)[:, :, None] / 255
    return np.asarray(np.clip(ground - levels * coverage, 0, 255), np.uint8)


def test_a_field_without_writing_is_looked_at_once(looks: list[str]) -> None:
    assert find_marks(purple_field(2, SIZE), PARAMS).all == ()
    assert looks == [ROUGH]


def test_writing_is_looked_at_again(looks: list[str]) -> None:
    assert find_marks(written(60), PARAMS).texts
    assert looks == [ROUGH, EXACT]


def test_where_a_person_is_asked_every_hit_is_told(looks: list[str]) -> None:
    find_marks(purple_field(0, SIZE), PARAMS.model_copy(update={"review": True}))
    assert looks == [EXACT]


def test_a_check_never_relies_on_a_first_look(looks: list[str], tmp_path: Path) -> None:
    (tmp_path / "field.png").write_bytes(png_bytes(written(60)))
    assert Finding("pixels", "text") in check_pixels(tmp_path / "field.png", PARAMS)
    assert looks == [EXACT]


@pytest.mark.parametrize("size", [(480, 100), (120, 120)])
def test_strips_and_single_cells_are_looked_at_in_32_bits_at_once(looks: list[str], size: tuple[int, int]) -> None:
    find_marks(np.ascontiguousarray(purple_field(1, SIZE)[: size[1], : size[0]]), PARAMS)
    assert looks == [EXACT]


def test_each_look_counts_by_its_own_networks_and_threshold() -> None:
    reader = marks._reader(PARAMS.text_scale)
    bgr = np.ascontiguousarray(written(60)[:, :, ::-1])
    for precision in (ROUGH, EXACT, ROUGH, EXACT):
        assert reader.lines(bgr, precision), "so that all three networks run"
        assert reader.text_det.postprocess_op.box_thresh == (0.4 if precision == ROUGH else 0.5)
        assert reader.text_det.postprocess_op.thresh == 0.3
        for part in (reader.text_det, reader.text_cls, reader.text_rec):
            used = part.session.session
            assert used is reader.requests[type(part), precision]
            if precision == EXACT:
                assert used.get_compiled_model().get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"


def _pictures() -> Iterator[RGB]:
    """From writing that nobody finds to writing that cannot be missed."""
    for seed in range(2):
        yield purple_field(seed, SIZE)
        for levels in (12, 16, 20, 40):
            yield written(levels, seed)


def test_two_looks_find_what_one_in_32_bits_finds(looks: list[str]) -> None:
    pictures = list(_pictures())
    found = [find_marks(rgb, PARAMS) for rgb in pictures]
    assert ROUGH in looks
    looks.clear()
    assert [find_marks(rgb, PARAMS, look_first=False) for rgb in pictures] == found
    assert ROUGH not in looks
    with_text = sum(bool(hits.texts) for hits in found)
    assert 2 <= with_text < len(pictures), "some are too faint, some are not"


@pytest.mark.parametrize(
    ("characters", "score", "height", "near"),
    [
        (3, 0.35, 20, True),  # 32 bits may be surer
        (2, 0.6, 20, True),  # or see one more character
        (1, 0.99, 20, False),  # a cell
        (4, 0.75, 400, True),
        (3, 0.9, 110, True),  # or a tighter line
        (3, 0.25, 20, False),
        (1, 0.6, 20, False),
        (3, 0.65, 200, False),
    ],
)
def test_what_comes_near_to_counting(characters: int, score: float, height: float, near: bool) -> None:
    counts = partial(marks._is_writing, limit=100, least=0.5)
    line = marks._Line(np.zeros((4, 2), np.float32), characters, score, height)
    assert not counts(characters, score, height)
    assert marks._comes_near(line, counts, marks.NEAR) is near
