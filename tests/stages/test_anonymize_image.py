"""One image at a time: what is found, painted over, rewritten, and how the result is checked."""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import zxingcpp
from PIL import Image, ImageOps
from planted_identifiers import PARAMS, SHARED, labelled, stained

from benchmarks.deid.fuzz_mutations import mutated
from cytoline.deid import jpeg, marks
from cytoline.deid.accounting import account
from cytoline.deid.marks import find_marks
from cytoline.deid.needles import Needles
from cytoline.deid.network import EXACT
from cytoline.deid.orientation import turn_box, turn_pixels, turned_size
from cytoline.deid.painting import mask_of, paint
from cytoline.deid.params import AnonymizeParams
from cytoline.deid.recreate import OUTCOME, Outcome, recreate
from cytoline.images import RGB, png_bytes, read_image


def outcome_of(path: Path, params: AnonymizeParams = PARAMS) -> tuple[Outcome, bytes]:
    with Image.open(path) as image:
        width, height = image.size
    results = recreate(path, width, height, params)
    outcome = Outcome.model_validate_json(results[OUTCOME])
    assert set(results) == {OUTCOME, outcome.file} if outcome.file else {OUTCOME}
    return outcome, results[outcome.file] if outcome.file else b""


def test_text_is_found_and_plain_tissue_is_not() -> None:
    assert find_marks(stained(), PARAMS).all == ()
    found = find_marks(labelled("MRN 4471230", (40, 100), 18), PARAMS)
    assert len(found.texts) == 1
    assert mask_of(found.texts, (320, 240), 0)[110, 90] == 1


def test_small_crops_are_searched_for_what_is_beyond_doubt() -> None:
    assert find_marks(labelled("MRN 4471230", (4, 4), 14)[:100, :130].copy(), PARAMS).texts
    assert find_marks(stained()[:100, :100].copy(), PARAMS).all == ()
    picture = stained()[:100, :100].copy()
    code = np.array(zxingcpp.create_barcode("A-1", zxingcpp.BarcodeFormat.QRCode).to_image(scale=3))
    picture[: code.shape[0], : code.shape[1]] = code[..., None]
    assert len(find_marks(picture, PARAMS).barcodes) == 1


@pytest.mark.parametrize("quarters", [0, 1])
@pytest.mark.parametrize(("size", "scale", "thick"), [((150, 1600), 2.4, 4), ((30, 300), 0.7, 1)])
def test_a_strip_is_searched(size: tuple[int, int], scale: float, thick: int, quarters: int) -> None:
    strip: RGB = np.full((*size, 3), 240, np.uint8)
    cv2.putText(strip, "MUELLER 1956", (20, size[0] * 2 // 3), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), thick)
    strip = np.ascontiguousarray(np.rot90(strip, quarters))
    found = find_marks(strip, PARAMS).texts
    mask = mask_of(found, (strip.shape[1], strip.shape[0]), PARAMS.margin)
    assert found
    assert np.all(paint(strip, mask) > 200), "no letter is left"
    assert mask.mean() < 0.9


def test_the_reader_counts_in_32_bits_on_any_processor() -> None:
    assert find_marks(labelled("MRN 4471230", (4, 4), 14), PARAMS).texts
    reader = marks._reader(PARAMS.text_scale)
    requests = [request for (_, precision), request in reader.requests.items() if precision == EXACT]
    assert len(requests) == 3, "detector, classifier, reader"
    for request in requests:
        compiled = request.get_compiled_model()
        assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"
        assert compiled.get_property("ENABLE_CPU_PINNING") is False


def test_a_strip_is_not_enlarged_beyond_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []

    class Reader:
        def lines(self, bgr: RGB, _precision: str) -> list[Any]:
            shapes.append(bgr.shape)
            return []

    monkeypatch.setattr(marks, "_reader", lambda _scale: Reader())
    monkeypatch.setattr(marks, "counts_in_16_bits", lambda: False)
    for height, width in ((1, 2000), (2000, 2), (150, 1600), (240, 320), (1, 65535)):
        find_marks(np.full((height, width, 3), 200, np.uint8), PARAMS)
    assert shapes == [(500, 2000, 3), (2000, 500, 3), (400, 1600, 3), (240, 320, 3), (492, 1966, 3)]


def test_paint_takes_the_colour_around_and_leaves_the_rest() -> None:
    rgb = np.full((60, 80, 3), (200, 100, 150), np.uint8)
    rgb[20:30, 20:60] = 0
    mask = mask_of([((20, 20), (59, 20), (59, 29), (20, 29))], (80, 60), 3)
    assert np.array_equal(paint(rgb, mask), np.full_like(rgb, (200, 100, 150)))
    assert mask.sum() == 46 * 16


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_moves_pixels_as_pillow_does_and_boxes_with_them(orientation: int, tmp_path: Path) -> None:
    rgb = stained(60, 40)
    rgb[5:15, 10:30] = (0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(rgb).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    turned = turn_pixels(rgb, orientation)
    assert np.array_equal(turned, expected)
    assert turned_size((60, 40), orientation) == (turned.shape[1], turned.shape[0])
    x, y, w, h = map(int, turn_box((10, 5, 20, 10), (60, 40), orientation))
    blue = np.zeros(turned.shape[:2], bool)
    blue[y : y + h, x : x + w] = True
    assert np.array_equal((turned == (0, 0, 255)).all(axis=2), blue)
    outcome, content = outcome_of(tmp_path / "a.png")
    assert (outcome.orientation, outcome.file) == (orientation, "image.png")
    assert np.array_equal(read_image(content), expected)


def jpeg_of(rgb: RGB, folder: Path, **options: Any) -> bytes:
    Image.fromarray(rgb).save(folder / "made.jpg", quality=90, **options)
    return (folder / "made.jpg").read_bytes()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}])
def test_a_jpeg_keeps_its_pixels_and_loses_all_words(tmp_path: Path, options: dict[str, object]) -> None:
    plain = jpeg_of(stained(), tmp_path, **options)
    words = b"".join(
        struct.pack(">BBH", 0xFF, marker, 14) + b"Anna Secret."
        for marker in (*range(0xE0, 0xF0), 0xFE)
    )  # fmt: skip
    dirty = plain[:2] + words + plain[2:] + b"Anna Secret. after the end"
    clean = jpeg.rewrite(dirty)
    assert b"Secret" not in clean
    assert jpeg.verify(clean) is None
    assert jpeg.verify(dirty) is not None
    assert np.array_equal(read_image(clean), read_image(plain))


@pytest.mark.parametrize(
    "odd",
    [
        lambda jpg: jpg[:-2],
        lambda jpg: jpg[: len(jpg) // 2],
        lambda jpg: jpg[:2] + b"garbage" + jpg[2:],
        lambda jpg: b"\x89PNG" + jpg,
        lambda jpg: jpg[:4] + b"\xff\xff" + jpg[6:],
        lambda jpg: b"\xff\xd8\xff\xd9",
        lambda jpg: b"",
    ],
)
def test_odd_jpegs_are_not_rewritten(tmp_path: Path, odd: object) -> None:
    with pytest.raises(jpeg.OddJpegError):
        jpeg.rewrite(odd(jpeg_of(stained(), tmp_path)))  # type: ignore[operator]


def test_the_jpeg_check_accounts_for_every_byte(tmp_path: Path) -> None:
    good = jpeg.rewrite(jpeg_of(stained(), tmp_path))
    comment = b"\xff\xfe\x00\x06Anna"
    at = good.index(b"\xff\xda")
    for bad in (good + b"A", good[:2] + comment + good[2:], good[:at] + comment + good[at:], good[:-2], b"", good[:30]):
        assert jpeg.verify(bad) is not None


def encoded(**options: Any) -> bytes:
    buffer = io.BytesIO()
    rgb = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (149, 203, 3), np.uint8), (9, 9), 3)
    picture = Image.fromarray(rgb)
    (picture.convert("L") if options.pop("grey", False) else picture).save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


def by_opencv(*options: int) -> bytes:
    rgb = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (149, 203, 3), np.uint8), (9, 9), 3)
    return cv2.imencode(".jpg", rgb, options)[1].tobytes()


USUAL = {
    "plain": encoded(),
    "optimized": encoded(optimize=True),
    "full colour": encoded(subsampling=0),
    "half colour": encoded(subsampling=1),
    "grey": encoded(grey=True),
    "progressive": encoded(progressive=True),
    "restarts by row": encoded(restart_marker_rows=1),
    "restarts by block": encoded(restart_marker_blocks=1),
    "grey restarts": encoded(restart_marker_blocks=3, grey=True),
    "opencv": by_opencv(),
    "opencv progressive": by_opencv(cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "opencv restarts": by_opencv(cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
}
BLIND = PARAMS.model_copy(update={"text_min_image": 4096})


@pytest.mark.parametrize("kind", USUAL)
def test_usual_jpegs_stay_bit_for_bit(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(USUAL[kind])
    assert outcome_of(tmp_path / "a.jpg", BLIND)[0].route == "jpeg_rewrite"


@pytest.mark.parametrize("words", [b"A", b"ANNA MUELL", b"PATIENT: MUELLER, ANNA"])
@pytest.mark.parametrize("kind", USUAL)
def test_words_behind_the_last_block_of_any_stretch_do_not_pass(kind: str, words: bytes, tmp_path: Path) -> None:
    good = USUAL[kind]
    ends = [found.start() for found in re.finditer(rb"\xff(?:[\xc4\xd0-\xd7\xda]|\xd9$)", good)]
    ends = [at for at in ends if at > good.index(b"\xff\xda") + 20]
    for at in {ends[0], ends[len(ends) // 2], ends[-1]}:
        dirty = good[:at] + words + good[at:]
        if at == ends[-1]:
            assert np.array_equal(read_image(dirty), read_image(good)), "nobody sees the words"
        (tmp_path / "a.jpg").write_bytes(dirty)
        outcome, content = outcome_of(tmp_path / "a.jpg", BLIND)
        assert outcome.route == "png_anew"
        assert np.array_equal(read_image(content), read_image(dirty))


@pytest.mark.parametrize("words", [b"A", b"\xaa", b"ANNA MUELL", b"PATIENT: MUELLER, ANNA"])
@pytest.mark.parametrize("kind", USUAL)
def test_the_decoder_alone_shows_whether_it_reads_each_stretch_to_its_end(kind: str, words: bytes) -> None:
    good = jpeg.rewrite(USUAL[kind])
    assert not jpeg.may_hide_words(good, read_image)
    ends = [found.start() for found in re.finditer(rb"\xff(?:[\xc4\xd0-\xd7\xda]|\xd9$)", good)]
    dirty = [good[:at] + words + good[at:] for at in ends if at > good.index(b"\xff\xda") + 20]
    stretches = [one for one in dirty if jpeg.verify(one) is None]  # the others have words between segments
    assert len(stretches) >= (
        1 if kind in ("plain", "optimized", "full colour", "half colour", "grey", "opencv") else 7
    )
    for one in {*stretches[:2], stretches[len(stretches) // 2], *stretches[-2:]}:
        assert jpeg.may_hide_words(one, read_image), good == one


def test_a_broken_scan_does_not_hide_what_no_decoder_reads() -> None:
    """Bits that run out in one scan are no sign that those of another are needed."""
    good = jpeg.rewrite(USUAL["progressive"])
    scans = [
        found.start() for found in re.finditer(rb"\xff[\xc4\xda]", good) if found.start() > good.index(b"\xff\xda")
    ]
    cut, end = scans[0], len(good) - 2
    assert good[cut + 1] == 0xC4, "the end of the first scan"
    assert jpeg.may_hide_words(good[: cut - 40] + good[cut:end] + b"ANNA" + good[end:], read_image)


def test_coded_pixels_that_read_as_text_do_not_pass(tmp_path: Path) -> None:
    """Found by fuzzing: spliced into a scan, a line of an XMP packet happened to be whole blocks."""
    good = jpeg.rewrite(USUAL["plain"])
    words, at = b"MUELLER^ANNA *1970-12-27", good.index(b"\xff\xda") + 14
    scan = good[at:-2]
    assert not jpeg.reads_as_text(scan)
    assert jpeg.reads_as_text(scan[:300] + words + scan[300:])
    assert not jpeg.reads_as_text(scan[:300] + words[:-1] + b"\0" + scan[300:])
    (tmp_path / "a.jpg").write_bytes(mutated("jpeg", 8498)[1])
    assert b"C63F51C53C49" in jpeg.rewrite((tmp_path / "a.jpg").read_bytes())
    outcome, content = outcome_of(tmp_path / "a.jpg", BLIND)
    assert outcome.route == "png_anew"
    assert not Needles(["C63F51C53C49"]).inside(content)


def test_plain_ground_does_not_read_as_text() -> None:
    """It is coded as few bytes over and over, printable ones now and then."""
    for coded in (
        b'I;*r"""""""""""""""""""""/^P',
        b'Y4""D""D""D""D""D""D""D""D""D"',
        b"ZZZZZZZZZZZZZZZZZZu" + b"-" * 11,
    ):
        assert not jpeg.reads_as_text(coded)
        assert jpeg.reads_as_text(coded + b" MUELLER^ANNA *1970-12-27")
    for seed in range(40):
        rgb = cv2.GaussianBlur(np.random.default_rng(seed).integers(0, 256, (128, 256, 3), np.uint8), (0, 0), 4)
        rgb[:, 100:] = (243, 241, 244)
        buffer = io.BytesIO()
        Image.fromarray(rgb).save(buffer, "JPEG", quality=60 + seed % 32, optimize=True, subsampling=2 * (seed % 2))
        assert not jpeg.may_hide_words(jpeg.rewrite(buffer.getvalue()), read_image), seed


def scan_by_scan(*planes: tuple[int, RGB]) -> bytes:
    """A JPEG of three components, each scan with one of them: (its number, grey picture), with the usual tables."""
    scans, start = b"", b""
    for number, plane in planes:
        buffer = io.BytesIO()
        Image.fromarray(plane).save(buffer, "JPEG", quality=90)
        grey = jpeg.rewrite(buffer.getvalue())
        at = grey.index(b"\xff\xda")
        scans += struct.pack(">HHBBBBBB", 0xFFDA, 8, 1, number, 0, 0, 63, 0) + grey[at + 10 : -2]
        frame = grey.index(b"\xff\xc0")
        head = struct.pack(">HHB", 0xFFC0, 17, 8) + grey[frame + 5 : frame + 9] + b"\3\1\x11\0\2\x11\0\3\x11\0"
        start = grey[:frame] + head + grey[frame + 13 : at]
    return start + scans + b"\xff\xd9"


def test_a_scan_that_a_later_one_draws_over_does_not_pass() -> None:
    picture = cv2.circle(np.full((48, 160), 200, np.uint8), (60, 24), 15, 90, -1)
    # Averages of blocks, which the later scan overwrites; other coefficients would stay where it has none.
    words = np.kron(np.random.default_rng(0).integers(0, 2, (6, 20), np.uint8) * 200, np.ones((8, 8), np.uint8))
    ground = np.full((48, 160), 128, np.uint8)
    good = scan_by_scan((1, picture), (2, ground), (3, ground))
    twice = scan_by_scan((1, words), (1, picture), (2, ground), (3, ground))
    assert np.array_equal(read_image(twice), read_image(good)), "nobody sees the words"
    assert jpeg.verify(twice) is None
    assert not jpeg.may_hide_words(good, read_image)
    assert jpeg.may_hide_words(twice, read_image)
    assert account(twice)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def test_the_png_check_accounts_for_every_byte() -> None:
    good = png_bytes(stained(20, 10))
    assert account(good) == []
    rows = b"".join(b"\0" + bytes(60) for _ in range(10))
    head = good[:33]
    hidden = head + chunk(b"IDAT", zlib.compress(rows) + b"Anna") + chunk(b"IEND", b"")
    longer = head + chunk(b"IDAT", zlib.compress(rows + b"Anna")) + chunk(b"IEND", b"")
    for bad in (good + b"A", head + chunk(b"tEXt", b"a\0Anna") + good[33:], hidden, longer, good[:-12], b"", good[:50]):
        assert account(bad)
    assert account(head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")) == []


@pytest.mark.skipif(not (SHARED / "phi/exif_samples").is_dir(), reason="../shared/data/phi is not there")
def test_camera_files_come_out_bare() -> None:
    """Real EXIF, GPS, XMP, maker notes and broken segments; without the search for text, which is not the point."""
    blind = PARAMS.model_copy(update={"text_min_image": 4096})
    files = [p for p in sorted((SHARED / "phi/exif_samples").rglob("*")) if p.suffix.lower() in (".jpg", ".jpeg")]
    passed = 0
    for path in files[::3]:
        outcome, content = outcome_of(path, blind)
        if outcome.file is None:
            assert outcome.reason is not None
            continue
        passed += 1
        assert account(content) == []
        assert not re.search(rb"Exif\0|http://ns\.adobe|Photoshop|JFIF|ICC_PROFILE|Canon|NIKON", content)
    assert passed >= len(files[::3]) * 0.8


@pytest.mark.skipif(not (SHARED / "bccd").is_dir(), reason="../shared/data/bccd is not there")
@pytest.mark.parametrize("number", [2, 212, 236, 272])
def test_real_cells_that_look_like_letters_are_left_alone(number: int) -> None:
    """Of 292 blood fields, these are among those where the text reader is surest of what is not there."""
    path = SHARED / f"bccd/JPEGImages/BloodImage_{number:05d}.jpg"
    outcome, content = outcome_of(path)
    assert (outcome.route, outcome.painted) == ("jpeg_rewrite", ())
    asking = PARAMS.model_copy(update={"review": True})
    assert find_marks(read_image(path), asking).doubtful > 0
    assert np.array_equal(read_image(content), read_image(path))
