"""The compiled walk is kept on disk; whatever is wrong there, JPEG are still accounted for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cytoline.deid.test_accounting_jpeg import plain

PROGRAM = "import sys; from cytoline.deid.accounting import account; print(account(open(sys.argv[1], 'rb').read()))"


def said(picture: Path, cache: Path) -> str:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(picture)], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("spoilt", [b"", b"half"])
def test_a_spoilt_cache_does_not_matter(tmp_path: Path, spoilt: bytes) -> None:
    picture, cache = tmp_path / "a.jpg", tmp_path / "cache"
    picture.write_bytes(plain())
    expected = said(picture, cache)
    kept = [path for path in cache.rglob("*") if path.suffix in (".nbi", ".nbc")]
    assert len(kept) == 2, "numba keeps what it compiled"
    for path in kept:
        content = path.read_bytes()
        path.write_bytes(spoilt)
        assert said(picture, cache) == expected
        path.write_bytes(content)


def test_no_place_for_a_cache_does_not_matter(tmp_path: Path) -> None:
    picture = tmp_path / "a.jpg"
    picture.write_bytes(plain())
    (tmp_path / "file").write_bytes(b"")
    assert said(picture, tmp_path / "file" / "below") == said(picture, tmp_path / "cache")
