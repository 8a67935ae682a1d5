"""How answers look: tables for people, JSON for programs.

Names come from files that others wrote: they are shown as text, never as markup or terminal commands.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of tables")]
SHORT = 12
"""Digits of a hash that a table shows; JSON has all."""
_MOST = 12
_WHOLE = ("hash", "first in", "on", "commits", "images", "patches", "part")
"""Columns that are never folded."""


def print_json(facts: BaseModel) -> None:
    """One document, keys in the order of the record."""
    typer.echo(json.dumps(facts.model_dump(mode="json"), indent=1, ensure_ascii=False))


def screen() -> Console:
    """Standard output; wide where nobody watches (a file, a pipe)."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 160
    return console


def plain(value: object) -> Text:
    """Any value as harmless text."""
    words = "-" if value is None else str(value)
    return Text("".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in words))


def lines(cell: object) -> Text:
    """A cell of a table; a tuple has a line for each entry."""
    return Text("\n").join(map(plain, cell)) if isinstance(cell, tuple) else plain(cell)


def short(md5: str | None) -> str:
    """The first digits of a hash."""
    return "-" if md5 is None else md5[:SHORT]


def date(seconds: int | None) -> str | None:
    """A time in seconds since 1970 as ISO 8601 in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], most: int = 40) -> Table:
    """A table of at most ``most`` rows; what is left out is counted below.  A cell that is a tuple has many lines."""
    kept = list(rows)
    left = len(kept) - most
    drawn = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        show_edge=False,
        pad_edge=False,
        caption=f"and {left} more: --json lists all" if left > 0 else None,
        caption_justify="left",
    )
    for name in columns:
        numbers = bool(kept) and all(isinstance(row[columns.index(name)], int | float) for row in kept)
        drawn.add_column(name, justify="right" if numbers else "left", overflow="fold", no_wrap=name in _WHOLE)
    for row in kept[:most]:
        drawn.add_row(*(lines(cell) for cell in row))
    return drawn


def print_words(console: Console, title: str, lines: Sequence[str], style: str) -> None:
    """A list of sentences, where there are any."""
    if lines:
        console.print(Text(title, style=f"bold {style}"))
    for line in lines[:_MOST]:
        console.print(Text("  ").append_text(plain(line)))
    if len(lines) > _MOST:
        console.print(Text(f"  and {len(lines) - _MOST} more: --json lists all"))
