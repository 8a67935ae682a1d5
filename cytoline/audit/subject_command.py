"""``cytoline audit subject``: the view of ``subject_of``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from cytoline.audit import view
from cytoline.audit.erasure.command import (
    Certificate,
    Execute,
    History,
    Incomplete,
    Key,
    Outside,
    Repro,
    WithdrawModels,
    Yes,
)
from cytoline.audit.erasure.command import erase as erase_patient
from cytoline.audit.facts import SeenBy, SubjectFacts
from cytoline.audit.subject import subject_of
from cytoline.errors import CytolineError

Pseudonym = Annotated[
    str,
    typer.Argument(
        metavar="PSEUDONYM", help="`patient` in data/clean/manifest.jsonl; never a name", show_default=False
    ),
]


def subject(
    pseudonym: Pseudonym,
    as_json: view.AsJson = False,
    erase: Annotated[bool, typer.Option("--erase", help="show what erasing this patient would do")] = False,
    execute: Execute = False,
    yes: Yes = False,
    certificate: Certificate = None,
    key: Key = None,
    withdraw_models: WithdrawModels = False,
    incomplete: Incomplete = False,
    history: History = None,
    outside: Outside = None,
    repro: Repro = False,
) -> None:
    """Everything that saw one patient: files, patches, splits, data sets, models and figures of all revisions.

    A patient nobody knows is no error: the answer is that nothing was found. Exit code 1 tells that from 0 (found).
    `--erase` is `cytoline audit erase`; every option but `--json` belongs to it.
    """
    if erase:
        erase_patient(
            pseudonym,
            execute,
            yes,
            as_json,
            certificate,
            key,
            withdraw_models,
            incomplete,
            history,
            outside,
            repro,
        )
        return
    if any((execute, yes, certificate, key, withdraw_models, incomplete, history, outside, repro)):
        raise CytolineError("all options but --json belong to --erase", "`--erase` alone shows the plan")
    facts = subject_of(pseudonym)
    if as_json:
        view.print_json(facts)
    else:
        show(facts)
    if not facts.images and not facts.splits and not facts.patches:
        raise typer.Exit(1)


def show(facts: SubjectFacts) -> None:
    """Print it for a person."""
    console = view.screen()
    console.print(Text("patient ", style="bold").append_text(view.plain(facts.patient)))
    console.print(
        Text(f"  {facts.revisions} revisions searched (every branch, tag and the reflog; the work tree)", style="dim")
    )
    if not facts.images and not facts.splits and not facts.patches:
        console.print("  [green]nothing was found[/]")
    tables = [
        view.table(
            "images",
            ("image", "slide", "source", "data sets", "in DVC's cache"),
            [
                (one.file, view.short(one.slide), one.source, len(one.datasets), "yes" if one.cached else "no")
                for one in facts.images
            ],
        ),
        view.table(
            "data set versions",
            ("folder", "hash", "images", "first in", "on", "commits"),
            [
                (
                    one.path,
                    view.short(one.md5),
                    one.images,
                    _commit(one.first_commit),
                    (one.time or "")[:10],
                    one.commits,
                )
                for one in facts.datasets
            ],
        ),
        view.table(
            "splits",
            ("hash", "part", "images", "first in", "commits"),
            [
                (view.short(one.md5), part, images, _commit(one.first_commit), one.commits)
                for one in facts.splits
                for part, images in one.parts.items()
            ],
        ),
        view.table(
            "patches",
            ("folder", "hash", "images", "patches", "shards"),
            [(one.path, view.short(one.md5), one.images, one.patches, len(one.shards)) for one in facts.patches],
        ),
        _seen("models", facts.models),
        _seen("figures", facts.metrics),
        _seen("made from the same data", facts.others),
    ]
    for one in tables:
        if one.row_count:
            console.print()
            console.print(one)
    console.print()
    view.print_words(console, "not searched", facts.missing, "red")


def _seen(title: str, rows: tuple[SeenBy, ...]) -> Table:
    return view.table(
        title,
        ("path", "hash", "the patient was", "first in", "on", "commits", "registry"),
        [
            (
                one.path,
                view.short(one.md5),
                one.role,
                _commit(one.first_commit),
                (one.time or "")[:10],
                one.commits,
                " ".join(
                    f"{item.name}/{item.version}" + "".join(f"@{a}" for a in item.aliases) for item in one.registry
                ),
            )
            for one in rows
        ],
    )


def _commit(commit: str | None) -> str:
    return view.short(commit) if commit else "work tree"
