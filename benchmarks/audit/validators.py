"""The independent validators on one package, with no network: how many required checks fail.

``python -m benchmarks.audit.validators PACKAGE`` prints them.  The validators run in a child process in a network
namespace of its own (``unshare -rn``) where the system allows that; in any case every attempt to look up a name or to
connect is refused and counted.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_ISOLATED = ("unshare", "--map-root-user", "--net")
_TIMEOUT = 600
_BEHIND = "\x1e"
"""Stands before the answer: libraries print what they like."""


def validator_failures(package: Path) -> dict[str, int]:
    """Validator to number of failures: ``roc-validator`` (required checks of Provenance Run Crate and its bases),
    ``cyclonedx`` (strict schema 1.6), ``mlcroissant``; ``network`` counts attempts to reach one.
    """
    command = [sys.executable, "-m", "benchmarks.audit.validators", "--inside", str(package.resolve())]
    if can_isolate():
        command = [*_ISOLATED, *command]
    top = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=top, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the validators ended with {done.returncode}: {done.stderr[-500:]}")
    found: dict[str, int] = json.loads(done.stdout.rpartition(_BEHIND)[2])
    return found


def can_isolate() -> bool:
    """Whether a network namespace of our own can be made here."""
    try:
        return subprocess.run([*_ISOLATED, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _inside(package: Path) -> dict[str, int]:
    from cytoline.audit.package import validators

    attempts: list[str] = []

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        local = event == "socket.connect" and isinstance(arguments[1], str)  # a Unix socket is a file
        if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto") and not local:
            attempts.append(event)
            raise ConnectionRefusedError("no network in here")

    sys.addaudithook(refuse)
    found = {
        "roc-validator": len(validators.crate_failures(package)),
        "cyclonedx": len(validators.bom_failures(package)),
        "mlcroissant": len(validators.croissant_failures(package)),
    }
    return found | {"network": len(attempts)}


if __name__ == "__main__":
    if sys.argv[1] == "--inside":
        print(_BEHIND + json.dumps(_inside(Path(sys.argv[2]))))
    else:
        print(json.dumps({"isolated": can_isolate()} | validator_failures(Path(sys.argv[1])), indent=1))
