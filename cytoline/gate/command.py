"""``cytoline gate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cytoline import atomic
from cytoline.gate import outputs
from cytoline.gate.judge import failures, judge
from cytoline.gate.revision import read_revision, read_work_tree
from cytoline.gate.rules import GateParams, taxonomy_of
from cytoline.params import load_seed

EXIT_REGRESSION = 1


def gate(
    baseline: Annotated[str, typer.Option(help="git revision to compare with: a commit, branch or tag")] = "HEAD~1",
    revision: Annotated[str | None, typer.Option(help="git revision to judge; default: the work tree")] = None,
    markdown: Annotated[Path | None, typer.Option(help="write a report for a pull request here")] = None,
    junit: Annotated[Path | None, typer.Option(help="write JUnit XML for a build server here")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
) -> None:
    """Fail when the models have become worse than noise explains.

    Compares `metrics/` of the work tree (or of `--revision`) with those of a git revision, by the rules under `gate:`
    in params.yaml. A rule fails when a figure's loss is above what is allowed *and* above the noise of seeds and
    patients, when the figure is beyond its limit, or when it is missing on either side. Where too few patients are
    there to tell a loss from noise, what is allowed is all that passes.

    Exit code 0: every rule passed; 1: at least one failed; 2: there was nothing to compare.
    """
    params = GateParams.load()
    now = read_work_tree() if revision is None else read_revision(revision)
    taxonomy = taxonomy_of()
    abnormal, classes = ((), ()) if taxonomy is None else (taxonomy.abnormal, taxonomy.classes)
    verdicts = judge(read_revision(baseline), now, params, load_seed(), abnormal)
    if markdown is not None:
        atomic.write_bytes(markdown, outputs.as_markdown(verdicts, baseline, classes=classes).encode())
    if junit is not None:
        atomic.write_bytes(junit, outputs.as_junit(verdicts))
    if as_json:
        typer.echo(outputs.as_json(verdicts, baseline), nl=False)
    else:
        outputs.print_table(verdicts, f"{now.name} against {baseline}")
    if failures(verdicts):
        raise typer.Exit(EXIT_REGRESSION)
