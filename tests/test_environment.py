"""The installed packages are the ones of the lock, with one build of OpenCV among them."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def installed() -> dict[str, str]:
    # Only what is installed: a test run before this one may have put the packages that setuptools carries inside
    # itself on the search path.
    found = importlib.metadata.distributions(path=[sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    return {plain(item.metadata["Name"]): item.version for item in found}


@pytest.fixture(scope="module")
def locked() -> dict[str, Requirement]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {plain(item.name): item for item in wanted}


def test_every_line_of_the_lock_names_one_version(locked: dict[str, Requirement]) -> None:
    loose = [str(item) for item in locked.values() if not re.fullmatch(r"==[^*,]+", str(item.specifier))]
    assert loose == []


def test_what_is_installed_is_what_the_lock_says(locked: dict[str, Requirement], installed: dict[str, str]) -> None:
    wanted = {name: item for name, item in locked.items() if not item.marker or item.marker.evaluate()}
    wrong = {
        name: (str(item.specifier), installed.get(name))
        for name, item in wanted.items()
        if name not in installed or not item.specifier.contains(installed[name])
    }
    assert wrong == {}, "bring the environment up to date: rm .venv/.lock-hash; make setup"


def test_whatever_requirements_in_asks_for_is_in_the_lock(locked: dict[str, Requirement]) -> None:
    lines = (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines()
    asked = [Requirement(text) for line in lines if (text := line.split("#")[0].strip())]
    versions = {name: str(item.specifier).removeprefix("==") for name, item in locked.items()}
    wrong = [str(item) for item in asked if not item.specifier.contains(versions.get(plain(item.name), "0.dev0"))]
    assert asked
    assert wrong == []


def test_one_build_of_opencv(installed: dict[str, str]) -> None:
    assert [name for name in sorted(installed) if name.startswith("opencv")] == ["opencv-python-headless"]


def test_opencv_loads_and_works_without_a_window_system() -> None:
    code = (
        "import cv2, numpy as np\n"
        "ok, png = cv2.imencode('.png', np.zeros((4, 5, 3), np.uint8)); assert ok\n"
        "assert cv2.imdecode(png, cv2.IMREAD_COLOR).shape == (4, 5, 3)\n"
        "import pathlib; loaded = pathlib.Path('/proc/self/maps')\n"
        "text = loaded.read_text() if loaded.exists() else ''\n"
        "assert 'libGL.so' not in text and 'libQt5' not in text\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    "path",
    [
        "data/raw/manifest.jsonl",
        "data/.raw.0123456789ab.tmp/manifest.jsonl",
        "data/.quarantine.0123456789ab.tmp/a.jpg",
        "data/incoming/hospital/Mueller_Anna.jpg",
        "data/incoming/.hospital.0123456789ab.tmp/Mueller_Anna.jpg",
    ],
)
def test_git_never_takes_what_may_show_a_person(path: str) -> None:
    done = subprocess.run(["git", "check-ignore", "--quiet", "--no-index", path], cwd=ROOT, check=False)
    assert done.returncode == 0


def test_git_takes_the_phantoms_description() -> None:
    path = "data/incoming/phantom/source.yaml"
    done = subprocess.run(["git", "check-ignore", "--quiet", "--no-index", path], cwd=ROOT, check=False)
    assert done.returncode == 1
