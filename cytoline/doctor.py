"""``cytoline doctor``: is this machine ready, and what to do about each thing that is not."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cytoline import doctor_project
from cytoline.doctor_project import FAIL, OK, WARN, Finding
from cytoline.errors import CytolineError

LOCK = Path("requirements.lock")
PYTHON = (3, 11)

_LEAST_FREE_GB, _GOOD_FREE_GB = 2, 10
_GOOD_MEMORY_GB = 6
_COLOURS = {OK: "green", WARN: "yellow", FAIL: "red"}
_REINSTALL = "run `make setup` (it installs what requirements.lock says)"


def doctor() -> None:
    """Check Python, packages, mmcv operations, CPU and GPU, disk, git and DVC, the key, and the MLflow store."""
    findings = [(name, _guarded(check)) for name, check in CHECKS.items()]
    show(findings, Console())
    if any(finding.status == FAIL for _, finding in findings):
        raise typer.Exit(1)


def show(findings: Iterable[tuple[str, Finding]], console: Console) -> None:
    """A table of everything, then one paragraph per problem with what to do about it."""
    rows = list(findings)
    table = Table("", "check", "found", box=None, pad_edge=False)
    for name, finding in rows:
        table.add_row(f"[{_COLOURS[finding.status]}]{finding.status}[/]", name, escape(finding.found))
    console.print(table)
    problems = [(name, finding) for name, finding in rows if finding.status != OK]
    if not problems:
        console.print("\nEverything is in order: `make repro` runs the pipeline.")
    for name, finding in problems:
        console.print(f"\n[{_COLOURS[finding.status]}]{name}[/]: {escape(finding.found)}", highlight=False)
        console.print(f"  to do: {escape(finding.to_do)}", highlight=False)


GPU = Path("/dev/nvidiactl")
"""There where a driver of an NVIDIA GPU is."""

_FOR_GPUS, _ALWAYS = ("nvidia-", "cuda-", "triton"), "nvidia-ml-py"
"""Packages that a machine (or a container image) without one may leave out, and one named like them that is needed."""


def check_python() -> Finding:
    """The lock file's versions are those of one Python."""
    found = platform.python_version()
    if sys.version_info[:2] != PYTHON:
        wanted = ".".join(map(str, PYTHON))
        return Finding(
            FAIL, f"{found}, expected {wanted}", f"install Python {wanted}, remove .venv and run `make setup`"
        )
    return Finding(OK, found)


def check_packages(lock: Path = LOCK) -> Finding:
    """Every line of the lock file against what is installed."""
    from packaging.requirements import Requirement

    try:
        lines = lock.read_text(encoding="utf-8").splitlines()
    except OSError:
        return Finding(FAIL, f"{lock} is missing", "run this at the top of the repository; restore it with git")
    wanted = [Requirement(line) for line in lines if line.strip() and not line.startswith(("#", "-"))]
    wanted = [item for item in wanted if item.marker is None or item.marker.evaluate()]
    if not GPU.exists():
        wanted = [item for item in wanted if not _left_out(item.name)]
    wrong = [f"{item.name} {found or 'absent'}" for item in wanted if not _fits(item, found := _version(item.name))]
    if wrong:
        more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        return Finding(FAIL, f"{len(wrong)} of {len(wanted)} differ: {', '.join(wrong[:4])}{more}", _REINSTALL)
    return Finding(OK, f"{len(wanted)} as in {lock}")


def _left_out(name: str) -> bool:
    return name.startswith(_FOR_GPUS) and name != _ALWAYS and _version(name) is None


def _fits(item: object, found: str | None) -> bool:
    # A local part (2.14.1+cpu) says for which hardware the same version was built.
    return found is not None and item.specifier.contains(found.split("+")[0], prereleases=True)  # type: ignore[attr-defined]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_mmcv() -> Finding:
    """mmcv's operations: where they come from, and one that has to give the right answer."""
    from cytoline import openmm

    compiled = openmm.has_compiled_extension()
    try:
        import torch

        openmm.register()
        extension = importlib.import_module(openmm.EXTENSION)
        boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]])
        kept = extension.nms(boxes, torch.tensor([0.8, 0.9, 0.7]), iou_threshold=0.5, offset=0).tolist()
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return Finding(FAIL, f"cannot be loaded ({type(error).__name__})", _REINSTALL)
    if kept != [1, 2]:
        return Finding(FAIL, "non-maximum suppression gives a wrong answer", _REINSTALL)
    return Finding(OK, "compiled" if compiled else f"torchvision {_version('torchvision')}, nothing compiled")


def check_opencv() -> Finding:
    """One build of OpenCV, and it loads."""
    pattern = re.compile(r"opencv[-_](contrib[-_])?python([-_]headless)?", re.IGNORECASE)
    names = {item.metadata["Name"] for item in importlib.metadata.distributions()}
    builds = sorted(name for name in names if name and pattern.fullmatch(name))
    try:
        import cv2
    except (ImportError, OSError):
        return Finding(
            FAIL,
            f"cv2 does not load ({', '.join(builds) or 'not installed'})",
            f"{_REINSTALL}; opencv-python without -headless also needs the system's libGL",
        )
    if len(builds) != 1:
        return Finding(
            WARN,
            f"{len(builds)} builds overwrite each other: {', '.join(builds)}",
            "pip uninstall all of them, then `pip install --no-deps --force-reinstall -r requirements.lock`",
        )
    return Finding(OK, f"{builds[0]} {cv2.__version__}")


def check_processor() -> Finding:
    """What training will run on, and in which precision."""
    import torch

    from cytoline.compute import core_count, has_fast_bf16

    precision = "bf16" if has_fast_bf16() else "fp32"
    if torch.cuda.is_available():
        return Finding(OK, f"{torch.cuda.get_device_name(0)} x{torch.cuda.device_count()}, {precision}")
    cores = core_count()
    if shutil.which("nvidia-smi"):
        return Finding(
            WARN,
            f"{cores} CPU cores, {precision}; there is a GPU, but PyTorch cannot use it",
            "update the NVIDIA driver, or install the CUDA build of PyTorch (README, section GPU)",
        )
    if precision == "fp32":
        return Finding(
            WARN, f"{cores} CPU cores without bf16 instructions", "nothing is wrong: training takes about twice as long"
        )
    amx = " and AMX" if torch.cpu._is_amx_tile_supported() else ""
    return Finding(OK, f"{cores} CPU cores with bf16 (AVX512-BF16{amx}), no GPU")


def check_memory() -> Finding:
    """Room for the phantom's training."""
    import psutil

    free = psutil.virtual_memory().available / 1e9
    if free < _GOOD_MEMORY_GB:
        return Finding(
            WARN,
            f"{free:.1f} GB free",
            f"close other programs, or lower `detector.batch` and `compute.workers` (the defaults may need "
            f"{_GOOD_MEMORY_GB} GB)",
        )
    return Finding(OK, f"{free:.1f} GB free")


def check_disk(folder: Path = Path()) -> Finding:
    """Room for the outs and DVC's cache."""
    free = shutil.disk_usage(folder).free / 1e9
    if free >= _GOOD_FREE_GB:
        return Finding(OK, f"{free:.0f} GB free")
    status = WARN if free >= _LEAST_FREE_GB else FAIL
    return Finding(status, f"{free:.1f} GB free", "free some space: `dvc gc --workspace` drops results of older states")


def check_exiftool() -> Finding:
    """A second opinion on what metadata a cleaned image still has."""
    if shutil.which("exiftool"):
        return Finding(OK, "present")
    return Finding(
        WARN,
        "not installed",
        "the pipeline does without, tests that cross-check cleaned images skip; "
        "on Debian: `apt-get install libimage-exiftool-perl`",
    )


CHECKS: dict[str, Callable[[], Finding]] = {
    "Python": check_python,
    "packages": check_packages,
    "mmcv operations": check_mmcv,
    "OpenCV": check_opencv,
    "processor": check_processor,
    "memory": check_memory,
    "disk": check_disk,
    "git": doctor_project.check_git,
    "DVC": doctor_project.check_dvc,
    "secure remote": doctor_project.check_secure_remote,
    "pseudonym key": doctor_project.check_key,
    "MLflow store": doctor_project.check_mlflow,
    "exiftool": check_exiftool,
}
"""Every check, in the order of the table."""


def _guarded(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except CytolineError as error:
        return Finding(FAIL, error.cause, error.remedy)
    except Exception as error:  # a doctor who collapses helps nobody
        return Finding(
            FAIL,
            f"the check itself failed ({type(error).__name__})",
            "this is a defect of `cytoline doctor`: please report it with the name of the check",
        )


if __name__ == "__main__":
    from cytoline.command import run

    run(doctor)
