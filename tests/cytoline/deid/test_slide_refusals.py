"""What is no slide, or none that can be made anew, is refused by its reason, whatever was changed in it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planted_slides import (
    SECRET,
    Planted,
    half,
    jpeg_coder,
    label_picture,
    made,
    page,
    picture,
    planted_svs,
    stripped,
    tiff,
    tiles_of,
)

from cytoline.deid.slide.recreate import is_slide, recreate_slide
from cytoline.deid.slide.refusal import CannotRecreate


def refused(tmp_path: Path, content: bytes) -> str:
    source, target = made(tmp_path, content)
    with pytest.raises(CannotRecreate) as caught:
        recreate_slide(source, target)
    assert not list(target.parent.glob("*")), "nothing half-made is left"
    assert SECRET.decode() not in str(caught.value)
    return caught.value.reason


def flat(compression: int = 1, photometric: int = 2, **tags: tuple[int, list[int] | bytes]) -> Planted:
    rgb = picture()
    return page(rgb, tiles_of(rgb, lambda tile: tile.tobytes()), compression, photometric, **tags)


def without_tile() -> Planted:
    spoiled = flat()
    spoiled.tiles[5] = b""
    return spoiled


REFUSED = {
    "old_jpeg": [flat(compression=6)],
    "compression": [flat(compression=34712), flat(compression=7, photometric=6), flat(compression=8, t317=(3, [3]))],
    "samples": [
        flat(t284=(3, [2])),
        flat(t258=(3, [4, 4, 4])),
        flat(t258=(3, [16, 16, 16])),
        flat(t274=(3, [6])),
        flat(t338=(3, [1])),
        flat(photometric=3),
        flat(photometric=6),
        flat(t339=(3, [3, 3, 3])),
        flat(t32997=(4, [2])),
    ],
    "missing_tile": [without_tile()],
    "damaged": [
        flat(t322=(3, [50])),
        flat(t322=(3, [0])),
        flat(t323=(3, [128])),
        flat(t256=(4, [700])),
        flat(t324=(4, [10**9] * 70)),
        flat(compression=8),
        flat(compression=5),
        flat(t256=(2, SECRET)),
    ],
    "too_large": [flat(t256=(4, [0])), flat(t256=(4, [2**32 - 1]), t257=(4, [2**32 - 1]))],
    "no_base": [flat(t254=(4, [1])), stripped(label_picture((300, 200)), 0)],
    "vendor_format": [
        flat(t65420=(4, [1])),
        flat(t270=(2, b"<?xml version='1.0'?><DataObject ObjectType='DPUfsImport'/>\0"), t305=(2, b"Philips DP\0")),
    ],
}


@pytest.mark.parametrize(
    ("reason", "number"), [(reason, n) for reason, found in REFUSED.items() for n in range(len(found))]
)
def test_refused_by_reason(tmp_path: Path, reason: str, number: int) -> None:
    assert refused(tmp_path, tiff([REFUSED[reason][number]])) == reason


def test_loops_wild_offsets_and_other_files_are_refused(tmp_path: Path) -> None:
    content = bytearray(tiff([flat()]))
    at = struct.unpack_from("<I", content, 4)[0]
    link = at + 2 + 12 * struct.unpack_from("<H", content, at)[0]
    content[link : link + 4] = struct.pack("<I", at)
    assert refused(tmp_path, bytes(content)) == "damaged"
    content[link : link + 4] = struct.pack("<I", 2**32 - 1)
    assert refused(tmp_path, bytes(content)) == "damaged"
    assert refused(tmp_path, b"\x89PNG\r\n\x1a\n" + bytes(100)) == "not_a_tiff"
    assert refused(tmp_path, b"") == "not_a_tiff"
    assert refused(tmp_path, tiff([flat()] * 65)) == "damaged"


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(at=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.booleans(), near=st.booleans())
def test_whatever_is_changed_or_cut_only_its_own_refusal_is_raised(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: int, cut: bool, near: bool
) -> None:
    content = bytearray(_SMALL)
    # Half of the changes hit the last IFD and its values, where the structure is.
    place = len(content) - 1 - at % 400 if near else at % len(content)
    content[place] = value
    source = tmp_path_factory.mktemp("changed") / "source.tif"
    source.write_bytes(content[:place] if cut else content)
    target = source.with_name("target.tif")
    try:
        recreate_slide(source, target)
    except CannotRecreate:
        assert not target.exists()
    is_slide(source)


def _small() -> bytes:
    rgb = picture((100, 80))
    code = jpeg_coder(streamtype=0)
    return tiff([page(part, tiles_of(part, code), 7, 6) for part in (rgb, half(rgb, 2))])


_SMALL = _small()


def test_is_slide_tells_plain_files_apart(tmp_path: Path) -> None:
    cases = {
        "svs": (planted_svs(), True),
        "big": (planted_svs(big=True, order=">"), True),
        "strips": (tiff([stripped(label_picture((300, 200)), 0)]), False),
        "ndpi": (tiff([stripped(label_picture((300, 200)), 0, t65420=(4, [1]))]), True),
        "png": (b"\x89PNG\r\n\x1a\n", False),
        "empty": (b"", False),
        "cut": (planted_svs()[:200], False),
    }
    for name, (content, expected) in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        assert is_slide(path) == expected, name
