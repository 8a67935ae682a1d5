"""``cytoline audit verify``: of the project, or of one released package."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cytoline.audit.finding import KINDS, Report
from cytoline.audit.verification import verify_project

EXIT_BROKEN = 1
_MB = 1_000_000


def verify(
    path: Annotated[
        Path | None, typer.Argument(help="a package from `cytoline audit export`; none: the project")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON, with every broken link")] = False,
    key: Annotated[
        Path | None, typer.Option(help="the public key you trust, got by another way than this repo")
    ] = None,
    complete: Annotated[bool, typer.Option("--complete", help="data that is not here counts as broken")] = False,
) -> None:
    """Recompute every hash, chain and signature; name the first broken link of each kind.

    Data and models against dvc.lock, DVC's cache against its names, manifest rows against their images, figures, code
    and logs against git, approvals against their keys, and all of it against the last seal and its tag.

    Exit code 0: nothing is broken; 1: something is, and it is named; 2: there was nothing to verify.
    """
    report = verify_project(trusted=key, complete=complete) if path is None else _package(path, key)
    if as_json:
        typer.echo(json.dumps({"passed": report.passed, **asdict(report)}, indent=1))
    else:
        show(report)
    if not report.passed:
        raise typer.Exit(EXIT_BROKEN)


def show(report: Report) -> None:
    """The first broken link of each kind, how many more there are, and what could not be looked at."""
    console = Console(highlight=False, soft_wrap=True)
    counts = Counter(finding.kind for finding in report.findings)
    if counts:
        table = Table(title="broken links", title_justify="left", show_edge=False)
        for title in ("kind", "file", "place", "what", "more"):
            table.add_column(title, overflow="fold")
        for kind in KINDS:
            first = next((finding for finding in report.findings if finding.kind == kind), None)
            if first is not None:
                words = [Text(plain(word)) for word in (first.file, first.place, first.what)]
                table.add_row(Text(kind, "bold red"), *words, str(counts[kind] - 1) if counts[kind] > 1 else "")
        console.print(table)
    for note in report.notes:
        console.print(Text(f"note: {plain(note)}", "yellow"))
    if report.absent:
        console.print(Text("not here, so not verified: " + ", ".join(map(plain, report.absent)), "yellow"))
    checked = f"{report.files} files, {report.size / _MB:.1f} MB"
    if report.commit:
        checked += f", {report.seals} seals, commit {report.commit[:12]}"
    if report.passed:
        console.print("[green]nothing is broken[/]:", Text(checked))
    else:
        console.print(f"[bold red]{len(report.findings)} broken[/]:", Text(checked))


def plain(text: str) -> str:
    """Names come from a repository that may be forged: nothing in them may steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in _decodable(text))


def _decodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _package(path: Path, key: Path | None) -> Report:
    """Verification of a package: needs no repository, and so none of what the other does."""
    from cytoline.audit.package import layout
    from cytoline.audit.package import verify as package

    report = Report(commit="")
    broken = package.verify(path, key)
    files = [name for name in path.rglob("*") if name.is_file() and not name.is_symlink()]
    report.files, report.size = len(files), sum(name.stat().st_size for name in files)
    for finding in broken:
        report.add(finding.file, finding.what, finding.place, "package")
    if not any(finding.file in (layout.PUBLIC_KEY, layout.SIGNATURE) for finding in broken):
        report.notes.append(package.trust(path, key).sentence)
    return report
