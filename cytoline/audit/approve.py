"""``cytoline approve``, ``cytoline audit approvals`` and ``cytoline audit keygen``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cytoline.audit.approvals import APPROVALS, Standing, standing
from cytoline.audit.approvals import approve as sign
from cytoline.audit.signing import PRIVATE, PROJECT, PUBLIC, check_name, make_key

EXIT_NOT_MET = 1


def approve(
    ref: Annotated[str, typer.Argument(help="a model: its path, a hash, or a name of the registry")],
    role: Annotated[str, typer.Option(help="in which role, of approvals/policy.yaml")],
    meaning: Annotated[str, typer.Option(help="what the signature says, of approvals/policy.yaml")],
    by: Annotated[str, typer.Option(help="your handle: approvals/keys/HANDLE.pem is your public key")],
    key: Annotated[Path | None, typer.Option(help="your private key (default: .cytoline/keys/HANDLE.pem)")] = None,
) -> None:
    """Sign that you approve (or reject) a model as it is now.

    Bound by hash: the model and its weights, the manifest and split of its data, the figures, the environment, the
    stages of dvc.lock that made it, and the policy. When any of them changes, the approval falls.

    The line is added to `approvals/approvals.jsonl`; commit it. Example:
    `cytoline approve models/classifier --role clinician --meaning approval --by anna`
    """
    made = sign(ref, role, meaning, by, key)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"signed: {made.meaning} of {made.ref} by {made.by} as {made.role}, over {len(made.covers)} hashes")
    console.print(f"commit {APPROVALS}; `cytoline audit approvals {made.ref}` shows what stands")


def approvals(
    ref: Annotated[str, typer.Argument(help="a model: its path, a hash, or a name of the registry")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
) -> None:
    """Who approved a model, in which role, when, with which meaning; what stands, what fell and why.

    Exit code 0: the policy is met, the model may be promoted; 1: it is not.
    """
    found = standing(ref)
    if as_json:
        typer.echo(json.dumps({"ref": ref, **asdict(found)}, indent=1))
    else:
        _show(ref, found)
    if not found.met:
        raise typer.Exit(EXIT_NOT_MET)


def keygen(
    name: Annotated[
        str,
        typer.Argument(help=f"your handle, or `{PROJECT}` (`{PROJECT}-2` for its successor) for the key that seals"),
    ],
    key: Annotated[Path | None, typer.Option(help="where the private key goes (default: .cytoline/keys/)")] = None,
    passphrase: Annotated[bool, typer.Option("--passphrase", help="ask for a passphrase for it")] = False,
) -> None:
    """Make a pair of keys: the private one outside git (mode 0600), the public one in approvals/keys.

    Commit the public key, and tell its id to those who will check your signatures, by another way than this repository.
    """
    private, public = key or PRIVATE / f"{check_name(name)}.pem", PUBLIC / f"{check_name(name)}.pem"
    secret = typer.prompt("passphrase", hide_input=True, confirmation_prompt=True) if passphrase else None
    made = make_key(private, public, secret)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"private key: {private} (keep a backup, give it to nobody)")
    console.print(f"public key:  {public} (commit it)")
    console.print(f"its id:      {made}")


def _show(ref: str, found: Standing) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if found.approvals:
        table = Table(title=Text(f"approvals of {ref}"), title_justify="left", show_edge=False)
        for title in ("", "by", "role", "meaning", "time", "key"):
            table.add_column(title, no_wrap=True)
        for one in found.approvals:
            mark = Text("stands", "green") if one.standing else Text("fallen", "bold red")
            table.add_row(mark, one.by, one.role, one.meaning, one.time, one.key[:12])
        console.print(table)
        for one in found.approvals:
            for why in one.why[:5]:
                console.print(Text(f"{one.by}, {one.role}, {one.time}: {why}"))
            if len(one.why) > 5:
                console.print(Text(f"{one.by}, {one.role}, {one.time}: and {len(one.why) - 5} more changes (--json)"))
    else:
        console.print(Text("nobody has approved this model"))
    for note in found.notes:
        console.print(Text(f"note: {note}", "yellow"))
    if found.met:
        console.print("[green]policy met[/]: it may be promoted")
    else:
        console.print("[bold red]policy not met[/]:", Text("; ".join(found.reasons)))
