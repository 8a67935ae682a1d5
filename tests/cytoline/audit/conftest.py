"""One real project for all tests of the audit's proofs: made once, copied for each test that changes it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.audit.small_project import build


@pytest.fixture(scope="session")
def sealed_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Committed, approved and sealed.  Not to be changed: ask for ``project``."""
    return build(tmp_path_factory.mktemp("audit") / "project", images=12)


@pytest.fixture
def project(sealed_project: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(sealed_project, tmp_path / "project", symlinks=True))
