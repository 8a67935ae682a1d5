"""``cytoline audit erase``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cytoline.errors import CytolineError

EXIT_LEFT = 1
_TYPED = 8


# What both `audit erase` and `audit subject --erase` take.
Execute = Annotated[bool, typer.Option("--execute", help="do it; without this only the plan is shown")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="do not ask (for scripts)")]
Certificate = Annotated[
    Path | None, typer.Option(help="where to write the certificate; else certificates/erasure-HASH.json")
]
Key = Annotated[Path | None, typer.Option(help="private key that signs the certificate")]
WithdrawModels = Annotated[
    bool, typer.Option("--withdraw-models", help="delete the weights of models that learned from the patient, too")
]
Incomplete = Annotated[bool, typer.Option("--incomplete", help="go on although a store cannot be searched")]
History = Annotated[
    Path | None, typer.Option(help="a file outside the repository for the list that rewrites git's history")
]
Outside = Annotated[
    list[Path] | None,
    typer.Option(help="a folder outside of the project (the plan names them) that may be changed; repeatable"),
]
Repro = Annotated[bool, typer.Option("--repro", help="run `dvc repro` afterwards")]


def erase(
    pseudonym: Annotated[str, typer.Argument(help="the patient, as `patient` in data/clean names them")],
    execute: Execute = False,
    yes: Yes = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    certificate: Certificate = None,
    key: Key = None,
    withdraw_models: WithdrawModels = False,
    incomplete: Incomplete = False,
    history: History = None,
    outside: Outside = None,
    repro: Repro = False,
) -> None:
    """Erase one patient from everything: originals, every version in DVC's cache and remotes, MLflow, the memo store.

    Without --execute nothing is changed and the plan is shown. With it, what is the patient's is erased, every store
    is read again to prove that nothing is left, and a certificate without personal data is written. Other patients'
    originals stay, byte for byte, in every version. Git's history is not rewritten; the commands for it are printed.

    The phantom's patients cannot be erased: nobody is behind them, and every `dvc repro` draws them anew. To rehearse,
    `cytoline add` a source of your own first.

    It needs the key (or crosswalk) that made the pseudonyms. It can be interrupted and run again.

    Exit code 0: planned, or nothing is left; 1: something is left or could not be searched; 2: usage or missing data.
    """
    # Reading sources and DVC take seconds to import, which the other commands of `audit` need not wait for.
    from cytoline.audit.erasure.run import erase as erase_patient
    from cytoline.audit.erasure.view import show_history, show_outcome, show_plan

    console = Console(highlight=False, soft_wrap=True, stderr=as_json)
    outcome = erase_patient(pseudonym, withdraw_models=withdraw_models, history=history, outside=tuple(outside or ()))
    if not as_json or (execute and not yes):
        show_plan(console, outcome.plan)
    if execute:
        if not yes:
            _confirm(pseudonym)
        outcome = erase_patient(
            pseudonym,
            True,
            withdraw_models=withdraw_models,
            incomplete=incomplete,
            repro=repro,
            key=key,
            history=history,
            certificate=certificate,
            plan=outcome.plan,
        )
        if not as_json:
            show_outcome(console, outcome)
    elif not as_json:
        show_history(console, outcome)
        console.print("nothing was changed; `--execute` does it")
    if as_json:
        typer.echo(json.dumps(outcome.as_json(), indent=1, sort_keys=True))
    if execute and not outcome.complete:
        raise typer.Exit(EXIT_LEFT)


def _confirm(pseudonym: str) -> None:
    if not sys.stdin.isatty():
        raise CytolineError("nobody is there to confirm the erasure", "add --yes in a script")
    typed = typer.prompt(f"This cannot be undone. Type the first {_TYPED} digits of the pseudonym to erase", err=True)
    if typed.strip() != pseudonym[:_TYPED]:
        raise CytolineError("that is not what was asked for", "nothing was erased; start again")
