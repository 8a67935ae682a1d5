"""Erase one patient from a real project and count what is left of her and what others lost.

``python -m benchmarks.audit.erasing`` prints one line; the whole audit's benchmark calls ``measure_erasure``.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from benchmarks.audit.project import build, dvc, inside
from benchmarks.audit.searching import count_collateral, count_left
from cytoline.audit.erasure.run import erase


def measure_erasure(folder: Path) -> tuple[int, int, str]:
    """Files that still show the erased patient, files of others changed or lost, and how it was measured.

    ``folder`` must not exist; the project is made in it, its remotes beside it.
    """
    truth = build(folder)
    before = count_left(folder, truth)
    if missing := {"cache", "remote", "secure", "memo", "resume", "mlflow", "project"} - set(before):
        raise RuntimeError(
            f"nothing of the patient was planted in {sorted(missing)}: the measurement would prove nothing"
        )
    with inside(folder):
        outcome = erase(truth.pseudonym, execute=True)
        assert outcome.certificate is not None
        replaced = json.loads(outcome.certificate.read_text())["kept_without_the_person"]
    left, collateral = count_left(folder, truth), count_collateral(folder, truth, replaced)
    with inside(folder):
        dvc("repro")
    left += count_left(folder, truth)
    lost = count_collateral(folder, truth, replaced)
    if not outcome.complete:
        raise RuntimeError("the program itself found the erasure incomplete")
    how = (
        f"2 versions, 2 remotes, {before.total()} files showed the patient in {len(before)} places before; bytes "
        "searched by a program of its own, before and after `dvc repro`"
    )
    return left.total(), len(set(collateral) | set(lost)), how


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        print(*measure_erasure(Path(temporary) / "project"), sep="\n")
