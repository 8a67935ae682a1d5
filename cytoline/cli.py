"""The command line: ``cytoline --help``."""

from __future__ import annotations

import typer

from cytoline.add import add
from cytoline.audit.command import app as audit_app
from cytoline.command import run_app
from cytoline.deid.command import deidentify, verify_deid
from cytoline.deid.review.command import review
from cytoline.doctor import doctor
from cytoline.gate.command import gate
from cytoline.gate.promote import promote
from cytoline.predict import predict

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Cytology images in, an honest two-stage model out. The pipeline itself is run by `dvc repro`.",
)
app.command()(add)
app.command()(deidentify)
app.command()(doctor)
app.command()(gate)
app.command()(predict)
app.command()(promote)
app.command()(review)
app.command("verify-deid")(verify_deid)
app.add_typer(audit_app, name="audit")


def main() -> None:
    """Entry point of the ``cytoline`` script."""
    run_app(app)
