"""The pipeline's figures: how long it takes, how good its models are, what it does with bad input.

    python -m benchmarks.pipeline                       everything (hours on two cores)
    python -m benchmarks.pipeline --only phantom,noop   some parts; the other figures stay as they were

Each part runs in fresh clones of the last commit in a temporary folder, with the installed packages of this one, so
times are after set-up.  Figures go to benchmarks/results/pipeline.json.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks import bad_input
from benchmarks.result import ROOT, Bound, Figure, current_commit, record
from benchmarks.workplace import Done, PeakMemory, Workplace
from cytoline.command import run
from cytoline.errors import CytolineError

BENCHMARK = "pipeline"
GIB = 2**30

Limits = dict[str, tuple[str, Bound, str]]
LIMITS: Limits = {
    "phantom_repro_min": ("min", 10, "<="),
    "phantom_peak_gb": ("GiB", 6, "<="),
    "phantom_det_ap50": ("AP50", (0.80, 0.97), "in"),
    "phantom_cls_bacc": ("balanced accuracy", (0.75, 0.97), "in"),
    "noop_repro_s": ("s", 5, "<="),
    "bccd_repro_min": ("min", 60, "<="),
    "bccd_det_ap50": ("AP50", 0.88, ">="),
    "bccd_e2e_map50": ("mAP50", 0.80, ">="),
    "cric_cls_bacc": ("balanced accuracy", 0.65, ">="),
    "bad_input_cases": ("share handled", 1.0, ">="),
}
"""Name -> unit, bound and sense, as the issue that asks for the figure has them."""


class Bench:
    """Where a part works and where it finds real images."""

    def __init__(self, folder: Path, shared_data: Path, seeds: int, commit: str) -> None:
        self.folder = folder
        self.commit = commit
        self.shared_data = shared_data
        self.seeds = seeds

    def clone(self, name: str) -> Workplace:
        """A fresh clone; one left by an interrupted run is removed."""
        root = self.folder / name
        if root.exists():
            shutil.rmtree(root)
        return Workplace.clone(root, self.commit)

    def finished_phantom(self) -> Workplace:
        """A clone of this commit in which the phantom of seed 0 has run: the phantom part's, or a new one."""
        place = Workplace(self.folder / "phantom-0")
        if not ((place.root / "reports/index.html").exists() and place.commit() == self.commit):
            place = self.clone("phantom-0")
            checked(place.run("make", "repro"))
        return place

    def real(self, name: str) -> Path:
        """A folder of real images.  Raises ``CytolineError`` where there is none."""
        path = (self.shared_data / name).resolve()
        if not path.is_dir():
            raise CytolineError(f"there is no {name} below the folder of real images", "point --shared-data at it")
        return path


def phantom(bench: Bench) -> list[Figure]:
    """`make repro` on the phantom, once per seed; a seed is other patients and another training.  Time: seed 0."""
    minutes, peaks, detectors, classifiers = [], [], [], []
    busy = os.getloadavg()[0]
    for seed in range(bench.seeds):
        place = bench.clone(f"phantom-{seed}")
        _set_seed(place, seed)
        peak = PeakMemory()
        done = checked(place.run("make", "repro", watch=peak))
        minutes.append(done.seconds / 60)
        peaks.append(peak.bytes / GIB)
        detectors.append(metric(place, "detector", "ap50"))
        classifiers.append(metric(place, "classifier", "balanced_accuracy"))
    seeds = ", ".join(str(seed) for seed in range(bench.seeds))
    return [
        figure("phantom_repro_min", minutes[0], 1, f"seed 0; load of the machine before it began: {busy:.1f}"),
        figure(
            "phantom_peak_gb",
            max(peaks),
            bench.seeds,
            f"memory of `make repro` and its children, shared pages once; largest of seeds {seeds}: {shown(peaks)}",
        ),
        figure("phantom_det_ap50", worst("phantom_det_ap50", detectors), bench.seeds, by_seed(seeds, detectors)),
        figure("phantom_cls_bacc", worst("phantom_cls_bacc", classifiers), bench.seeds, by_seed(seeds, classifiers)),
    ]


def noop(bench: Bench) -> list[Figure]:
    """`dvc repro` when nothing changed: after the phantom part, in its clone of seed 0."""
    place = bench.finished_phantom()
    checked(place.dvc("repro"))  # fills DVC's own state, as any second run would have
    times = []
    for _ in range(5):
        done = checked(place.dvc("repro"))
        if done.stages_run():
            raise CytolineError(f"a second run ran {', '.join(done.stages_run())}", "find out what is not the same")
        times.append(done.seconds)
    return [figure("noop_repro_s", statistics.median(times), len(times), f"median; all: {shown(times)}; nothing ran")]


def bccd(bench: Bench) -> list[Figure]:
    """Real blood smears: `cytoline add`, then `dvc repro`."""
    place = bench.clone("bccd")
    source = str(bench.real("bccd"))
    checked(
        place.cytoline(
            "add", source, "--name", "bccd", "--kind", "fields-voc", "--taxonomy", "blood", "--only", "--yes"
        )
    )
    done = checked(place.dvc("repro", timeout=4 * 3600))
    detector, both = figures_of(place, "detector"), figures_of(place, "two_stage")
    how = "test split of {} fields, {} cells; 95 % interval {}"
    return [
        figure("bccd_repro_min", done.seconds / 60, 1, "`dvc repro` after `cytoline add`, nothing cached"),
        figure(
            "bccd_det_ap50",
            detector["ap50"],
            detector["fields"],
            how.format(detector["fields"], detector["cells"], interval(detector, "ap50")),
        ),
        figure(
            "bccd_e2e_map50",
            both["map50"],
            both["fields"],
            f"classifier's label on detector's box, RBC, WBC, Platelets; 95 % interval {interval(both, 'map50')}",
        ),
    ]


def follow_split(place: Workplace) -> str:
    """Do what the split stage asks a user to do, before anything is trained: take its salt where it warns.

    The salt that it names has the best balance of classes; no figure takes part in it.  Returns what was done.
    """
    checked(place.dvc("repro", "split"))
    told = json.loads((place.root / "data/split/summary.json").read_text(encoding="utf-8"))
    if not told["warnings"] or told["best_imbalance"] >= told["imbalance"]:
        return "the split's salt as it comes"
    place.change_yaml("params.yaml", {"split.salt": told["best_salt"]})
    return f"split.salt {told['best_salt']} as the split stage asked ({'; '.join(told['warnings'])})"


CRIC_SETTINGS = {
    # As `add` asks for: its boxes of 62 px x `patches.context`, so that cells at the edge are not enlarged more.
    "patches.min_px": 81,
    # SCC is in 10 of 171 fields: learning needs them more than validation does.  The test part is a fifth as ever.
    "split.train": 0.7,
    "split.val": 0.1,
}


def cric(bench: Bench) -> list[Figure]:
    """Real Pap-smear cells for the classifier alone; cells of one field stay on one side."""
    place = bench.clone("cric")
    source = str(bench.real("cric_cells"))
    options = ["--name", "cric", "--kind", "cells-folders", "--taxonomy", "bethesda", "--patient-id", "column:field"]
    checked(place.cytoline("add", source, *options, "--only", "--yes"))
    place.change_yaml("params.yaml", CRIC_SETTINGS)
    salted = follow_split(place)
    checked(place.dvc("repro", timeout=4 * 3600))
    classifier = figures_of(place, "classifier")
    how = (
        f"test split of {classifier['cells']} cells from {classifier['patients']} fields; 95 % interval over fields "
        f"{interval(classifier, 'balanced_accuracy')}; shares 0.7, 0.1, 0.2; {salted}"
    )
    return [figure("cric_cls_bacc", classifier["balanced_accuracy"], classifier["cells"], how)]


def bad(bench: Bench) -> list[Figure]:
    """Every case of benchmarks.bad_input."""
    outcomes = bad_input.run_all(bench.finished_phantom(), bench.folder / "bad-input")
    bad_input.print_outcomes(outcomes)
    handled = sum(outcome.handled for outcome in outcomes)
    failed = [outcome.case for outcome in outcomes if not outcome.handled]
    how = f"{handled} of {len(outcomes)} cases" + (f"; not handled: {', '.join(failed)}" if failed else "")
    return [figure("bad_input_cases", handled / len(outcomes), len(outcomes), how)]


PARTS: dict[str, Callable[[Bench], list[Figure]]] = {
    "phantom": phantom,
    "noop": noop,
    "bccd": bccd,
    "cric": cric,
    "bad-input": bad,
}


def figure(name: str, value: float, n: int, how: str) -> Figure:
    """A figure with the unit and bound of its name."""
    unit, bound, sense = LIMITS[name]
    return Figure(name, round(value, 4), unit, bound, sense, n, how)


def worst(name: str, values: list[float]) -> float:
    """Of several values the one nearest to (or farthest outside) the ends of the bound."""
    bound = LIMITS[name][1]
    if not isinstance(bound, tuple):
        raise TypeError(f"{name} has no two ends")
    low, high = bound
    return min(values, key=lambda value: min(value - low, high - value))


def by_seed(seeds: str, values: list[float]) -> str:
    """The words for a figure of which every seed counts."""
    which = "the one nearest to an end of the bound stands here"
    caution = "the split of these seeds is balanced by choice (docs/decisions/005)"
    return f"test patients; seeds {seeds}: {shown(values)}; {which}; {caution}"


def shown(values: list[float]) -> str:
    """Three digits each."""
    return ", ".join(f"{value:.3g}" for value in values)


def figures_of(place: Workplace, name: str) -> dict[str, Any]:
    """``metrics/<name>.json``.  Raises ``CytolineError`` when that part was skipped."""
    content: dict[str, Any] = json.loads((place.root / f"metrics/{name}.json").read_text(encoding="utf-8"))
    if "skipped" in content:
        raise CytolineError(f"metrics/{name}.json: {content['skipped']}", "look at that clone's report")
    return content


def metric(place: Workplace, name: str, key: str) -> float:
    """One number of ``metrics/<name>.json``."""
    return float(figures_of(place, name)[key])


def interval(content: dict[str, Any], key: str) -> str:
    """The 95 % interval beside a figure, in words."""
    low, high = content.get(f"{key}_low"), content.get(f"{key}_high")
    return "not given" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def checked(done: Done) -> Done:
    """The same, if it ended well.  Raises ``CytolineError`` with the end of what it printed otherwise."""
    if done.code:
        raise CytolineError(f"a command ended with code {done.code}:\n{done.text[-3000:]}", "see above")
    return done


def _set_seed(place: Workplace, seed: int) -> None:
    """Another seed is another phantom (other patients) and another training.  One line each, comments are kept."""
    for name, line in (("params.yaml", "\nseed: "), ("data/incoming/phantom/source.yaml", "\n  seed: ")):
        path = place.root / name
        text = path.read_text(encoding="utf-8")
        if text.count(f"{line}0") != 1:
            raise CytolineError(f"{name} has not one line `{line.strip()} 0`", "adapt benchmarks.pipeline to it")
        path.write_text(text.replace(f"{line}0", f"{line}{seed}"), encoding="utf-8")


def main(
    only: Annotated[str, typer.Option(help=f"parts, separated by commas: {', '.join(PARTS)}")] = ",".join(PARTS),
    shared_data: Annotated[Path, typer.Option(help="folder with bccd and cric_cells")] = ROOT.parent / "shared/data",
    seeds: Annotated[int, typer.Option(help="seeds of the phantom part, from 0")] = 3,
    work: Annotated[Path | None, typer.Option(help="keep the clones in this folder; default: a temporary one")] = None,
) -> None:
    """Measure, print one table, write benchmarks/results/pipeline.json."""
    console = Console(stderr=True)
    names = [name.strip() for name in only.split(",")]
    if unknown := sorted(set(names) - set(PARTS)):
        raise CytolineError(f"unknown parts: {', '.join(unknown)}", f"use some of {', '.join(PARTS)}")
    # Clones are made of this commit, whatever is committed while they run.
    commit = current_commit().removesuffix("-dirty")
    with tempfile.TemporaryDirectory(prefix="cytoline-bench-", ignore_cleanup_errors=True) as temporary:
        folder = work.resolve() if work else Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(folder, shared_data, seeds, commit)
        for name in names:
            console.print(f"[bold]{name}[/]: {PARTS[name].__doc__}")
            record(BENCHMARK, PARTS[name](bench), commit)


if __name__ == "__main__":
    run(main)
