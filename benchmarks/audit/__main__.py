"""The audit and the gate, measured: is tampering found, is an answer quick, is nothing left of who was erased?

    python -m benchmarks.audit                        everything (twenty minutes on two cores)
    python -m benchmarks.audit --only tamper,erasure  some parts; the other figures stay as they were

Figures go to benchmarks/results/audit.json.  ``tamper`` and ``validators`` need a repository in which the pipeline has
run (``--project``, by default this one); it is copied, never changed.
"""

from __future__ import annotations

import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.audit import gating
from benchmarks.audit.archive import make_archive
from benchmarks.audit.erasing import measure_erasure
from benchmarks.audit.small_project import build
from benchmarks.audit.speed import measure_speed, plant
from benchmarks.audit.tampering import changed_byte, measure_tampering
from benchmarks.audit.validators import can_isolate, validator_failures
from benchmarks.result import ROOT, Figure, current_commit, record
from cytoline.audit.package import verify as package
from cytoline.audit.signing import make_key
from cytoline.command import run
from cytoline.compute import ComputeParams, worker_pool
from cytoline.errors import CytolineError
from cytoline.gate.rules import GateParams
from cytoline.progress import Bar

MODEL = "models/classifier"
CYTOLINE = (str(Path(sys.executable).with_name("cytoline")),)
SEED = 0


@dataclass(frozen=True)
class Bench:
    """Where to work, and how much of it."""

    folder: Path
    project: Path
    """A repository in which the pipeline has run."""
    places: int
    images: int
    versions: int
    comparisons: int


def tamper(bench: Bench) -> list[Figure]:
    """One changed byte at a time: seven kinds of files of a small project, and the files of a package."""
    counts = measure_tampering(build(bench.folder / "small"), bench.places, SEED)
    with exported(bench) as folder:
        counts["package file"] = tampered_package(folder, bench.places)
    named, places = (sum(count[position] for count in counts.values()) for position in (1, 2))
    each = ", ".join(f"{kind} {count[1]} of {count[2]}" for kind, count in counts.items())
    return [Figure("tamper_found", named / places, "share", 1.0, ">=", places, f"found and the file named: {each}")]


def tampered_package(folder: Path, places: int) -> tuple[int, int, int]:
    """Found, right file named, places: bytes of any file of a package."""
    if package.verify(folder, None):
        raise CytolineError("the package does not verify before anything is changed", "look at `audit verify`")
    chance, found, named = random.Random(SEED), 0, 0
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with Bar(places, "tampering with a package") as bar:
        for _ in range(places):
            file = chance.choice(files)
            with changed_byte(file, chance):
                findings = package.verify(folder, None)
            found += bool(findings)
            named += file.relative_to(folder).as_posix() in {finding.file for finding in findings}
            bar.advance(1)
    return found, named, places


def validators(bench: Bench) -> list[Figure]:
    """The package's independent validators, without a network."""
    with exported(bench) as folder:
        failures = validator_failures(folder)
    how = ", ".join(f"{name} {count}" for name, count in failures.items())
    cut_off = "in a network namespace of its own" if can_isolate() else "with every connection refused"
    return [
        Figure("validator_failures", sum(failures.values()), "failures", 0, "<=", len(failures), f"{how}; {cut_off}")
    ]


@contextmanager
def exported(bench: Bench) -> Iterator[Path]:
    """A signed package of the project's classifier, made by the command that a person types."""
    with tempfile.TemporaryDirectory(dir=bench.folder) as place:
        key = Path(place) / "keys/project.pem"
        make_key(key, Path(place) / "project.pub.pem")
        command = [*CYTOLINE, "audit", "export", MODEL, str(Path(place) / "package")]
        done = subprocess.run(
            [*command, "--key", str(key)], cwd=bench.project, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise CytolineError(f"export failed: {done.stderr.strip()[-300:]}", "run the pipeline there: `make repro`")
        yield Path(place) / "package"


def query(bench: Bench) -> list[Figure]:
    """Whole commands, from the start of the program, on a large archive whose index is up to date."""
    archive = make_archive(bench.folder / "archive", bench.images, bench.versions)
    first = timed(archive.folder, "subject", archive.patient)
    times = {
        "subject": [timed(archive.folder, "subject", archive.patient) for _ in range(5)],
        "model": [timed(archive.folder, "model", archive.model_ref) for _ in range(5)],
    }
    medians = {name: statistics.median(values) for name, values in times.items()}
    each = ", ".join(f"{name} {value:.2f} s" for name, value in medians.items())
    how = (
        f"medians of 5 whole commands: {each}; the slower counts; {bench.images} images, {bench.versions} versions; "
        f"the very first, which builds the index: {first:.0f} s"
    )
    shutil.rmtree(archive.folder)
    return [Figure("audit_query_s", max(medians.values()), "s", 2, "<=", 5, how)]


def timed(project: Path, *words: str) -> float:
    """Seconds of one ``cytoline audit`` command."""
    started = time.perf_counter()
    subprocess.run([*CYTOLINE, "audit", *words], cwd=project, capture_output=True, check=True)
    return time.perf_counter() - started


def speed(bench: Bench) -> list[Figure]:
    """Verification beside one plain sha256 of the same bytes."""
    project = build(bench.folder / "speed", sealed=False)
    plant(project, 600)
    ratio, ours, plain = measure_speed(project)
    fresh, _, _ = measure_speed(project, fresh=True)
    shutil.rmtree(project)
    how = f"{ours:.0f} MB/s beside {plain:.0f} MB/s; the first time in a clone, which needs MD5 too: {fresh:.2f}"
    return [Figure("verify_vs_sha256", ratio, "ratio", 0.7, ">=", 5, f"medians of 5, 600 MB, in turn: {how}")]


def erasure(bench: Bench) -> list[Figure]:
    """One patient out of a real project with remotes and MLflow, searched for by another program."""
    left, collateral, how = measure_erasure(bench.folder / "erasure")
    return [
        Figure("erasure_left", left, "files", 0, "<=", 1, how),
        Figure("erasure_collateral", collateral, "files", 0, "<=", 1, "files of other people changed or lost"),
    ]


def gate(bench: Bench) -> list[Figure]:
    """The gate on trainings that differ in nothing but the seed, and on true losses."""
    material = gating.Material.read(gating.MATERIAL)
    with worker_pool(ComputeParams.load()) as pool:
        answers = gating.measure_gate(material, GateParams.load(), pool, comparisons=bench.comparisons)
    Console().print(gating.power_table(answers))
    return gating.figures_of(answers)


PARTS: dict[str, Callable[[Bench], list[Figure]]] = {
    "tamper": tamper,
    "gate": gate,
    "query": query,
    "speed": speed,
    "erasure": erasure,
    "validators": validators,
}


def main(
    only: Annotated[str, typer.Option(help=f"comma-separated parts of {', '.join(PARTS)}")] = ",".join(PARTS),
    project: Annotated[Path, typer.Option(help="a repository in which the pipeline has run")] = ROOT,
    places: Annotated[int, typer.Option(min=1, help="places of each kind that are tampered with")] = 100,
    images: Annotated[int, typer.Option(min=100, help="images of the archive that is asked")] = 100_000,
    versions: Annotated[int, typer.Option(min=1, help="model versions of it")] = 500,
    comparisons: Annotated[int, typer.Option(min=10, help="comparisons that the gate judges")] = 200,
) -> None:
    """Measure the parts, print one table, write benchmarks/results/audit.json."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    if unknown := [name for name in names if name not in PARTS]:
        raise CytolineError(f"there is no part {unknown[0]!r}", f"the parts are {', '.join(PARTS)}")
    commit, console = current_commit(), Console(highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), project.resolve(), places, images, versions, comparisons)
        figures: list[Figure] = []
        for name in names:
            console.print(f"[bold]{name}[/]: {(PARTS[name].__doc__ or '').splitlines()[0]}")
            figures += PARTS[name](bench)
    record("audit", figures, commit)


if __name__ == "__main__":
    run(main)
