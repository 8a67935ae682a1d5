"""Broken and malicious DICOM files: refused in closed words or made anew, never another exception, never a hang."""

from __future__ import annotations

import logging
import struct
import warnings
import zlib

import numpy as np
import pytest
from pydicom.uid import JPEGBaseline8Bit

from benchmarks.deid.fuzz_mutations import mutated
from cytoline.deid.accounting.dicom import findings
from cytoline.deid.dicom import CannotRecreate, Recreated, read_frames, recreate_dicom
from cytoline.deid.dicom.refusal import REASONS
from cytoline.deid.needles import Needles
from tests.cytoline.deid.test_dicom_files import IDENTITY, jpeg, outcome, slide, tissue, with_jpegs, written


@pytest.fixture(scope="module", params=["native", "jpeg"])
def content(request: pytest.FixtureRequest) -> bytes:
    if request.param == "native":
        return written(slide())
    return written(with_jpegs(slide(), [jpeg(tissue(0)), jpeg(tissue(1))]), JPEGBaseline8Bit)


def assert_judged(content: bytes) -> Recreated | None:
    """Whatever is made anew is accounted for; the accounting of the broken file itself does not fail either."""
    findings(content)
    made, reason = outcome(content)
    if made is None or made.content is None:
        assert reason in REASONS
        return None
    assert findings(made.content) == []
    assert list(read_frames(made.content)), "what was made is read again"
    return made


def test_files_cut_short(content: bytes) -> None:
    for length in [*range(0, 400, 23), *range(400, len(content), 197), len(content) - 1]:
        assert_judged(content[:length])
    assert findings(content[: len(content) - 9]) != []


def test_files_with_other_bytes(content: bytes) -> None:
    """Each in a few places of the header, where lengths and tags are."""
    rng = np.random.default_rng(5)
    for _ in range(120):
        broken = bytearray(content)
        for at in rng.integers(128, 3000, 3):
            broken[at] = rng.choice([0, 1, 0x7F, 0xFE, 0xFF, int(rng.integers(256))])
        assert_judged(bytes(broken))


def test_a_slide_whose_type_is_not_kept_is_refused() -> None:
    """Found by fuzzing: the unknown word is left out, and without it nobody can tell that this is no label."""
    content = written(slide())
    assert_judged(content)
    assert outcome(content.replace(b"ORIGINAL", b"ORIgINAL"))[1] == "slide_label"


def test_coded_pixels_that_read_as_text_are_written_plain() -> None:
    """Found by fuzzing: a header spliced into the packets of a JPEG 2000 frame, which decodes all the same."""
    content, words = mutated("dicom-wsi", 8254)[1], Needles(["GUMUBEFULUBE"])
    pixels = content.index(b"\xe0\x7f\x10\x00")
    assert words.inside(content[pixels:])
    made = assert_judged(content)
    assert made is not None
    assert not words.inside(made.content)


def test_a_length_beyond_the_file() -> None:
    content = written(slide())
    at = content.index(b"\xe0\x7f\x10\x00OB")
    for length in (0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF, 0):
        broken = content[: at + 8] + struct.pack("<I", length) + content[at + 12 :]
        assert outcome(broken) == (None, "damaged")
        assert findings(broken) != []


def test_rows_that_nobody_could_hold() -> None:
    """Numbers of rows, columns and frames as they are claimed, not as they are."""
    for tag, claim in ((b"\x28\x00\x10\x00US\x02\x00", b"\xff\xff"), (b"\x28\x00\x11\x00US\x02\x00", b"\x00\x00")):
        content = written(slide())
        at = content.index(tag) + 8
        broken = content[:at] + claim + content[at + 2 :]
        assert outcome(broken)[1] in ("damaged", "too_large")


def test_a_codestream_that_claims_more_than_the_header() -> None:
    """Asked before it is decoded."""
    frame = bytearray(jpeg(tissue(0)))
    at = frame.index(b"\xff\xc0") + 5
    frame[at : at + 4] = b"\xff\xff\xff\xff"
    content = written(with_jpegs(slide(), [jpeg(tissue(1)), bytes(frame)]), JPEGBaseline8Bit)
    assert outcome(content) == (None, "damaged")
    assert "dicom:frame/jpeg:structure" in {found.place for found in findings(content)}


def test_sequences_without_end() -> None:
    """Ten thousand levels, and lengths left open."""
    content = written(slide())
    at = content.index(b"\x28\x00\x02\x00US")
    level = b"\x20\x00\x22\x92SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    deep = content[:at] + level * 10_000 + content[at:]
    assert outcome(deep)[1] in REASONS
    assert findings(deep) != []
    closing = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    closed = content[:at] + level * 10_000 + closing * 10_000 + content[at:]
    assert outcome(closed)[1] in (None, *REASONS)
    assert findings(closed) != []


def test_a_deflated_file_is_not_inflated() -> None:
    """A megabyte here would be a gigabyte there."""
    content = written(slide()).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99", 1)
    packer = zlib.compressobj(wbits=-15)
    bomb = packer.compress(bytes(1 << 26)) + packer.flush()
    at = content.index(b"\x02\x00\x10\x00UI") + 6
    head = content[:at] + struct.pack("<H", 22) + content[at + 2 : at + 24]
    broken = head[:140] + struct.pack("<I", len(head) - 144) + head[144:] + bomb
    assert outcome(broken) == (None, "transfer_syntax")
    assert [found.why for found in findings(broken) if found.place == "dicom:(0002,0010)"] == ["unsupported"]


def test_nothing_is_said_about_what_a_file_holds(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Libraries quote values in warnings and logs."""
    content = written(slide()).replace(b"20240229", b"SECRETXY").replace(b"1.2.3.9\0", b"SECRET 9")
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        assert assert_judged(content)
        with pytest.raises(CannotRecreate) as refusal:
            recreate_dicom(content[:900], IDENTITY, None)
    said = [str(one.message) for one in caught] + [caplog.text, repr(refusal.value), *capfd.readouterr()]
    assert not any("SECRET" in one for one in said)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize("sop_class", [
    "1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.1.1.11.1", "1.2.3",
    "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.104.2",
])  # fmt: skip
def test_documents_are_refused_even_with_pixels(sop_class: str) -> None:
    """PDF, report, presentation state, somebody's own class, segmentation, CDA."""
    out = slide()
    out.SOPClassUID = sop_class
    assert outcome(written(out)) == (None, "no_image")


def test_findings_name_places_only() -> None:
    content = written(slide()) + b"SECRET"
    for found in findings(content):
        assert found.place.startswith("dicom:")
        assert "SECRET" not in found.place
        assert "Doe" not in found.place
