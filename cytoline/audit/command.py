"""``cytoline audit``: one command for each question that an auditor asks."""

from __future__ import annotations

import typer

from cytoline.lazy import group_of

COMMANDS = {
    "approvals": "cytoline.audit.approve:approvals",
    "compliance": "cytoline.audit.compliance.command:compliance",
    "diff": "cytoline.audit.diff:diff",
    "erase": "cytoline.audit.erasure.command:erase",
    "export": "cytoline.audit.package.command:export",
    "keygen": "cytoline.audit.approve:keygen",
    "leakage": "cytoline.audit.leakage:leakage",
    "model": "cytoline.audit.model_command:model",
    "reproduce": "cytoline.audit.reproduce_command:reproduce",
    "seal": "cytoline.audit.seal:seal",
    "subject": "cytoline.audit.subject_command:subject",
    "verify": "cytoline.audit.verify:verify",
}
"""Name of a command to the function that it is."""

app = typer.Typer(cls=group_of(COMMANDS), add_completion=False, no_args_is_help=True, rich_markup_mode="markdown")


@app.callback(help="What made a model, what saw a patient, what has changed since: answers and proof, offline.")
def audit() -> None:
    """Nothing happens before a command."""
