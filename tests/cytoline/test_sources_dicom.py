"""DICOM as a source: every frame with its patient and scale, refusals by reason, nothing lost, nothing hostile read."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from cytoline.errors import CytolineError
from cytoline.sources.examine import check_conservation
from cytoline.sources.schema import check_source
from tests.planted_sources import FULL, SHARED, info, reasons
from tests.planted_unpacked import WHOLE_SLIDE, dicom, frame, left_out, one_lost, pixels, unpacked

DICOM = info("dicom", patient_id="column:PatientID", slide_id="column:SeriesInstanceUID")


def test_frames_of_two_patients_have_their_pixels_their_patient_and_their_scale(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    anna = [frame(1), frame(2)]
    dicom(folder / "a" / "IM0001", anna, "ANNA-1", "1.2.3")
    dicom(folder / "b.dcm", [frame(3)], "BERTA-2", "1.2.4", PixelSpacing=None)
    examined = unpacked(folder, DICOM)
    assert [(image.found.path, image.patient, image.slide, image.found.mpp) for image in examined.kept] == [
        ("a/IM0001/frame-000001.png", "ANNA-1", "1.2.3", pytest.approx(0.25)),
        ("a/IM0001/frame-000002.png", "ANNA-1", "1.2.3", pytest.approx(0.25)),
        ("b.dcm/frame-000001.png", "BERTA-2", "1.2.4", None),
    ]
    assert all(np.array_equal(pixels(image), rgb) for image, rgb in zip(examined.kept, anna, strict=False))
    assert not any(image.found.labelled for image in examined.kept)
    assert examined.used == {"a/IM0001", "b.dcm"}
    assert (examined.listing.seen, examined.entries) == (5, 3)
    with pytest.raises(RuntimeError, match="4 of 5 files"):
        check_conservation(one_lost(examined))


def test_each_file_means_the_original_and_not_its_frames(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    dicom(folder / "P1" / "a.dcm", [frame(1), frame(2)], "A")
    (patient,) = {image.patient for image in unpacked(folder, info("dicom")).kept}
    assert patient == "s/P1/a.dcm"
    assert {image.patient for image in unpacked(folder, info("dicom", patient_id="^(.*?)/")).kept} == {"P1"}


def test_of_many_frames_some_are_spread_evenly_and_the_rest_are_counted(tmp_path: Path) -> None:
    dicom(tmp_path / "in" / "a.dcm", [frame(seed) for seed in range(9)], "A")
    examined = unpacked(tmp_path / "in", DICOM.model_copy(update={"max_frames": 3}))
    assert [image.found.path[-10:] for image in examined.kept] == ["000002.png", "000005.png", "000008.png"]
    assert np.array_equal(pixels(examined.kept[1]), frame(4))
    assert (examined.entries, left_out(examined)) == (9, {("entry", "over_limit"): 6})


def test_what_is_refused_and_why(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    whole = dicom(folder / "good.dcm", [frame(1)], "A").read_bytes()
    kinds = {"SOPClassUID": WHOLE_SLIDE, "SpecimenLabelInImage": "NO"}
    dicom(folder / "label.dcm", [frame(2)], "A", ImageType=["ORIGINAL", "PRIMARY", "LABEL", "NONE"], **kinds)
    dicom(folder / "over.dcm", [frame(3)], "A", ImageType=["ORIGINAL", "PRIMARY", "OVERVIEW", "NONE"], **kinds)
    dicom(folder / "thumb.dcm", [frame(4)], "A", ImageType=["ORIGINAL", "PRIMARY", "THUMBNAIL", "NONE"], **kinds)
    dicom(folder / "bomb.dcm", [frame(5)], "A", Rows=60_000, Columns=60_000)
    dicom(folder / "more.dcm", [frame(6)], "A", NumberOfFrames=2_000_000_000)
    (folder / "cut.dcm").write_bytes(whole[:-100])
    (folder / "head.dcm").write_bytes(whole[:200])
    (folder / "text.dcm").write_text("no image")
    (folder / "empty.dcm").write_bytes(b"")
    (folder / "list.txt").write_text("Erika")
    (folder / "x.png").write_bytes(b"Erika")
    (folder / "README").write_text("a notice")
    for name in ("test-SR.dcm", "MR_small_jpeg_ls_lossless.dcm"):
        shutil.copyfile(str(get_testdata_file(name, download=False)), folder / name)
    examined = unpacked(folder, DICOM)
    assert [image.found.path for image in examined.kept] == ["good.dcm/frame-000001.png"]
    assert reasons(examined) == {
        "label.dcm": "slide_label",
        "over.dcm": "slide_label",
        "thumb.dcm": "slide_label",
        "bomb.dcm": "too_large",
        "more.dcm": "too_large",
        "cut.dcm": "truncated",
        "head.dcm": "truncated",
        "text.dcm": "unknown_format",
        "empty.dcm": "unknown_format",
        "list.txt": "other_file",
        "x.png": "other_file",
        "test-SR.dcm": "no_image",
        "MR_small_jpeg_ls_lossless.dcm": "not_readable",
    }
    assert len(list((tmp_path / "unpacked").rglob("*.png"))) == 1, "nothing refused was written, not even for a while"


def test_one_damaged_frame_does_not_take_the_others_along(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    original = Path(str(get_testdata_file("SC_rgb_rle_2frame.dcm", download=False))).read_bytes()
    second = original.rindex(b"\xfe\xff\x00\xe0")
    (folder / "a.dcm").write_bytes(original[: second + 8] + b"\xff" * 64 + original[second + 72 :])
    (folder / "b.dcm").write_bytes(original)
    examined = unpacked(folder, DICOM)
    assert reasons(examined)["a.dcm/frame-000002.png"] == "not_readable"
    assert {image.found.path for image in examined.kept} >= {"a.dcm/frame-000001.png", "b.dcm/frame-000002.png"}


@pytest.mark.filterwarnings("ignore:The value length")
def test_identifiers_that_no_standard_allows_are_none(tmp_path: Path) -> None:
    dicom(tmp_path / "in" / "a.dcm", [frame(1)], "A" * 5000)
    assert left_out(unpacked(tmp_path / "in", DICOM)) == {("file", "no_patient"): 1}


def test_options_of_other_kinds_are_refused() -> None:
    for more in ({"regions": "grid"}, {"region_px": 64}, {"box_px": 3}):
        with pytest.raises(CytolineError, match="is only for"):
            check_source({**FULL, "kind": "dicom", **more}, "x")
    with pytest.raises(CytolineError, match="max_frames"):
        check_source({**FULL, "kind": "dicom", "max_frames": 0}, "x")


@pytest.mark.needs_shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data here")
def test_a_scanners_own_files(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for path in (SHARED / "phi/openslide/tests/fixtures").glob("*.dcm"):
        shutil.copyfile(path, folder / path.name)
    examined = unpacked(folder, DICOM)
    (image,) = examined.kept
    assert (image.found.path, image.width, image.height) == ("boxes_0.dcm/frame-000001.png", 64, 64)
    assert image.found.mpp == pytest.approx(0.499)
    assert reasons(examined) == {"boxes_1.dcm": "slide_label"}
