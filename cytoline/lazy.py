"""Commands whose modules are imported when they are asked for.

Together they take two seconds to import, one alone (an auditor's question, a gate in CI) a few tenths.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup


def group_of(commands: Mapping[str, str]) -> type[TyperGroup]:
    """A group for ``typer.Typer(cls=...)``.  ``commands``: name to ``module:name`` of a function or a Typer app."""

    class Lazy(TyperGroup):
        """Knows the names at once and everything else when asked."""

        def list_commands(self, ctx: Any) -> list[str]:
            """All names, in order."""
            return sorted({*commands, *super().list_commands(ctx)})

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            """Import one command."""
            if cmd_name in commands and cmd_name not in self.commands:
                self.add_command(_imported(cmd_name, commands[cmd_name]), cmd_name)
            return super().get_command(ctx, cmd_name)

    return Lazy


def _imported(command: str, where: str) -> Any:
    module, name = where.split(":")
    found = getattr(import_module(module), name)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)
        alone.command(command)(found)
        found = alone
    made = typer.main.get_command(found)
    made.name = command
    return made
