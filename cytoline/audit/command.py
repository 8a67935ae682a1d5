"""``cytoline audit``: one command for each question that an auditor asks."""

from __future__ import annotations

import typer

from cytoline.audit.compliance.command import compliance
from cytoline.audit.package.command import export

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="What made a model, what saw a patient, what has changed since: answers and proof, offline.",
)
app.command()(compliance)
app.command()(export)
