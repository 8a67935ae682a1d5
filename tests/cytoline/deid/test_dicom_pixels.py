"""What hides in and around the pixels themselves, and pixels that are painted over."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from cytoline.deid.accounting.dicom import findings
from cytoline.deid.dicom import CannotRecreate, recreate_dicom
from cytoline.images import RGB
from tests.cytoline.deid.test_dicom_canaries import RAW, assert_gone, places
from tests.cytoline.deid.test_dicom_files import (
    IDENTITY,
    anew,
    jpeg,
    set_pixels,
    slide,
    tissue,
    with_jpegs,
    written,
)


def test_surplus_pixel_data_is_left_behind() -> None:
    out = slide()
    out.PixelData += RAW
    assert "dicom:(7FE0,0010)" in places(written(out))
    assert_gone(anew(written(out)))


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_bits_that_no_pixel_uses(kind: type) -> None:
    """An overlay in the upper four bits of sixteen."""
    values = np.random.default_rng(1).integers(0, 1 << 11, (1, 16, 16)).astype(kind)
    hidden = values.view(np.uint16) | np.resize(np.frombuffer(RAW, np.uint8), (1, 16, 16)).astype(np.uint16) << 12
    out = slide()
    set_pixels(out, hidden.view(kind), "MONOCHROME2", stored=12)
    assert "dicom:frame/bits" in places(written(out))
    made = anew(written(out))
    assert findings(made) == []
    assert np.array_equal(dcmread(io.BytesIO(made)).pixel_array, values[0])


def test_palette_entries_that_no_pixel_uses() -> None:
    out = slide()
    set_pixels(out, np.arange(16, dtype=np.uint8).reshape(1, 4, 4), "PALETTE COLOR")
    table = np.arange(256, dtype="<u2") * 257
    table[100:104] = np.frombuffer(RAW, "<u2")
    for name in ("Red", "Green", "Blue"):
        setattr(out, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(out, f"{name}PaletteColorLookupTableData", table.tobytes())
    assert "dicom:(0028,1202)" in places(written(out))
    made = anew(written(out))
    assert_gone(made)
    assert dcmread(io.BytesIO(made)).GreenPaletteColorLookupTableData[:32] == table[:16].tobytes()


def _segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


@pytest.mark.parametrize(("plant", "place", "route"), [
    (lambda frame: frame[:2] + _segment(0xFE, RAW) + frame[2:], "dicom:frame/jpeg:COM", "copied"),
    (lambda frame: frame[:2] + _segment(0xE1, b"Exif\0\0" + RAW) + frame[2:], "dicom:frame/jpeg:APP1", "copied"),
    (lambda frame: frame[:2] + _segment(0xEE, b"Adobe\0\x64\0\0\0\0\x01" + RAW) + frame[2:], "dicom:frame/jpeg:APP14",
     "copied"),
    (lambda frame: frame + RAW, "dicom:frame/jpeg:trailing", "copied"),
    (lambda frame: frame[:2] + _segment(0xDB, b"\x03" + RAW * 8) + frame[2:], "dicom:frame/jpeg:tables", "decoded"),
    (lambda frame: frame[:-2] + RAW + frame[-2:], "dicom:frame/jpeg:scan", "decoded"),
])  # fmt: skip
def test_a_canary_in_a_jpeg_frame(plant: Callable[[bytes], bytes], place: str, route: str) -> None:
    """In its segments, behind its end, in a table that nothing asks for, and behind the last block of its scan."""
    frames = [jpeg(tissue(0)), plant(jpeg(tissue(1)))]
    content = written(with_jpegs(slide(), frames), JPEGBaseline8Bit)
    assert RAW in content
    assert place in places(content)
    made = recreate_dicom(content, IDENTITY, lambda rgb: ())
    assert made.route == route
    assert made.content is not None
    assert_gone(made.content)
    before, after = (dcmread(io.BytesIO(one)).pixel_array for one in (content, made.content))
    assert np.array_equal(before, after)


def test_a_comment_in_a_jpeg_2000_frame() -> None:
    """In the main header and behind the end."""
    out = dcmread(get_testdata_file("MR_small_jp2klossless.dcm", download=False))
    codestream = out.PixelData[16:].rstrip(b"\0")
    codestream = codestream[: codestream.rfind(b"\xff\xd9") + 2]
    at = 4 + int.from_bytes(codestream[4:6], "big")
    planted = codestream[:at] + b"\xff\x64\x00\x0c\x00\x01" + RAW + codestream[at:] + RAW
    out.PixelData = encapsulate([planted + b"\0" * (len(planted) % 2)])
    content = written(out, out.file_meta.TransferSyntaxUID)
    assert {"dicom:frame/j2k:COM", "dicom:frame/j2k:trailing"} <= places(content)
    made = recreate_dicom(content, IDENTITY, None)
    assert made.route == "copied"
    assert made.content is not None
    assert_gone(made.content)
    assert np.array_equal(dcmread(io.BytesIO(made.content)).pixel_array, out.pixel_array)


def test_words_behind_the_last_packet_of_a_jpeg_2000_tile() -> None:
    """No marker tells of them: the frame is decoded and written uncompressed."""
    out = dcmread(get_testdata_file("MR_small_jp2klossless.dcm", download=False))
    codestream = out.PixelData[16:].rstrip(b"\0")
    end, start = codestream.rfind(b"\xff\xd9"), codestream.index(b"\xff\x90")
    length = (end - start + len(RAW)).to_bytes(4, "big")
    planted = codestream[: start + 6] + length + codestream[start + 10 : end] + RAW + codestream[end:]
    out.PixelData = encapsulate([planted + b"\0" * (len(planted) % 2)])
    made = recreate_dicom(written(out, out.file_meta.TransferSyntaxUID), IDENTITY, None)
    assert made.route == "decoded"
    assert made.content is not None
    assert_gone(made.content)
    assert np.array_equal(dcmread(io.BytesIO(made.content)).pixel_array, out.pixel_array)


def test_offset_table_with_words() -> None:
    content = written(with_jpegs(slide(), [jpeg(tissue(0)), jpeg(tissue(1))]), JPEGBaseline8Bit)
    at = content.index(b"\xfe\xff\x00\xe0\x08\x00\x00\x00") + 8
    content = content[:at] + RAW + content[at + 8 :]
    assert "dicom:frame/offsets" in places(content)
    assert_gone(anew(content))


def _block(rgb: RGB) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Finds the planted block of pure magenta."""
    rows, columns = np.nonzero((rgb == (255, 0, 255)).all(axis=2))
    if not len(rows):
        return ()
    x0, x1, y0, y1 = (int(one) for one in (columns.min(), columns.max(), rows.min(), rows.max()))
    return (((x0, y0), (x1, y0), (x1, y1), (x0, y1)),)


def test_marks_in_one_frame_are_painted_and_the_others_kept() -> None:
    out = slide()
    frames = np.stack([tissue(0), tissue(1)])
    frames[1, 10:14, 20:26] = (255, 0, 255)
    set_pixels(out, frames, "RGB")
    made = recreate_dicom(written(out), IDENTITY, _block)
    assert made.content is not None
    assert (made.route, list(made.painted)) == ("decoded", [1])
    assert findings(made.content) == []
    new = dcmread(io.BytesIO(made.content))
    assert np.array_equal(new.pixel_array[0], frames[0])
    assert not _block(new.pixel_array[1])
    assert np.array_equal(new.pixel_array[1, 24:], frames[1, 24:])
    assert new.ImageType[0] == "DERIVED"


def test_marks_that_come_back_lead_to_quarantine() -> None:
    with pytest.raises(CannotRecreate, match="text_remains"):
        recreate_dicom(written(slide()), IDENTITY, lambda rgb: (((1, 1), (4, 1), (4, 4), (1, 4)),))


@pytest.mark.parametrize("change", [
    {"ImageType": ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]},
    {"ImageType": ["DERIVED", "PRIMARY", "OVERVIEW", "NONE"]},
    {"ImageType": ["DERIVED", "PRIMARY", "THUMBNAIL", "RESAMPLED"]},
    {"ImageType": ["ORIGINAL", "PRIMARY"]},
    {"SpecimenLabelInImage": "YES"},
])  # fmt: skip
def test_a_label_is_refused(change: dict[str, object]) -> None:
    out = slide()
    for keyword, value in change.items():
        setattr(out, keyword, value)
    with pytest.raises(CannotRecreate, match="slide_label"):
        recreate_dicom(written(out), IDENTITY, None)


def drawn_in_equal_entries() -> bytes:
    """Two entries of the palette are the same colour but for its low byte, and the picture is drawn in them."""
    values = np.zeros((1, 40, 60), np.uint8)
    values[0, 10:20, 10:50] = 1
    out = slide()
    set_pixels(out, values, "PALETTE COLOR")
    for name in ("Red", "Green", "Blue"):
        setattr(out, f"{name}PaletteColorLookupTableDescriptor", [2, 0, 16])
        setattr(out, f"{name}PaletteColorLookupTableData", np.array([200 << 8, 200 << 8 | 77], "<u2").tobytes())
    return written(out)


def test_a_picture_drawn_in_equal_entries_is_found_and_not_written() -> None:
    content = drawn_in_equal_entries()
    assert "dicom:(0028,1203)" in places(content)
    made = anew(content)
    assert findings(made) == []
    assert dcmread(io.BytesIO(made)).pixel_array.max() == 0


def test_frames_that_nobody_vouches_for_are_written_uncompressed() -> None:
    content = written(with_jpegs(slide(), [jpeg(tissue(0)), jpeg(tissue(1))]), JPEGBaseline8Bit)
    kept = recreate_dicom(content, IDENTITY, None, vouches=lambda frame: True)
    spelled = recreate_dicom(content, IDENTITY, None, vouches=lambda frame: False)
    assert (kept.route, spelled.route) == ("copied", "decoded")
