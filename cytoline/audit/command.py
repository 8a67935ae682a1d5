"""``cytoline audit``: one command for each question that an auditor asks."""

from __future__ import annotations

import typer

from cytoline.audit.approve import approvals, keygen
from cytoline.audit.compliance.command import compliance
from cytoline.audit.diff import diff
from cytoline.audit.erasure.command import erase
from cytoline.audit.leakage import leakage
from cytoline.audit.model_command import model
from cytoline.audit.package.command import export
from cytoline.audit.reproduce_command import reproduce
from cytoline.audit.seal import seal
from cytoline.audit.subject_command import subject
from cytoline.audit.verify import verify

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="What made a model, what saw a patient, what has changed since: answers and proof, offline.",
)
app.command()(diff)
app.command()(leakage)
app.command()(model)
app.command()(reproduce)
app.command()(subject)
app.command()(approvals)
app.command()(keygen)
app.command()(seal)
app.command()(verify)
app.command()(erase)
app.command()(compliance)
app.command()(export)
