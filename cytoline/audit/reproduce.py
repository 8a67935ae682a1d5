"""``cytoline audit reproduce``: build a model again from nothing but its commit and its sources, and compare.

The commit is cloned into an empty folder: no work tree, no memo store, no cache of runs, no tracking server of the
user (a rebuilt model must not move an alias).  Sources that ``dvc add`` tracks come from the local cache of this
repository.  Every stage up to the model is run by ``dvc repro --force``; then hashes are compared, stage by stage.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Literal

import yaml
from rich.console import Console

from cytoline.audit.facts import Facts, ModelFacts, StageFacts
from cytoline.audit.model import facts_of, leaves
from cytoline.audit.revision import FOLDER, Cache, Item, Revision
from cytoline.errors import CytolineError
from cytoline.gate.rules import Rule

_FALSE_ALARM = 2.576
"""Two-sided 1 % point of the normal distribution."""
_METRICS = ("detector", "classifier", "two_stage", "upscaler")


class StageComparison(Facts):
    """One stage's outs: hash recorded and hash now."""

    stage: str
    same: bool
    outs: Mapping[str, tuple[str, str | None]]


class FigureComparison(Facts):
    """One figure of the gate's rules.  ``allowed`` is what two trainings that differ in their seed may differ by."""

    figure: str
    recorded: float
    now: float | None
    allowed: float
    within: bool


class Reproduction(Facts):
    """The verdict and what it rests on."""

    path: str
    digest: str
    commit: str
    verdict: Literal["bit-exact", "within tolerance", "differs", "failed"]
    first_difference: str | None
    stages: tuple[StageComparison, ...]
    figures: tuple[FigureComparison, ...] = ()
    folder: str | None = None
    """Where the clone was kept."""
    notes: tuple[str, ...] = ()


def reproduction_of(
    ref: str, top: Path = Path(), python: Path | None = None, keep: Path | None = None, dirty: bool = False
) -> Reproduction:
    """Rebuild the model ``ref``.  ``python``: the interpreter that its stages run with (else the project's own).

    ``dirty``: go on where what ran is known to differ from the commit.  Raises ``CytolineError`` where there is
    nothing to rebuild from.
    """
    facts = facts_of(ref, top)
    if facts.commit is None:
        raise CytolineError(
            f"no commit is known with which {facts.path} was made: a clean clone cannot rebuild it",
            "commit dvc.lock (and the code), then ask again",
        )
    if facts.dirty and not dirty:
        why = facts.notes[0] if facts.notes else "MLflow's run says so"
        raise CytolineError(
            f"the model was made with code that no commit holds: {why}", "--allow-dirty tries all the same"
        )
    if not facts.stages:
        raise CytolineError(f"no stage is known that made {facts.path}", "`cytoline audit model` says what is missing")
    recorded = Revision.work_tree(top) if facts.recorded is None else Revision.at(facts.recorded, top)
    with _clone(top, facts.commit, keep) as clone:
        _interpreter(clone, python)
        _sources(clone, top, facts.commit)
        failed = _repro(clone, facts.stages[-1].name)
        return _compared(facts, recorded, clone, failed, keep)


def _compared(facts: ModelFacts, recorded: Revision, clone: Path, failed: bool, keep: Path | None) -> Reproduction:
    now = Revision.work_tree(clone)
    stages = tuple(_stage(stage, now) for stage in facts.stages)
    first = next((one.stage for one in stages if not one.same), None)
    exact = not failed and stages[-1].same
    figures: tuple[FigureComparison, ...] = ()
    notes: list[str] = []
    if not failed and not exact:
        figures = _figures(recorded, clone, notes)
    verdict: Literal["bit-exact", "within tolerance", "differs", "failed"] = "differs"
    if failed:
        verdict = "failed"
    elif exact:
        verdict = "bit-exact"
    elif figures and all(one.within for one in figures):
        verdict = "within tolerance"
    return Reproduction(
        path=facts.path,
        digest=facts.digest,
        commit=str(facts.commit),
        verdict=verdict,
        first_difference=first,
        stages=stages,
        figures=figures,
        folder=None if keep is None else keep.name,
        notes=tuple(notes),
    )


def _stage(stage: StageFacts, now: Revision) -> StageComparison:
    outs = {item.path: (item.md5, found.md5 if (found := now.out(item.path)) else None) for item in stage.outs}
    return StageComparison(stage=stage.name, same=all(one == other for one, other in outs.values()), outs=outs)


def _figures(recorded: Revision, clone: Path, notes: list[str]) -> tuple[FigureComparison, ...]:
    """Judge the model again, and hold its figures to the spread that the gate's rules say was measured."""
    # The spread is measured by training again, often after the model was recorded: the rules of today know it best.
    rules = _rules(Revision.work_tree(recorded.top)) or _rules(recorded)
    judges = {
        stage.name for stage in recorded.stages.values() if any(out.path.startswith("metrics/") for out in stage.outs)
    }
    if not rules or not judges:
        notes.append("no figures to hold it to: there are no rules under `gate:`, or no stage that writes metrics/")
        return ()
    if any(_repro(clone, stage, force=False) for stage in sorted(judges)):
        notes.append("the stage that writes metrics/ failed: no figures to hold it to")
        return ()
    before, after = (_all_figures(side) for side in (recorded, Revision.work_tree(clone)))
    found = []
    for figure, rule in sorted(rules.items()):
        if figure in before:
            allowed = _FALSE_ALARM * math.sqrt(2) * rule.seed_sd  # of a difference of two trainings
            value = after.get(figure)
            within = value is not None and abs(value - before[figure]) <= allowed
            found.append(
                FigureComparison(figure=figure, recorded=before[figure], now=value, allowed=allowed, within=within)
            )
    return tuple(found)


def _rules(recorded: Revision) -> dict[str, Rule]:
    try:
        document = yaml.safe_load(recorded.read("params.yaml") or b"{}")
        return {str(name): Rule(**rule) for name, rule in document["gate"]["rules"].items()}
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError):
        return {}


def _all_figures(side: Revision) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in _METRICS:
        found |= leaves(name, side.read(f"metrics/{name}.json") or b"{}")
    return found


@contextmanager
def _clone(top: Path, commit: str, keep: Path | None) -> Iterator[Path]:
    """A clone with nothing but what git holds at ``commit``."""
    if keep is not None and keep.exists():
        raise CytolineError(f"{keep} is there already", "name a folder that does not exist yet")
    with tempfile.TemporaryDirectory(prefix="cytoline-reproduce-") as temporary:
        folder = Path(temporary) / "clone" if keep is None else keep.absolute()
        for words in (
            # Shared objects: a commit that only the reflog still names can be checked out, too.
            ["clone", "--quiet", "--no-checkout", "--shared", "--", str(top.absolute()), str(folder)],
            ["-C", str(folder), "-c", "advice.detachedHead=false", "checkout", "--quiet", "--detach", commit],
        ):
            done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise CytolineError(
                    f"git could not clone the commit: {done.stderr.strip()[:200]}", "`git fsck`, then again"
                )
        (folder / ".dvc").mkdir(exist_ok=True)
        (folder / ".dvc/config.local").write_text("[cache]\n    dir = cache\n", encoding="utf-8")
        yield folder


def _interpreter(clone: Path, python: Path | None) -> None:
    """Put the environment where the commit's ``dvc.yaml`` looks for Python (``vars: python``)."""
    source = python or Path(sys.prefix) / "bin/python"
    if not source.is_file():
        raise CytolineError(
            f"there is no interpreter at {source}", "--python PATH names the one that the stages shall use"
        )
    try:
        document = yaml.safe_load((clone / "dvc.yaml").read_bytes()) or {}
        named = [
            str(item["python"]) for item in document.get("vars") or [] if isinstance(item, dict) and "python" in item
        ]
    except (OSError, yaml.YAMLError, AttributeError, TypeError):
        raise CytolineError("dvc.yaml of that commit cannot be read", "`git show COMMIT:dvc.yaml` shows it") from None
    place = PurePosixPath(named[0] if named else "")
    if place.is_absolute() or ".." in place.parts or len(place.parts) < 2 or (clone / place.parts[0]).exists():
        return  # found on PATH, or somewhere that is not ours to fill
    # An environment knows itself by its folder: linked as a whole where it can be, the program alone elsewhere.
    whole = source.absolute().parent.parent
    if (whole / Path(*place.parts[1:])).exists():
        (clone / place.parts[0]).symlink_to(whole, target_is_directory=True)
    else:
        (clone / place).parent.mkdir(parents=True, exist_ok=True)
        (clone / place).symlink_to(source.absolute())


def _sources(clone: Path, top: Path, commit: str) -> None:
    """Lay what ``dvc add`` tracks into the clone, from the cache here."""
    cache = Cache.of(top)
    for item in Revision.at(commit, top).sources:
        for name, md5 in _files(cache, item):
            target = clone / name
            if not target.resolve().is_relative_to(clone.resolve()) or ".." in PurePosixPath(name).parts:
                raise CytolineError(
                    f"{item.path} holds a name that leads out of the repository", "do not trust this archive"
                )
            if not cache.path(md5).is_file():
                raise _absent(item)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(cache.path(md5), target)


def _files(cache: Cache, item: Item) -> list[tuple[str, str]]:
    if not item.md5.endswith(FOLDER):
        return [(item.path, item.md5)]
    listing = cache.listing(item.md5)
    if listing is None:
        raise _absent(item)
    return [(f"{item.path}/{name}", md5) for name, md5 in listing.items()]


def _absent(item: Item) -> CytolineError:
    return CytolineError(
        f"the source {item.path} ({item.md5}) is not in DVC's cache: the model cannot be built from it again",
        f"`dvc fetch {item.path}.dvc` from the remote that keeps originals",
    )


def _repro(clone: Path, stage: str, force: bool = True) -> bool:
    """Run a stage and all before it; True where it failed.  Its output goes to standard error."""
    # What the rebuilt stages report stays in the clone: they must not register a model anywhere else.
    environment = {
        **{
            key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_", "GIT_", "PYTHON"))
        },
        "MLFLOW_TRACKING_URI": f"sqlite:///{clone / 'mlflow.db'}",
        "DVC_NO_ANALYTICS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    words = [sys.executable, "-m", "dvc", "repro", "--no-run-cache", *(["--force"] if force else []), stage]
    Console(stderr=True, highlight=False).print(f"rebuilding {stage} and what it needs, in a clean clone", markup=False)
    done = subprocess.run(words, cwd=clone, env=environment, stdout=sys.stderr, check=False)
    return done.returncode != 0
