"""``erase``: plan, and with ``execute`` carry out, prove and certify."""

from __future__ import annotations

from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cytoline.audit.erasure.certificate import certificate_of, is_complete, sign, write_certificate
from cytoline.audit.erasure.execute import carry_out, fsync_folders, rebuild
from cytoline.audit.erasure.history import replacements, rewriting
from cytoline.audit.erasure.plan import Plan, make_plan
from cytoline.audit.erasure.proof import Proof, prove
from cytoline.crosswalk import write_private
from cytoline.errors import CytolineError
from cytoline.pseudonyms import refuse_inside


@dataclass(frozen=True)
class Outcome:
    """A plan, and what became of it (None where it was not executed)."""

    plan: Plan
    proof: Proof | None = None
    certificate: Path | None = None
    signed: bool = False
    commands: tuple[str, ...] = ()
    """What rewrites git's history, ready to paste; none where it holds nothing or no list was asked for."""

    @property
    def complete(self) -> bool:
        """Everything was searched and nothing is left."""
        return self.proof is not None and is_complete(self.plan, self.proof)

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        done = None
        if self.proof is not None:
            done = {
                "complete": self.complete,
                "proof": self.proof.as_json(),
                "certificate": str(self.certificate),
                "signed": self.signed,
            }
        return {"plan": self.plan.as_json(), "executed": done}


def erase(
    pseudonym: str,
    execute: bool = False,
    *,
    top: Path = Path(),
    withdraw_models: bool = False,
    incomplete: bool = False,
    repro: bool = False,
    key: Path | None = None,
    certificate: Path | None = None,
    history: Path | None = None,
    outside: tuple[Path, ...] = (),
    plan: Plan | None = None,
) -> Outcome:
    """Plan the erasure of one patient in the repository at ``top``; with ``execute`` do it and prove it.

    ``incomplete``: go on although a store cannot be searched.  ``key``: signs the certificate.  ``history``: a file
    outside the repository for what ``git filter-repo`` has to replace.  ``outside``: folders outside of
    the project that may be changed.  ``plan``: one that was made (and shown) a
    moment ago.  Raises ``CytolineError`` where nothing may be done.
    """
    key, certificate, history = (one.absolute() if one is not None else None for one in (key, certificate, history))
    outside = tuple(one.absolute() for one in outside)
    with chdir(top):
        if history is not None:
            refuse_inside(history, Path())
        plan = plan or make_plan(pseudonym, withdraw_models, outside)
        commands = _explain_history(plan, history) if history is not None else []
        if not execute:
            return Outcome(plan, commands=tuple(commands))
        if plan.unsearched and not incomplete:
            raise CytolineError(
                "some stores cannot be searched: " + "; ".join(plan.unsearched),
                "make them reachable; or --incomplete erases elsewhere, and a later run goes on from there",
            )
        _check_key(key)
        carry_out(plan)
        fsync_folders()
        proof = prove(plan)
        place, signed = write_certificate(certificate_of(plan, proof), key, certificate)
        if is_complete(plan, proof):
            plan.journal.drop()
        if repro:
            rebuild()
        return Outcome(plan, proof, place, signed, tuple(commands))


def _check_key(key: Path | None) -> None:
    """Before anything is deleted: a certificate that cannot be signed would come too late."""
    if key is not None:
        sign(b"", key)


def _explain_history(plan: Plan, path: Path) -> list[str]:
    """Write the list while it is known what it must hold: after the erasure nobody can make it any more."""
    write_private(path, replacements(plan.marks, plan.objects.replaced))
    return rewriting(plan.history, path)
