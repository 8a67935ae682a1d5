"""How a figure is written down: one table on the screen, one JSON file beside the code, both from the same rows."""

from __future__ import annotations

import json
import platform
import subprocess
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from cytoline.compute import core_count

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parents[1]

Bound = float | tuple[float, float] | None


@dataclass(frozen=True)
class Figure:
    """One measured number.  ``sense`` says how ``bound`` binds it; ``in`` takes a pair (both ends allowed)."""

    name: str
    value: float | None
    """None where it could not be measured; ``how`` then says why."""
    unit: str
    bound: Bound
    sense: str
    n: int
    """How many runs, images or cases stand behind the value."""
    how: str

    @property
    def kept(self) -> bool | None:
        """Whether the bound is kept; None without a bound or value."""
        if self.value is None or self.bound is None:
            return None
        if isinstance(self.bound, tuple):
            return self.bound[0] <= self.value <= self.bound[1]
        return self.value <= self.bound if self.sense == "<=" else self.value >= self.bound


def record(benchmark: str, figures: list[Figure], commit: str, results: Path = RESULTS) -> list[Figure]:
    """Lay these figures over the ones of ``results/<benchmark>.json`` (by name), write it, print the table.

    ``commit`` is the one that was measured (``current_commit()`` before the work began).  A figure that stays from
    an earlier commit says so in its ``how``.
    """
    path = results / f"{benchmark}.json"
    fresh = {figure.name for figure in figures}
    merged = sorted([*_kept(path, fresh, commit), *figures], key=lambda figure: figure.name)
    content = {"commit": commit, "machine": machine(), "figures": [asdict(figure) for figure in merged]}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)
    print_table(benchmark, merged)
    return merged


def read_figures(path: Path) -> list[Figure]:
    """The figures of a results file; none where there is no such file."""
    if not path.exists():
        return []
    rows = json.loads(path.read_text(encoding="utf-8"))["figures"]
    return [
        Figure(**{**row, "bound": tuple(row["bound"]) if isinstance(row["bound"], list) else row["bound"]})
        for row in rows
    ]


def print_table(title: str, figures: list[Figure]) -> None:
    """One row per figure; a bound that is not kept is marked."""
    table = Table("figure", "value", "unit", "bound", "kept", "n", "how", title=title)
    for figure in figures:
        value = "not measured" if figure.value is None else f"{figure.value:g}"
        kept = {True: "yes", False: "[red]NO[/]", None: ""}[figure.kept]
        table.add_row(figure.name, value, figure.unit, bound_text(figure), kept, str(figure.n), figure.how)
    Console().print(table)


def machine() -> str:
    """The machine in words: processor, cores, memory, GPU; no name of it or its owner."""
    memory = round(psutil.virtual_memory().total / 2**30)
    return f"{_processor()}, {core_count()} cores, {memory} GiB, {_gpu()}, {platform.system()}"


def current_commit() -> str:
    """The commit that is measured, with ``-dirty`` when tracked files differ from it."""
    commit = _git("rev-parse", "--short=12", "HEAD") or "unknown"
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":!benchmarks/results", ":!README.md")
    return f"{commit}-dirty" if changed else commit


def _kept(path: Path, fresh: set[str], commit: str) -> list[Figure]:
    if not path.exists():
        return []
    old = json.loads(path.read_text(encoding="utf-8"))["commit"]
    rows = []
    for figure in read_figures(path):
        if figure.name in fresh:
            continue
        if old != commit and "(at commit " not in figure.how:
            figure = replace(figure, how=f"{figure.how} (at commit {old})")
        rows.append(figure)
    return rows


def bound_text(figure: Figure) -> str:
    """The bound in words; empty without one."""
    if figure.bound is None:
        return ""
    if isinstance(figure.bound, tuple):
        return f"{figure.bound[0]:g} to {figure.bound[1]:g}"
    return f"{figure.sense} {figure.bound:g}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _gpu() -> str:
    try:
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        names = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.split("\n")
    except (OSError, subprocess.SubprocessError):
        return "no GPU"
    return ", ".join(name for name in names if name) or "no GPU"


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
