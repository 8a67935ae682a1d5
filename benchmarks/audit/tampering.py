"""Is one changed byte found, and the right file named?  Seven kinds of files, as many random places of each as wanted.

python -m benchmarks.audit.tampering --places 100

Every place is a real change of a real file (size and time stay the same), judged by a whole verification of the project
in this process, and undone.  (The eighth kind, a file of a package, belongs to the benchmark of packages.)
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.audit.small_project import build
from cytoline.audit.verification import verify_project
from cytoline.command import run
from cytoline.progress import Bar

KINDS = {
    "image": ("data/clean/images/*",),
    "manifest row": ("data/clean/manifest.jsonl", "data/split/split.jsonl"),
    "lock entry": ("dvc.lock",),
    "metric": ("metrics/*", "metrics/plots/*"),
    "model weight": ("models/*/weights.safetensors",),
    "log line": ("data/clean/audit.jsonl", "data/review/decisions.jsonl"),
    "approval": ("approvals/approvals.jsonl", "approvals/policy.yaml", "approvals/keys/*.pem"),
}
"""Kind -> patterns of the files that it is planted in."""

Count = tuple[int, int, int]
"""Found, right file named, places."""


def measure_tampering(project: Path, places: int, seed: int) -> dict[str, Count]:
    """Plant ``places`` changes of each kind in ``project``, which must verify before and does so afterwards."""
    report = verify_project(project)
    if not report.passed:
        raise RuntimeError(f"the project does not verify before anything is changed: {report.findings[:3]}")
    chance, counts = random.Random(seed), {}
    with Bar(places * len(KINDS), "tampering") as bar:
        for kind, patterns in KINDS.items():
            files = sorted(path for one in patterns for path in project.glob(one) if path.is_file())
            if not files:
                raise RuntimeError(f"the project has no {kind}")
            found = named = 0
            for _ in range(places):
                file = chance.choice(files)
                with changed_byte(file, chance):
                    findings = verify_project(project).findings
                found += bool(findings)
                # The first finding of a kind is what a reader sees: it must be the file itself.
                name = file.relative_to(project).as_posix()
                named += any(one.file == name for one in findings) and len({one.file for one in findings}) == 1
                bar.advance(1)
            counts[kind] = (found, named, places)
    if not verify_project(project).passed:
        raise RuntimeError("the project does not verify afterwards: a change was not undone")
    return counts


@contextmanager
def changed_byte(file: Path, chance: random.Random) -> Iterator[int]:
    """One byte of ``file`` is another one while the block runs; gives its offset.  Size, mode and times stay."""
    status = file.stat()
    offset = chance.randrange(status.st_size)
    with file.open("rb") as handle:
        handle.seek(offset)
        before = handle.read(1)
    after = bytes([before[0] ^ chance.randrange(1, 256)])
    try:
        _write(file, offset, after, status)
        yield offset
    finally:
        _write(file, offset, before, status)


def _write(file: Path, offset: int, content: bytes, status: os.stat_result) -> None:
    file.chmod(0o600)
    with file.open("r+b") as handle:
        handle.seek(offset)
        handle.write(content)
    file.chmod(status.st_mode & 0o777)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def main(
    places: Annotated[int, typer.Option(help="of each kind")] = 100,
    seed: Annotated[int, typer.Option(help="where they are")] = 0,
    project: Annotated[Path | None, typer.Option(help="a copy that may be changed; none: a small one is made")] = None,
) -> None:
    """Count what is found."""
    with tempfile.TemporaryDirectory() as folder:
        counts = measure_tampering(project or build(Path(folder) / "project"), places, seed)
    for kind, (found, named, of) in counts.items():
        print(f"{kind:14} found {found} of {of}, right file and no other named {named} of {of}")


if __name__ == "__main__":
    run(main)
