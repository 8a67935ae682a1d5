"""What is found in a slide's pixels is painted over at every level, and nothing else is touched."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from planted_slides import half, jpeg_coder, made, page, picture, raw_tiles, tiff, tiles_of, whole

from cytoline.deid.polygon import Polygon
from cytoline.deid.slide.limits import SlideLimits
from cytoline.deid.slide.recreate import recreate_slide
from cytoline.deid.slide.refusal import CannotRecreate
from cytoline.images import RGB


def red_block(rgb: RGB) -> tuple[Polygon, ...]:
    """A real search: the outline of what is red, which nothing else in the picture is."""
    red = (rgb[:, :, 0] > 180) & (rgb[:, :, 1] < 60) & (rgb[:, :, 2] < 60)
    if not red.any():
        return ()
    ys, xs = np.nonzero(red)
    x0, y0, x1, y1 = (int(value) for value in (xs.min(), ys.min(), xs.max(), ys.max()))
    return (((x0, y0), (x1, y0), (x1, y1), (x0, y1)),)


@pytest.mark.parametrize("compression", [8, 7])
def test_painted_at_every_level_and_other_tiles_left_alone(tmp_path: Path, compression: int) -> None:
    rgb = picture()
    rgb[200:230, 150:290] = (255, 0, 0)
    code = jpeg_coder("4:4:4", streamtype=0) if compression == 7 else lambda tile: zlib.compress(tile.tobytes())
    photometric = 6 if compression == 7 else 2
    parts = [rgb, half(rgb, 2), half(rgb, 4)]
    source, target = made(
        tmp_path, tiff([page(part, tiles_of(part, code), compression, photometric) for part in parts])
    )
    plain = tmp_path / "plain.tif"
    recreate_slide(source, plain)
    outcome = recreate_slide(source, target, red_block, SlideLimits(window=256, overlap=64))
    assert outcome.searched
    assert outcome.painted
    assert all(
        140 <= x <= 300 and 190 <= y <= 240 for found in outcome.painted for polygon in found for x, y in polygon
    )
    for level, part in enumerate(parts):
        seen = whole(target, level)
        assert not red_block(seen)
        reddish = (seen[:, :, 0].astype(int) - seen[:, :, 1]) > 170
        assert red_block(whole(plain, level))
        assert not reddish.any(), "not even its rim"
        assert seen.shape == part.shape
    before, after = raw_tiles(plain), raw_tiles(target)
    touched = [number for number, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    # A JPEG is painted to the ends of its blocks, 200 - 8 - 2 lies in the row of tiles above.
    assert touched == ([32, 33, 34] if compression == 8 else [22, 23, 24, 32, 33, 34])
    assert outcome.tiles_painted >= len(touched)


def test_text_that_will_not_go_keeps_the_slide_back(tmp_path: Path) -> None:
    rgb = picture()
    source, target = made(tmp_path, tiff([page(rgb, tiles_of(rgb, lambda tile: tile.tobytes()), 1, 2)]))
    with pytest.raises(CannotRecreate) as caught:
        recreate_slide(source, target, lambda seen: (((0, 0), (9, 0), (9, 9), (0, 9)),))
    assert caught.value.reason == "text_remains"
    assert not target.exists()
