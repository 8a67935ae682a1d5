"""Slides made anew: no planted secret survives, the picture does, bit for bit where nothing had to change."""

from __future__ import annotations

import io
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image
from planted_slides import (
    SECRET,
    SIZE,
    TILE,
    half,
    is_inner,
    jpeg_coder,
    jpeg_tables,
    leaks,
    made,
    noise,
    page,
    picture,
    planted_svs,
    raw_tiles,
    tiff,
    tiles_of,
    whole,
)

from cytoline.deid.slide.recreate import recreate_slide
from cytoline.deid.slide.refusal import CannotRecreate
from cytoline.images import RGB

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "phi" / "openslide" / "tests" / "fixtures"
ALLOWED = {254, 256, 257, 258, 259, 262, 277, 282, 283, 284, 296, 317, 322, 323, 324, 325, 530}


def scan(tile: bytes) -> bytes:
    """The coded pixels of a JPEG."""
    return tile[tile.index(b"\xff\xda") : tile.index(b"\xff\xd9") + 2]


def covered(path: Path) -> int:
    """Bytes of the file that tiles, IFDs and their values use."""
    with tifffile.TiffFile(path) as file:
        head, entry, word = (16, 20, 8) if file.is_bigtiff else (8, 12, 4)
        used = head
        for found in file.pages:
            used += found.offset % 2 and 1
            used += sum(found.databytecounts) + (8 if file.is_bigtiff else 2) + entry * len(found.tags) + word
            for tag in found.tags.values():
                size = tag.count * {3: 2, 4: 4, 5: 8, 16: 8}[int(tag.dtype)]
                used += size + size % 2 if size > word else 0
        return used


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True), (">", True)])
def test_no_secret_survives_and_the_pyramid_does(tmp_path: Path, order: str, big: bool) -> None:
    source, target = made(tmp_path, planted_svs(order=order, big=big))
    outcome = recreate_slide(source, target)
    content = target.read_bytes()
    assert leaks(content) == 0
    assert (outcome.width, outcome.height, outcome.levels, outcome.left_out) == (*SIZE, 3, 6)
    assert outcome.mpp == (0.2532, 0.2532)
    assert not outcome.searched
    with tifffile.TiffFile(target) as file:
        assert [found.shape for found in file.pages] == [(440, 600, 3), (220, 300, 3), (110, 150, 3)]
        assert {tag.code for found in file.pages for tag in found.tags.values()} <= ALLOWED
        padding = len(content) - covered(target)
        assert 0 <= padding <= 3, "only bytes that align an IFD"
    with openslide.OpenSlide(target) as slide:
        assert slide.properties["openslide.vendor"] == "generic-tiff"
        assert slide.level_dimensions == ((600, 440), (300, 220), (150, 110))
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.2532, abs=1e-7)
        assert not slide.associated_images
    for level, times in enumerate((1, 2, 4)):  # and not the labels that have the levels' sizes
        assert np.abs(whole(target, level).astype(int) - half(picture(), times)).mean() < 4
    with Image.open(target) as image:
        image.load()
        assert np.abs(np.asarray(image.convert("RGB"), np.int16) - picture()).mean() < 4


def test_inner_tiles_keep_their_bits_and_edges_only_lose_what_no_one_sees(tmp_path: Path) -> None:
    source, target = made(tmp_path, planted_svs())
    outcome = recreate_slide(source, target)
    before, after = raw_tiles(source), raw_tiles(target)
    inner = [number for number in range(len(before)) if is_inner(number)]
    assert inner
    assert all(scan(before[number]) == scan(after[number]) for number in inner)
    assert outcome.tiles == outcome.tiles_copied + outcome.tiles_edge
    old, new = whole(source), whole(target)
    inside = (SIZE[0] // TILE * TILE, SIZE[1] // TILE * TILE)
    assert np.array_equal(old[: inside[1], : inside[0]], new[: inside[1], : inside[0]])
    difference = np.abs(old.astype(int) - new)
    assert difference.mean() < 0.5
    noisy = noise((7 * TILE, 10 * TILE, 3))[:, SIZE[0] :].astype(float)
    for number in (9, 19):
        decoded = np.asarray(Image.open(io.BytesIO(after[number])).convert("RGB"), float)
        beyond = decoded[:, SIZE[0] - 9 * TILE :]
        planted = noisy[number // 10 * TILE :][:TILE]
        assert abs(np.corrcoef(beyond.ravel(), planted.ravel())[0, 1]) < 0.15
        assert np.abs(beyond - beyond[:, :1]).mean() < 6, "drawn out from the last column"


@pytest.mark.parametrize(
    ("size", "marked"),
    [((300, 220), 9), ((300, 220), 4), ((300, 200), 1), ((200, 220), 0), ((600, 440), 0), ((590, 433), 1)],
)
def test_a_page_of_the_same_picture_counts_only_as_a_marked_reduction_of_its_shape(
    tmp_path: Path, size: tuple[int, int], marked: int
) -> None:
    rgb = picture()
    other = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    pages = [
        page(part, tiles_of(part, lambda tile: tile.tobytes()), 1, 2, t254=(4, [kind]))
        for part, kind in ((rgb, 0), (other, marked))
    ]
    source, target = made(tmp_path, tiff(pages))
    outcome = recreate_slide(source, target)
    assert (outcome.levels, outcome.left_out) == (1, 1)


def encoded_lzw(rgb: RGB) -> bytes:
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "TIFF", compression="tiff_lzw", tiffinfo={278: rgb.shape[0], 317: 1})
    with tifffile.TiffFile(io.BytesIO(out.getvalue())) as file:
        found = file.pages[0]
        assert len(found.dataoffsets) == 1
        assert found.predictor == 1
        return out.getvalue()[found.dataoffsets[0] :][: found.databytecounts[0]]


def differences(rgb: RGB) -> bytes:
    return np.diff(rgb, axis=1, prepend=np.zeros_like(rgb[:, :1])).astype(np.uint8).tobytes()


LOSSLESS = {
    "none": (1, lambda rgb: rgb.tobytes() + SECRET, 1, 1),
    "deflate": (8, lambda rgb: zlib.compress(rgb.tobytes()), 1, 8),
    "old deflate, words behind": (32946, lambda rgb: zlib.compress(rgb.tobytes()) + SECRET, 1, 8),
    "deflate, words inside": (8, lambda rgb: zlib.compress(rgb.tobytes() + SECRET), 1, 8),
    "deflate, predictor": (8, lambda rgb: zlib.compress(differences(rgb)), 2, 8),
    "lzw, words behind": (5, lambda rgb: encoded_lzw(rgb) + SECRET, 1, 8),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_codings_keep_every_pixel(tmp_path: Path, name: str) -> None:
    number, code, predictor, written = LOSSLESS[name]
    rgb = picture()
    levels = [page(part, tiles_of(part, code), number, 2, t317=(3, [predictor])) for part in (rgb, half(rgb, 2))]
    source, target = made(tmp_path, tiff(levels))
    outcome = recreate_slide(source, target)
    assert leaks(target.read_bytes()) == 0
    assert np.array_equal(whole(target), rgb)
    assert np.array_equal(whole(target, 1), half(rgb, 2))
    assert outcome.tiles_recoded + outcome.tiles_copied + outcome.tiles_edge == outcome.tiles
    before, after = raw_tiles(source), raw_tiles(target)
    if name in ("none", "deflate", "deflate, predictor"):
        assert all(
            old.removesuffix(SECRET) == new
            for n, (old, new) in enumerate(zip(before, after, strict=True))
            if is_inner(n)
        )
    with tifffile.TiffFile(target) as file:
        assert int(file.pages[0].compression) == written
        tile = np.asarray(next(file.pages[0].segments())[0])
        assert np.array_equal(tile.reshape(TILE, TILE, 3), rgb[:TILE, :TILE])
    if written == 8:
        for tile in after:
            stream = zlib.decompressobj()
            assert len(stream.decompress(tile)) == TILE * TILE * 3
            assert stream.eof
            assert not stream.unused_data
    edge = zlib.decompress(after[9]) if written == 8 else after[9]
    columns = np.frombuffer(edge, np.uint8).reshape(TILE, TILE, 3)
    columns = np.cumsum(columns, axis=1, dtype=np.uint8) if predictor == 2 else columns
    assert (columns[:, SIZE[0] - 9 * TILE :] == columns[:, SIZE[0] - 9 * TILE - 1][:, None]).all()


@pytest.mark.parametrize(("number", "space", "mct"), [(33005, "RGB", 1), (33003, "YCbCr", 0)])
def test_jpeg_2000_becomes_deflate(tmp_path: Path, number: int, space: str, mct: int) -> None:
    def code(rgb: RGB) -> bytes:
        out, stored = io.BytesIO(), np.asarray(Image.fromarray(rgb).convert(space))
        Image.fromarray(stored).save(out, "JPEG2000", no_jp2=True, mct=mct, comment=SECRET)
        return out.getvalue()

    rgb = picture()
    source, target = made(tmp_path, tiff([page(rgb, tiles_of(rgb, code), number, 2)]))
    assert leaks(source.read_bytes())
    recreate_slide(source, target)
    assert leaks(target.read_bytes()) == 0
    assert np.abs(whole(target).astype(int) - rgb).max() <= (0 if space == "RGB" else 4)


def test_words_after_the_last_block_of_a_tile_go(tmp_path: Path) -> None:
    def spoil(tile: bytes) -> bytes:
        return tile[:-2] + SECRET + tile[-2:]

    rgb = picture()
    plain = tiles_of(rgb, jpeg_coder(streamtype=0))
    tiles = [spoil(tile) if number == 11 else tile for number, tile in enumerate(plain)]
    source, target = made(tmp_path, tiff([page(rgb, tiles, 7, 6)]))
    assert recreate_slide(source, target).tiles_recoded == 1
    assert leaks(target.read_bytes()) == 0
    before, after = (np.asarray(Image.open(io.BytesIO(tile)), int) for tile in (plain[11], raw_tiles(target)[11]))
    assert np.abs(before - after).mean() < 0.5


def test_tables_that_no_block_uses_go(tmp_path: Path) -> None:
    hidden = bytes((3,)) + SECRET.ljust(64, b"\x01")
    tables = jpeg_tables()
    tables = tables[:2] + b"\xff\xdb\x00\x43" + hidden + tables[2:]
    rgb = picture()
    tiles = tiles_of(rgb, jpeg_coder())
    source, target = made(tmp_path, tiff([page(rgb, tiles, 7, 6, t347=(7, tables))]))
    assert recreate_slide(source, target).tiles_copied > 0
    assert leaks(target.read_bytes()) == 0
    assert np.abs(whole(target).astype(int) - rgb).mean() < 4


def test_rgb_jpeg_and_grey_keep_their_colours(tmp_path: Path) -> None:
    def plain_rgb(rgb: RGB) -> bytes:
        out = io.BytesIO()
        Image.fromarray(rgb).save(out, "JPEG", quality=90, keep_rgb=True, subsampling=0)
        return out.getvalue()

    def grey(rgb: RGB) -> bytes:
        out = io.BytesIO()
        Image.fromarray(rgb[:, :, 0]).save(out, "JPEG", quality=90)
        return out.getvalue()

    rgb = picture()
    source, target = made(tmp_path, tiff([page(rgb, tiles_of(rgb, plain_rgb), 7, 2)]))
    recreate_slide(source, target)
    assert np.abs(whole(target).astype(int) - rgb).mean() < 3
    lone = page(rgb, tiles_of(rgb, grey), 7, 1, t258=(3, [8]), t277=(3, [1]))
    source, target = made(tmp_path, tiff([lone]))
    recreate_slide(source, target)
    assert np.abs(whole(target)[:, :, 1].astype(int) - rgb[:, :, 0]).mean() < 3


@pytest.mark.parametrize(
    ("tags", "mpp"),
    [
        ({"t282": (5, [40000, 1]), "t283": (5, [20000, 1]), "t296": (3, [3])}, (0.25, 0.5)),
        ({"t282": (5, [101600, 1]), "t283": (5, [101600, 1]), "t296": (3, [2])}, (0.25, 0.25)),
        ({"t282": (5, [72, 1]), "t283": (5, [72, 1]), "t296": (3, [2])}, None),
        ({"t282": (5, [40000, 0]), "t283": (5, [40000, 1]), "t296": (3, [3])}, None),
        ({"t282": (5, [40000, 1]), "t283": (5, [40000, 1]), "t296": (3, [1])}, None),
        ({"t270": (2, b"Aperio\r\n|MPP = 0.249912345|x\0")}, (0.249912, 0.249912)),
        ({"t270": (2, b"Aperio\r\n|MPP = 1957|x\0")}, None),
        ({"t270": (2, b"Other\r\n|MPP = 0.25|x\0")}, None),
        ({}, None),
    ],
)
def test_calibration_is_typed_again_from_numbers(
    tmp_path: Path, tags: dict[str, tuple[int, bytes | list[int]]], mpp: tuple[float, float] | None
) -> None:
    rgb = picture()
    source, target = made(tmp_path, tiff([page(rgb, tiles_of(rgb, lambda tile: tile.tobytes()), 1, 2, **tags)]))
    assert recreate_slide(source, target).mpp == mpp
    with openslide.OpenSlide(target) as slide:
        assert (openslide.PROPERTY_NAME_MPP_X in slide.properties) == (mpp is not None)
        if mpp:  # five digits are written
            assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(mpp[0], rel=1e-5)
            assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(mpp[1], rel=1e-5)


def test_real_samples(tmp_path: Path) -> None:
    if not SHARED.exists():
        pytest.skip("no ../shared/data/phi: the OpenSlide samples are not here")
    outcome = recreate_slide(SHARED / "small.svs", tmp_path / "small.tif")
    assert (outcome.mpp, outcome.left_out, outcome.tiles_copied) == ((0.499, 0.499), 1, 1)
    content = (tmp_path / "small.tif").read_bytes()
    for word in (b"Aperio", b"CPAPERIOCS", b"b414003d", b"CMU-1", b"12/29/09"):
        assert word in (SHARED / "small.svs").read_bytes()
        assert word not in content
    assert np.array_equal(whole(tmp_path / "small.tif"), whole(SHARED / "small.svs"))
    boxes = recreate_slide(SHARED / "boxes.tiff", tmp_path / "boxes.tif")
    assert boxes.levels == 4
    for level in range(4):
        assert np.array_equal(whole(tmp_path / "boxes.tif", level), whole(SHARED / "boxes.tiff", level))
    for name, reason in (
        ("unopenable.tiff", "compression"),
        ("unreadable.svs", "compression"),
        ("boxes.png", "not_a_tiff"),
    ):
        with pytest.raises(CannotRecreate) as caught:
            recreate_slide(SHARED / name, tmp_path / "none.tif")
        assert caught.value.reason == reason


MEASURE = """
import resource, sys
from pathlib import Path
from cytoline.deid.slide.recreate import recreate_slide
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
recreate_slide(Path(sys.argv[1]), Path(sys.argv[2]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_stays_flat_on_a_hundred_megapixels(tmp_path: Path) -> None:
    coded = jpeg_coder(streamtype=0)(np.full((1024, 1024, 3), (200, 150, 190), np.uint8))
    rgb = np.broadcast_to(np.uint8(0), (10240, 10240, 3))
    base = page(rgb, [coded] * 100, 7, 6, t322=(4, [1024]), t323=(4, [1024]))
    source, target = made(tmp_path, tiff([base]))
    done = subprocess.run([sys.executable, "-c", MEASURE, source, target], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 60_000, "kilobytes above what the imports take; the picture has 300,000"
