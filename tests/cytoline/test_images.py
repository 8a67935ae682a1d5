"""Images: pixels survive, bytes repeat, hostile files are refused before they cost anything."""

from __future__ import annotations

import base64
import errno
import io
import json
import pickle
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from cytoline import images
from cytoline.deid.orientation import turn_box
from cytoline.images import RGB, UnreadableImage
from cytoline.memo import Job, Memo
from cytoline.sources.decode import VERDICT, DecodeLimits, judge
from tests.planted_heic import PHONE_PICTURE

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture
def noise() -> RGB:
    return np.random.default_rng(5).integers(0, 256, (37, 52, 3), dtype=np.uint8)


def encode(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_claiming(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def refusal(content: bytes | Path, **options: int) -> str:
    with pytest.raises(UnreadableImage) as caught:
        images.read_image(content, **options)
    return caught.value.reason


def test_png_round_trip_keeps_every_pixel_and_carries_no_metadata(noise: RGB, tmp_path: Path) -> None:
    images.write_png(tmp_path / "a.png", noise)
    content = (tmp_path / "a.png").read_bytes()
    assert np.array_equal(images.read_image(tmp_path / "a.png"), noise)
    assert content == images.png_bytes(noise.copy()) == images.png_bytes(np.asfortranarray(noise))
    with Image.open(io.BytesIO(content)) as image:
        assert not image.info


def test_probe_reads_the_header_only(noise: RGB) -> None:
    assert images.probe(images.png_bytes(noise)) == (52, 37, "PNG")
    cut = encode(Image.fromarray(noise), "JPEG")[:700]
    assert images.probe(cut) == (52, 37, "JPEG")
    assert refusal(cut) == "truncated"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "BMP"])
def test_a_cut_file_is_refused_not_filled_with_grey(form: str, noise: RGB) -> None:
    content = encode(Image.fromarray(noise), form)
    assert images.read_image(content).shape == noise.shape
    assert refusal(content[: len(content) * 2 // 3]) in ("truncated", "unknown_format")


@pytest.mark.parametrize("limit", [images.MAX_PIXELS, 1000])
def test_a_pixel_bomb_is_refused_before_decoding(limit: int) -> None:
    started = time.perf_counter()
    assert refusal(png_claiming(60_000, 60_000), max_pixels=limit) == "too_large"
    assert time.perf_counter() - started < 1


def test_the_limit_is_exact_and_leaves_pillow_as_it_was(noise: RGB) -> None:
    before = Image.MAX_IMAGE_PIXELS
    content = images.png_bytes(noise)
    assert images.read_image(content, max_pixels=noise.shape[0] * noise.shape[1]).shape == noise.shape
    assert refusal(content, max_pixels=noise.shape[0] * noise.shape[1] - 1) == "too_large"
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_text_bomb_inside_a_png_is_refused(noise: RGB) -> None:
    content = images.png_bytes(noise)
    bomb = chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(80 << 20)))
    assert refusal(content[:33] + bomb + content[33:]) == "truncated"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"this is a text", "unknown_format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unknown_format"),
        (encode(Image.new("P", (4, 4)), "GIF"), "unknown_format"),
        (encode(Image.new("F", (4, 4)), "TIFF"), "unsupported"),
        (
            encode(Image.new("L", (4, 4)), "TIFF", save_all=True, append_images=[Image.new("L", (4, 4))]),
            "unsupported",
        ),
    ],
    ids=["empty", "text", "eps", "gif", "float", "pages"],
)
def test_what_is_no_microscope_image_is_refused_by_reason(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "Jane_Doe.png"
    path.write_bytes(content)
    assert refusal(path) == reason
    with pytest.raises(UnreadableImage) as caught:
        images.probe(path)
    assert "Jane" not in str(caught.value), "a file name may identify a person"


def test_a_phones_jpeg_with_a_preview_is_a_jpeg(noise: RGB) -> None:
    picture = Image.fromarray(noise)
    content = encode(picture, "MPO", save_all=True, append_images=[picture.resize((8, 8))])
    assert images.probe(content) == (52, 37, "JPEG")
    assert images.read_image(content).shape == noise.shape


def test_a_phones_heic_is_read_and_a_cut_one_refused() -> None:
    content = base64.b64decode(PHONE_PICTURE)
    assert images.probe(content) == (64, 48, "HEIF")
    rgb = images.read_image(content)
    assert abs(rgb[28, 28].astype(int) - (30, 30, 90)).max() < 6
    assert abs(rgb[4, 4].astype(int) - (200, 120, 180)).max() < 6
    for length in (20, 100, 300, len(content) - 40):
        with pytest.raises(UnreadableImage):
            images.read_image(content[:length])
    with pytest.raises(UnreadableImage) as error:
        images.probe(content, max_pixels=64 * 48 - 1)
    assert error.value.reason == "too_large"


def test_orientation_is_applied_only_when_asked() -> None:
    pixels = np.zeros((20, 40, 3), dtype=np.uint8)
    pixels[:, :20] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encode(Image.fromarray(pixels), "PNG", exif=exif)
    assert images.read_image(content).shape == (20, 40, 3)
    assert images.read_image(content, exif_orientation=True).shape == (40, 20, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_that_its_decoder_would_turn_is_refused(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.zeros((20, 40, 3), dtype=np.uint8)
    pixels[:5, :5] = 255
    content = encode(Image.fromarray(pixels), "TIFF", exif=exif)
    if orientation == 1:
        assert np.array_equal(images.read_image(content), pixels)
        return
    with pytest.raises(UnreadableImage, match="orientation tag turns a TIFF") as caught:
        images.probe(content)
    assert caught.value.reason == refusal(content) == "unsupported"


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EIO, "I/O error"), OSError(errno.EMFILE, "files")])
def test_what_is_wrong_with_the_machine_is_not_blamed_on_the_file(
    error: Exception, noise: RGB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(images.png_bytes(noise))

    def judged() -> dict[str, object]:
        jobs = [Job("a", (tmp_path / "a.png",))]
        found = Memo(tmp_path / "memo").map(judge, jobs, DecodeLimits(max_pixels=images.MAX_PIXELS), description="x")
        verdict: dict[str, object] = json.loads(next(found)[1][VERDICT].read())
        return verdict

    def fail(image: Image.Image) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(PngImageFile, "load", fail)
        with pytest.raises(type(error)):
            judged()
    assert judged()["width"] == 52, "the failure was not remembered"


@pytest.mark.parametrize("error", [OSError("image file is truncated"), OSError(-2), OSError(errno.EINVAL, "seek")])
def test_what_decoders_say_of_damaged_files_is_damage(
    error: OSError, noise: RGB, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(image: Image.Image) -> None:
        raise error

    monkeypatch.setattr(PngImageFile, "load", fail)
    assert refusal(images.png_bytes(noise)) == "truncated"


@given(st.floats(0, 640), st.floats(1, 640), st.sampled_from([2, 3, 4, 6, 7, 8]))
@example(242.96, 397.04, 3)
def test_a_box_at_the_edge_stays_inside_when_it_is_turned(start: float, side: float, orientation: int) -> None:
    side = side if start + side <= 640 else 640 - start
    x, y, w, h = turn_box((start, start, side, side), (640, 640), orientation)
    assert min(x, y) >= 0
    assert max(x + w, y + h) <= 640 + 1e-9
    assert (w, h) == pytest.approx((side, side))


def test_modes_become_rgb_with_sensible_values() -> None:
    deep = Image.fromarray(np.full((3, 3), 0x80FF, dtype=np.uint16))
    assert (images.read_image(encode(deep, "PNG")) == 0x80).all()
    clear = Image.new("RGBA", (3, 3), (255, 0, 0, 0))
    assert (images.read_image(encode(clear, "PNG")) == 255).all(), "transparent ground is white, as a slide's"
    grey = Image.new("L", (3, 3), 77)
    assert (images.read_image(encode(grey, "TIFF")) == 77).all()
    palette = Image.new("RGB", (3, 3), (9, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE)
    assert (images.read_image(encode(palette, "PNG")) == (9, 200, 30)).all()


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic", "lanczos", "area"])
def test_resize_gives_the_asked_size_and_keeps_flat_colour(method: images.Method) -> None:
    flat = np.full((10, 20, 3), (10, 100, 200), dtype=np.uint8)
    small = images.resize(flat, (7, 5), method)
    assert small.shape == (5, 7, 3)
    assert (small == (10, 100, 200)).all()


def test_arrays_that_are_no_rgb_are_a_programming_error(noise: RGB) -> None:
    with pytest.raises(ValueError, match="uint8"):
        images.png_bytes(noise[:, :, 0])
    with pytest.raises(ValueError, match="uint8"):
        images.png_bytes(noise.astype(np.float32))  # type: ignore[arg-type]


def test_the_error_survives_the_way_back_from_a_worker() -> None:
    error = pickle.loads(pickle.dumps(UnreadableImage("empty", "the file is empty")))  # noqa: S301
    assert (error.reason, error.detail) == ("empty", "the file is empty")


@pytest.mark.needs_shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared data here")
def test_real_images_agree_with_their_header() -> None:
    found = [path for path in sorted(SHARED.rglob("*")) if path.suffix.lower() in (".jpg", ".png", ".tif", ".bmp")]
    assert found
    for path in found[:: max(1, len(found) // 8)]:
        width, height, _ = images.probe(path)
        assert images.read_image(path).shape == (height, width, 3)
