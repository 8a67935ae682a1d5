"""How a stage's ``main`` becomes a command: typed arguments in, readable errors out."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import typer
from rich.console import Console

from cytoline.errors import CytolineError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


def run(main: Callable[..., Any]) -> None:
    """Run one Typer function as a program.  Exit codes: 0 done, 2 user error, 130 interrupted."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run_app(app)


def run_app(app: typer.Typer) -> None:
    """Run a Typer application and turn what a user can cause into two readable lines.

    A ``CytolineError``, a full disk and Ctrl-C never show a traceback; everything else is a defect of
    ours and does.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        # Set in ``stages`` while libraries load; from here on an interrupt must unwind, so that files are put right.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        # `docker stop` and build servers end a run in this way: files are to be put right then, too.
        signal.signal(signal.SIGTERM, _end_of(os.getpid()))
    try:
        app()
    except CytolineError as error:
        report_error(error)
        sys.exit(EXIT_USER_ERROR)
    except KeyboardInterrupt:
        _report_interrupt()
        sys.exit(EXIT_INTERRUPTED)
    except SystemExit as end:
        # Typer turns Ctrl-C into this exit code and says nothing.
        if end.code == EXIT_INTERRUPTED:
            _report_interrupt()
        raise
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        report_error(
            CytolineError(
                "the disk is full: " + (os.strerror(error.errno or errno.ENOSPC)),
                "free some space (`dvc gc --workspace`, `cytoline doctor` shows what is used), then run again; "
                "the last good results are intact",
            )
        )
        sys.exit(EXIT_USER_ERROR)


def _end_of(program: int) -> Callable[[int, object], None]:
    """A handler that unwinds the process ``program`` and lets its forked children, who inherit it, simply end."""

    def end(number: int, _frame: object) -> None:
        if os.getpid() == program:
            raise KeyboardInterrupt
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    return end


def report_error(error: CytolineError) -> None:
    """Print an error's cause and remedy to standard error."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(f"[bold red]error[/]: {_plain(error.cause)}")
    console.print(f"[bold]to fix[/]: {_plain(error.remedy)}")


def _report_interrupt() -> None:
    Console(stderr=True).print("[yellow]interrupted[/]: nothing half-written was kept; run again to go on")


def _plain(text: str) -> str:
    """User-controlled text must not be read as console markup."""
    return text.replace("[", r"\[")
