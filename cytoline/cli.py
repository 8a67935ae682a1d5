"""The command line: ``cytoline --help``."""

from __future__ import annotations

import typer

from cytoline.command import run_app
from cytoline.lazy import group_of

COMMANDS = {
    "add": "cytoline.add:add",
    "approve": "cytoline.audit.approve:approve",
    "audit": "cytoline.audit.command:app",
    "deidentify": "cytoline.deid.command:deidentify",
    "doctor": "cytoline.doctor:doctor",
    "gate": "cytoline.gate.command:gate",
    "predict": "cytoline.predict:predict",
    "promote": "cytoline.gate.promote:promote",
    "review": "cytoline.deid.review.command:review",
    "rotate-key": "cytoline.rotation:rotate_key",
    "verify-deid": "cytoline.deid.command:verify_deid",
}
"""Name of a command to the function, or the Typer application, that it is."""


app = typer.Typer(
    cls=group_of(COMMANDS),
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.callback(help="Cytology images in, an honest two-stage model out. The pipeline itself is run by `dvc repro`.")
def cytoline() -> None:
    """Nothing happens before a command."""


def main() -> None:
    """Entry point of the ``cytoline`` script."""
    run_app(app)
