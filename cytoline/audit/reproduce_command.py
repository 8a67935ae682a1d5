"""``cytoline audit reproduce``: the view of ``reproduction_of``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from cytoline.audit import view
from cytoline.audit.reproduce import Reproduction, reproduction_of

DIFFERS, FAILED = 1, 2


def reproduce(
    ref: Annotated[str, typer.Argument(metavar="REF", help="as for `audit model`", show_default=False)],
    python: Annotated[
        Path | None,
        typer.Option(help="interpreter of the environment that the stages shall run in [default: this one]"),
    ] = None,
    keep: Annotated[Path | None, typer.Option(help="keep the rebuilt clone in this new folder")] = None,
    allow_dirty: Annotated[
        bool, typer.Option("--allow-dirty", help="go on although what ran differs from the commit")
    ] = False,
    as_json: view.AsJson = False,
) -> None:
    """Build a model again in a clean clone and compare: bit-exact, within tolerance, or the first stage that differs.

    Takes as long as the pipeline. Nothing outside the clone is written, and MLflow's registry is not touched. Sources
    under data/incoming must be in DVC's cache here. Tolerance: the spread over seeds under `gate:` in params.yaml.

    Exit code 0: bit-exact or within tolerance; 1: it differs; 2: it could not be built.
    """
    found = reproduction_of(ref, python=python, keep=keep, dirty=allow_dirty)
    if as_json:
        view.print_json(found)
    else:
        show(found)
    if found.verdict in ("differs", "failed"):
        raise typer.Exit(FAILED if found.verdict == "failed" else DIFFERS)


def show(found: Reproduction) -> None:
    """Print it for a person."""
    console = view.screen()
    colour = "green" if found.verdict in ("bit-exact", "within tolerance") else "red"
    console.print(Text(f"{found.path}: ", style="bold").append(found.verdict, style=f"bold {colour}"))
    console.print(Text(f"  commit {found.commit}, DVC hash {found.digest}", style="dim"))
    if found.first_difference:
        console.print(Text("  first stage that differs: ").append_text(view.plain(found.first_difference)))
    rows = [
        (one.stage, "same" if one.same else "differs", path, view.short(before), view.short(now))
        for one in found.stages
        for path, (before, now) in one.outs.items()
    ]
    console.print()
    console.print(view.table("stage by stage", ("stage", "bytes", "out", "recorded", "now"), rows))
    if found.figures:
        figures = [
            (
                one.figure,
                one.recorded,
                "-" if one.now is None else one.now,
                round(one.allowed, 4),
                "yes" if one.within else "NO",
            )
            for one in found.figures
        ]
        console.print()
        console.print(view.table("figures", ("figure", "recorded", "now", "may differ by", "within"), figures))
    view.print_words(console, "notes", found.notes, "yellow")
