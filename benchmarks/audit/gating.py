"""How often the gate fails a change of nothing, and how often it catches a real loss, at the sizes of real test sets.

    python -m benchmarks.audit.gating

A null comparison sets one training against another that differs in nothing but its seed, on a test set of so many
patients.  A drop of 10 points is, for the classifier, a real one: cells graded by a classifier that was stopped early,
so many that balanced accuracy falls by that much over the whole pool; for the detector hits are taken away, from some
patients more than from others.  The noise of the seed that a comparison is told comes from the other trainings where
there are enough of them, else from the rules (and then from these very trainings: the shares are a little too good).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.audit.material import ABNORMAL, CLASSIFIER, Material, worse_called, worse_found
from benchmarks.audit.trainings import MATERIAL
from benchmarks.result import Figure, current_commit, record
from cytoline.command import run
from cytoline.compute import ComputeParams, worker_pool
from cytoline.gate.judge import failures, judge
from cytoline.gate.revision import Snapshot
from cytoline.gate.rules import GateParams
from cytoline.progress import track

PHANTOM, REAL = 5, (38, 57)
"""Patients of the phantom's test part; groups (fields) of the real images' test parts, CRIC's and BCCD's."""
SIZES = (PHANTOM, 10, 20, *REAL)
DROPS = (0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.40)
POWER = 0.9
SURE = 0.99
"""Larger drops than one that is caught so often are not tried."""
_LEAST_OTHERS = 3
"""Fewer tell less of the seed's noise than the rules do."""
_SALT = 20240601

Part = Literal["classifier", "detector"]
Pair = tuple[Snapshot, Snapshot, dict[str, float]]


@dataclass(frozen=True)
class Answer:
    """What the gate made of many comparisons at one size of the test set."""

    patients: int
    cells: int
    """Median."""
    false_fail: float
    caught: dict[Part, dict[float, float]]
    """Stage to true drop to the share caught by any rule."""
    comparisons: int

    def smallest(self, part: Part) -> float | None:
        """The drop that is caught nine times in ten, between the two that were tried; None beyond the largest."""
        before = (0.0, 0.0)
        for drop, share in self.caught[part].items():
            if share >= POWER:
                return before[0] + (drop - before[0]) * (POWER - before[1]) / max(share - before[1], 1e-9)
            before = (drop, share)
        return None


class Trial:
    """Draws comparisons and asks the gate."""

    def __init__(self, material: Material, params: GateParams, patients: int) -> None:
        self.material, self.params, self.patients = material, params, patients
        self.cells: list[int] = []

    def share(self, count: int, part: Part, drop: float) -> float:
        """Of ``count`` comparisons with a true ``drop`` (0: none at all), how many the gate fails."""
        rng = np.random.default_rng([_SALT, self.patients, round(1000 * drop), part == "detector"])
        return statistics.fmean(self._fails(rng, part, drop, number) for number in range(count))

    def _fails(self, rng: np.random.Generator, part: Part, drop: float, number: int) -> bool:
        before, after, seed_sd = self._pair(rng, part, drop)
        rules = {
            address: rule.model_copy(update={"limit": None, "seed_sd": seed_sd.get(address, rule.seed_sd)})
            for address, rule in self.params.rules.items()
            # A planted drop must be caught by the rules of its own stage.
            if address in before.figures and (not drop or address.startswith(part))
        }
        # The rules that are not asked here keep their part of the false alarm.
        alarm = self.params.false_alarm * len(rules) / len(self.params.rules)
        asked = self.params.model_copy(update={"rules": rules, "false_alarm": alarm})
        return bool(failures(judge(before, after, asked, number, ABNORMAL)))

    def _pair(self, rng: np.random.Generator, part: Part, drop: float) -> Pair:
        pool = self.material
        chosen = rng.choice(pool.patients, self.patients, replace=False).tolist()
        one, two = rng.permutation(len(pool.called))[:2]
        first, second = rng.permutation(len(pool.found))[:2]
        called, found = pool.called[two], pool.found[second]
        if drop and part == "classifier":
            called = worse_called(pool, called, drop, rng)
        elif drop:
            found = worse_found(found, pool.share_of_hits(int(second), drop), rng, pool.field_patient)
        before = pool.state("before", pool.called[one], pool.found[first], chosen)
        self.cells.append(int(pool.field_cells[np.isin(pool.field_patient, chosen)].sum()))
        return before, pool.state("now", called, found, chosen), self._seed_sd({int(one), int(two)})

    def _seed_sd(self, without: set[int]) -> dict[str, float]:
        """Of the classifier's figures, over the trainings that are not compared; nothing where these are too few."""
        others = [told for number, told in enumerate(self.material.pool_figures()) if number not in without]
        if len(others) < _LEAST_OTHERS:
            return {}
        return {address: statistics.stdev(told[address] for told in others) for address in CLASSIFIER}


def measure_gate(
    material: Material,
    params: GateParams,
    pool: Executor,
    sizes: Sequence[int] = SIZES,
    comparisons: int = 200,
) -> list[Answer]:
    """Ask the gate about ``comparisons`` null comparisons, and as many of every drop, at every size."""
    worst = min(material.balanced_accuracy(good) for good in material.called)
    deepest = max(worst - material.balanced_accuracy(bad) for bad in material.worse)
    drops: dict[Part, Sequence[float]] = {
        "classifier": [drop for drop in DROPS if drop <= deepest],
        "detector": DROPS,
    }
    asked = [part for part in drops if any(address.startswith(part) for address in params.rules)]
    jobs: dict[tuple[int, Part | None], Future[tuple[dict[float, float], list[int]]]] = {}
    # The largest test sets take longest, so they begin first.
    for size in sorted(sizes, reverse=True):
        trial = Trial(material, params, size)
        jobs[size, None] = pool.submit(_shares, trial, comparisons, "classifier", (0.0,))
        for part in asked:
            jobs[size, part] = pool.submit(_shares, trial, comparisons, part, drops[part])
    told = {key: jobs[key].result() for key in track(list(jobs), len(jobs), "comparisons")}
    answers = []
    for size in sizes:
        (false, cells), caught = told[size, None], {part: told[size, part][0] for part in asked}
        answers.append(Answer(size, int(statistics.median(cells)), false[0.0], caught, comparisons))
    return answers


def _shares(trial: Trial, comparisons: int, part: Part, drops: Sequence[float]) -> tuple[dict[float, float], list[int]]:
    """Drop to share caught, up to the one from which on all are; and the number of cells of each test set."""
    shares: dict[float, float] = {}
    for drop in drops:
        shares[drop] = trial.share(comparisons, part, drop)
        if shares[drop] >= SURE and drop >= 0.10:
            break
    return shares, trial.cells


def figures_of(answers: Sequence[Answer]) -> list[Figure]:
    """The issue's figures: the worst of the real images' sizes, the phantom's beside it, and one line for each size."""
    real = [answer for answer in answers if answer.patients in REAL] or list(answers)
    least = min(answer.comparisons for answer in answers)
    table = "; ".join(f"{answer.patients} patients {answer.false_fail:.3f}" for answer in answers)
    false = max(answer.false_fail for answer in answers)
    figures = [
        Figure("gate_false_fail", false, "share", 0.02, "<=", least, table),
        Figure("gate_caught", min(_ten(answer) for answer in real), "share", POWER, ">=", least, _caught(real)),
    ]
    figures += [
        Figure("gate_caught_phantom", _ten(answer), "share", POWER, ">=", least, _caught([answer]))
        for answer in answers
        if answer.patients == PHANTOM
    ]
    for answer in answers:
        for part in answer.caught:
            smallest = answer.smallest(part)
            how = f"true loss of the {part} caught nine times in ten; {answer.cells} cells"
            if smallest is None:
                how = f"none of those tried is caught nine times in ten: {answer.caught[part]}"
            name = f"gate_smallest_{part}_{answer.patients}"
            figures.append(Figure(name, smallest, "points / 100", None, "", answer.comparisons, how))
    return figures


def _ten(answer: Answer) -> float:
    return min(shares.get(0.10, 0.0) for shares in answer.caught.values())


def _caught(answers: Sequence[Answer]) -> str:
    return "; ".join(
        f"{answer.patients} patients: "
        + ", ".join(f"{part} {shares[0.10]:.3f}" for part, shares in answer.caught.items())
        for answer in answers
    )


def power_table(answers: Sequence[Answer]) -> Table:
    """Share of comparisons that the gate fails, by size of the test set and true drop."""
    table = Table(title="failed by the gate, by true drop", show_edge=False)
    for name in ("patients", "cells", "worse", "none", *(f"{drop:.2f}" for drop in DROPS), "9 in 10 from"):
        table.add_column(name, justify="right")
    for answer in answers:
        for part, shares in answer.caught.items():
            cells = [f"{shares[drop]:.2f}" if drop in shares else "" for drop in DROPS]
            smallest = answer.smallest(part)
            last = "-" if smallest is None else f"{smallest:.2f}"
            size, none = str(answer.patients), f"{answer.false_fail:.3f}"
            table.add_row(size, str(answer.cells), part, none, *cells, last)
    return table


def main(
    material: Annotated[Path, typer.Option(help="what benchmarks.audit.trainings wrote")] = MATERIAL,
    comparisons: Annotated[int, typer.Option(min=10, help="for each size and drop")] = 200,
    sizes: Annotated[str, typer.Option(help="patients of the test sets, separated by commas")] = ",".join(
        str(size) for size in SIZES
    ),
) -> None:
    """Measure, print two tables, write benchmarks/results/audit.json."""
    commit, pool = current_commit(), Material.read(material)
    with worker_pool(ComputeParams.load()) as workers:
        answers = measure_gate(pool, GateParams.load(), workers, [int(size) for size in sizes.split(",")], comparisons)
    console = Console()
    console.print(power_table(answers))
    told = pool.pool_figures()
    for address in CLASSIFIER:
        values = [figures[address] for figures in told]
        console.print(
            f"{address}: {len(values)} trainings, mean {np.mean(values):.3f}, sd {np.std(values, ddof=1):.4f}"
        )
    record("audit", figures_of(answers), commit)


if __name__ == "__main__":
    run(main)
