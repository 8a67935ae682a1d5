"""``cytoline audit compliance``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cytoline import atomic
from cytoline.audit.compliance.document import PAGE, document
from cytoline.audit.compliance.resolver import Resolved, empty_rows, resolve
from cytoline.audit.compliance.rows import Row, frameworks
from cytoline.audit.compliance.soup import Package, licences, packages
from cytoline.audit.revision import Revision
from cytoline.errors import CytolineError

EXIT_EMPTY = 1
_SHOWN_LICENCES = 8


def compliance(
    check: Annotated[bool, typer.Option("--check", help="exit 1 when a row that every build needs is empty")] = False,
    release: Annotated[bool, typer.Option("--release", help="with --check: rows that a release needs, too")] = False,
    write: Annotated[bool, typer.Option("--write", help=f"write {PAGE} anew")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print every row with its evidence as JSON")] = False,
) -> None:
    """What laws and checklists ask for, clause by clause, and what this repository can show.

    Maps: EU AI Act (Articles 10 to 15, Annex IV), IEC 62304 (the list of third-party software), GMLP, GDPR (17, 30),
    HIPAA Safe Harbor, CLAIM, TRIPOD+AI. Every row is looked up in the work tree; nothing is filled by hand except what
    only your team can know, in `approvals/intended_use.yaml`.

    This supports an audit; it is no legal advice.

    Exit code 0: done, or every required row is filled; 1: with --check, one is empty; 2: no repository of cytoline.
    """
    top = Path()
    if not (top / "dvc.yaml").is_file():
        raise CytolineError("there is no dvc.yaml here", "run it in the top folder of the repository")
    revision = Revision.work_tree(top)
    resolved, software = resolve(frameworks(), revision), packages(revision)
    empty = empty_rows(resolved, ("build", "release") if release else ("build",))
    if write:
        atomic.write_text(top / PAGE, document(resolved, software))
    if as_json:
        typer.echo(json.dumps(_as_json(resolved, software, empty), indent=1, ensure_ascii=False))
    else:
        _print(resolved, software, empty, written=write)
    if check and empty:
        raise typer.Exit(EXIT_EMPTY)


def _as_json(
    resolved: Sequence[Resolved], software: Sequence[Package], empty: Sequence[tuple[str, Row]]
) -> dict[str, object]:
    return {
        "maps": [one.as_json() for one in resolved],
        "soup": [
            {"name": one.name, "version": one.version, "licence": one.licence, "purpose": one.purpose}
            for one in software
        ],
        "empty_and_required": [{"map": name, "row": row.id, "required": row.required} for name, row in empty],
    }


def _print(
    resolved: Sequence[Resolved], software: Sequence[Package], empty: Sequence[tuple[str, Row]], written: bool
) -> None:
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    for heading in ("map", "filled", "empty", "not applicable"):
        table.add_column(heading, justify="left" if heading == "map" else "right")
    for one in resolved:
        counts = (one.count("filled"), one.count("empty"), one.count("not applicable"))
        table.add_row(escape(one.framework.name), *(str(number) for number in counts))
    console.print(table)
    common = list(licences(tuple(software)).items())[:_SHOWN_LICENCES]
    console.print(
        f"\nIEC 62304: {len(software)} packages; " + escape(", ".join(f"{count} {name}" for name, count in common))
    )
    if written:
        console.print(f"\nwritten: {PAGE}")
    if empty:
        console.print("\n[bold red]required and empty[/]:")
    for name, row in empty:
        console.print(f"  {escape(name)} {escape(row.id)}  {escape(row.asks)} [dim]({row.required})[/]", soft_wrap=True)
    if not written:
        console.print(f"\nrow by row: {PAGE}, or --json")
