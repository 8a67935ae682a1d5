"""``cytoline audit model``: the view of ``facts_of``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.text import Text

from cytoline.audit import view
from cytoline.audit.facts import ModelFacts
from cytoline.audit.model import facts_of


def model(
    ref: Annotated[
        str,
        typer.Argument(
            metavar="REF",
            help="a path, REVISION:path, a sha256 of weights, a DVC hash, name@alias or name/version",
            show_default=False,
        ),
    ],
    as_json: view.AsJson = False,
) -> None:
    """How a model came to be: data, code, params, packages, machine, figures, each from the place that proves it.

    For example `cytoline audit model models/classifier`, or `cytoline audit model cytoline-classifier@candidate`.
    Contradictions between git, DVC and MLflow are shown as such; what is not there is listed as missing.
    """
    facts = facts_of(ref)
    if as_json:
        view.print_json(facts)
    else:
        show(facts)


def show(facts: ModelFacts) -> None:
    """Print it for a person."""
    console = view.screen()
    console.print(Text(facts.name or facts.path, style="bold"))
    for name, value in _head(facts):
        console.print(Text(f"  {name:<12}", style="dim").append_text(view.plain(value)))
    console.print()
    stages = [
        (
            stage.name,
            view.short(stage.recorded) if stage.recorded else "work tree",
            tuple(f"{item.path} {view.short(item.md5)}" for item in stage.data),
            len(stage.code),
            tuple(f"{item.path} {view.short(item.md5)}" for item in stage.outs),
        )
        for stage in facts.stages
    ]
    console.print(
        view.table("from source to model", ("stage", "recorded in", "data read", "files of code", "made"), stages)
    )
    console.print()
    parts = [(part, found.patients, found.images) for part, found in sorted(facts.splits.items())]
    console.print(view.table("the split it learned by", ("part", "patients", "images"), parts))
    console.print()
    figures = [row for row in facts.metrics.items() if not row[0].endswith(("_low", "_high"))]
    if figures:
        console.print(view.table("figures", ("figure", "value"), [(name, round(value, 4)) for name, value in figures]))
        console.print()
    view.print_words(console, "contradictions", facts.notes, "yellow")
    view.print_words(console, "missing", facts.missing, "red")


def _head(facts: ModelFacts) -> Iterator[tuple[str, object]]:
    state = {True: " (what ran differs from it)", False: " (what ran is exactly that)", None: ""}[facts.dirty]
    yield "path", facts.path
    yield "DVC hash", facts.digest
    yield "weights", f"sha256 {facts.weights_sha256}" if facts.weights_sha256 else None
    yield "code", f"{facts.commit}{state}" if facts.commit else None
    yield "recorded in", facts.recorded or "the work tree only: not committed yet"
    yield "packages", f"{len(facts.packages)}, lock file sha256 {facts.lock_sha256}" if facts.lock_sha256 else None
    yield "Python", facts.python
    yield "seed", facts.seed
    yield "sources", ", ".join(facts.sources) or None
    registered = [
        f"{one.name}/{one.version}" + "".join(f" @{alias}" for alias in one.aliases) for one in facts.registry
    ]
    yield "registry", ", ".join(registered) or None
    if facts.run is not None:
        yield "MLflow run", f"{facts.run.id}, {facts.run.status}, {facts.run.started} to {facts.run.ended}"
        for name, value in facts.run.system.items():
            if not name.startswith("system/"):
                yield "  " + name, value
