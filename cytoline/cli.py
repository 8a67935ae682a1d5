"""The command line: ``cytoline --help``.

Each command's module is imported when that command is asked for: together they take two seconds, one alone (an
auditor's question, a gate in CI) a few tenths.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from cytoline.command import run_app

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


class _Lazy(TyperGroup):
    """Knows the names at once and everything else when asked."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, in order."""
        return sorted({*COMMANDS, *super().list_commands(ctx)})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import one command."""
        if cmd_name in COMMANDS and cmd_name not in self.commands:
            module, name = COMMANDS[cmd_name].split(":")
            found = getattr(import_module(module), name)
            if not isinstance(found, typer.Typer):
                alone = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)
                alone.command(cmd_name)(found)
                found = alone
            command = typer.main.get_command(found)
            command.name = cmd_name
            self.add_command(command, cmd_name)
        return super().get_command(ctx, cmd_name)


app = typer.Typer(
    cls=_Lazy,
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
