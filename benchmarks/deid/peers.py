"""Other de-identifiers on the same files, each as its own documentation says, each in an environment of its own.

A peer that cannot be installed or started is reported as not run, with the reason, and never as a score of nought.
Folders are handed over case by case, so that one file that a peer trips over does not cost it the others.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FORMATS = frozenset({"jpeg", "png", "bmp", "webp", "avif", "tiff", "slide"})
INSTALL_SECONDS, RUN_SECONDS = 600, 120

_PILLOW = """
import pathlib, sys
from PIL import Image
source, target = map(pathlib.Path, sys.argv[1:])
for path in source.rglob("*"):
    if path.is_file():
        try:
            with Image.open(path) as image:
                image.save(target / path.name, image.format)
        except Exception as error:
            print(type(error).__name__, file=sys.stderr)
"""
_DEID = """
import pathlib, sys
from deid.dicom import get_identifiers, replace_identifiers
source, target = sys.argv[1:]
files = [str(path) for path in pathlib.Path(source).rglob("*.dcm")]
replace_identifiers(dicom_files=files, ids=get_identifiers(files), output_folder=target, save=True, overwrite=True)
"""


@dataclass(frozen=True)
class Peer:
    """``command`` has ``{python}``, ``{bin}``, ``{source}`` and ``{target}`` in it."""

    name: str
    package: str | None
    """As pip knows it; None where the running environment or the machine has it."""
    command: tuple[str, ...]
    groups: frozenset[str]
    """Groups of cases that it claims to handle; it is not judged by others."""


PEERS: tuple[Peer, ...] = (
    Peer(
        "exiftool -all=",
        None,
        ("exiftool", "-q", "-q", "-all=", "-r", "-o", "{target}/", "{source}"),
        FORMATS - {"bmp"},
    ),
    Peer("Pillow re-save", None, ("{python}", "-c", _PILLOW, "{source}", "{target}"), FORMATS),
    Peer(
        "dicom-anonymizer",
        "dicom-anonymizer",
        ("{bin}/dicom-anonymizer", "{source}", "{target}"),
        frozenset({"dicom", "study"}),
    ),
    Peer("deid", "deid", ("{python}", "-c", _DEID, "{source}", "{target}"), frozenset({"dicom", "study"})),
    Peer(
        "dicognito",
        "dicognito",
        ("{python}", "-m", "dicognito", "--output-directory", "{target}", "{source}"),
        frozenset({"dicom", "study"}),
    ),
)


@dataclass(frozen=True)
class Installed:
    """A peer that is ready, or the reason why it is not."""

    peer: Peer
    python: Path
    version: str
    not_run: str = ""


@dataclass(frozen=True)
class Outcome:
    """What one run left: whether it ended well, and where its output lies.

    An empty output of a run that did not end well is a case not run, not a case withheld.
    """

    ended_well: bool
    output: Path


def install(peer: Peer, folder: Path) -> Installed:
    """Make an environment below ``folder`` and install the peer with pip; never raises for what the peer does."""
    here = Path(sys.executable)
    if peer.package is None:
        program = peer.command[0]
        if "{" not in program and shutil.which(program) is None:
            return Installed(peer, here, "", f"{program} is not on this machine")
        return Installed(peer, here, _version(peer, here))
    home = folder / peer.package
    python = home / "bin/python"
    for command in (
        [str(here), "-m", "venv", str(home)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", peer.package],
    ):
        if not _run(command, INSTALL_SECONDS):
            return Installed(peer, python, "", "could not be installed")
    return Installed(peer, python, _version(peer, python))


def run(installed: Installed, source: Path, target: Path) -> Outcome:
    """Let a peer work on a copy of ``source``, which holds one case; ``target`` is made and must not exist.

    Raises ``ValueError`` for a peer that is not ready.
    """
    if installed.not_run:
        raise ValueError("this peer could not be made ready")
    target.mkdir(parents=True)
    copy = target.with_name(target.name + ".source")
    shutil.copytree(source, copy, symlinks=True)
    values = {
        "python": str(installed.python),
        "bin": str(installed.python.parent),
        "source": str(copy),
        "target": str(target),
    }
    try:
        done = _run([_filled(part, values) for part in installed.peer.command], RUN_SECONDS)
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    return Outcome(done, target)


def _filled(part: str, values: dict[str, str]) -> str:
    """Only whole placeholders: a script has braces of its own."""
    for key, value in values.items():
        part = part.replace(f"{{{key}}}", value)
    return part


def _run(command: Sequence[str], seconds: int) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _version(peer: Peer, python: Path) -> str:
    name = peer.package or "Pillow"
    command = [str(python), "-c", f"import importlib.metadata as m; print(m.version({name!r}))"]
    if peer.command[0] == "exiftool":
        command = ["exiftool", "-ver"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
