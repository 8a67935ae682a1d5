"""How fast verification hashes: MB/s of ``audit verify`` over MB/s of one plain sha256 of the same bytes.

python -m benchmarks.audit.speed --mb 600

Both sides read the same files, all in the page cache, in turn; the figure is the median of the rounds' ratios.
"Sealed" is the usual state: the lists of the last seal are here, so each byte is hashed with SHA-256.  "Fresh" is the
first verification of a clone, which makes those lists anew (from SHA-256 too, where everything is as it was sealed).
"""

from __future__ import annotations

import hashlib
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.audit.small_project import build, commit, dvc
from cytoline.audit.leaves import FOLDER
from cytoline.audit.seal import make_seal
from cytoline.audit.verification import verify_project
from cytoline.command import run

_MB = 1_000_000
_CHUNK = 1 << 20


def plant(project: Path, megabytes: int) -> None:
    """Add a data set of large and small files to ``project``, and seal it.  Work tree and cache share their bytes."""
    chance, folder = random.Random(0), project / "data/large"
    folder.mkdir(parents=True)
    left, number = megabytes * _MB, 0
    while left > 0:
        # Slides, shards and fields: half of the bytes in large files, half in files of 200 kB.
        size = min(left, 32 * _MB if number % 2 else 200_000)
        for _ in range(1 if number % 2 else 160):
            (folder / f"{number:04}-{left:012}.bin").write_bytes(chance.randbytes(min(size, max(left, 1))))
            left -= size
        number += 1
    config = project / ".dvc/config"
    config.write_text(config.read_text(encoding="utf-8") + "[cache]\n    type = hardlink\n", encoding="utf-8")
    dvc(project, "add", "--quiet", "data/large")
    commit(project, "large")
    make_seal(project)
    commit(project, "sealed")


def measure_speed(project: Path, rounds: int = 5, fresh: bool = False) -> tuple[float, float, float]:
    """Ratio, MB/s of verification, MB/s of plain sha256: medians of ``rounds``, after one that does not count."""
    ratios, ours, theirs = [], [], []
    for number in range(rounds + 1):
        if fresh:
            shutil.rmtree(project / FOLDER, ignore_errors=True)
        start = time.perf_counter()
        report = verify_project(project)
        verified = report.size / _MB / (time.perf_counter() - start)
        if not report.passed:
            raise RuntimeError(f"the project does not verify: {report.findings[:3]}")
        plain = _plain(project)
        if number:
            ratios.append(verified / plain)
            ours.append(verified)
            theirs.append(plain)
    return statistics.median(ratios), statistics.median(ours), statistics.median(theirs)


def _plain(project: Path) -> float:
    """MB/s of reading every file that verification reads once, and hashing it, in one thread."""
    folders = [project / name for name in ("data", "models", "metrics", ".dvc/cache")]
    files = {path.stat().st_ino: path for folder in folders for path in folder.rglob("*") if path.is_file()}
    total, buffer = 0, bytearray(_CHUNK)
    view = memoryview(buffer)
    start = time.perf_counter()
    for path in files.values():
        hashed = hashlib.sha256()
        with path.open("rb", buffering=0) as handle:
            while count := handle.readinto(buffer):
                hashed.update(view[:count])
                total += count
        hashed.hexdigest()
    return total / _MB / (time.perf_counter() - start)


def main(
    mb: Annotated[int, typer.Option(help="megabytes of planted content")] = 600,
    rounds: Annotated[int, typer.Option(help="of each side, in turn")] = 5,
) -> None:
    """Measure both states."""
    with tempfile.TemporaryDirectory() as folder:
        project = build(Path(folder) / "project", sealed=False)
        plant(project, mb)
        for name, fresh in (("sealed", False), ("fresh", True)):
            ratio, ours, theirs = measure_speed(project, rounds, fresh)
            print(f"{name}: verify {ours:.0f} MB/s, plain sha256 {theirs:.0f} MB/s, ratio {ratio:.2f}")


if __name__ == "__main__":
    run(main)
