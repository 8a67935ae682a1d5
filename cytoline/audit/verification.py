"""Recompute every hash that the project rests on, and name each link that is broken.

``dvc.lock`` vouches for data and models, git for the lock, figures and logs, persons for approvals, and the last seal
for all of them.  Nothing is written but lists of leaves that were made anew (see ``cytoline.audit.leaves``).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cytoline.audit import leaves
from cytoline.audit.approvals import approval_faults, lost_lines, read_approvals
from cytoline.audit.finding import APPROVALS, DECISIONS, PROMOTIONS, Report, kind_of
from cytoline.audit.inventory import Inventory, Stocktaking
from cytoline.audit.lists import from_cache, rebuild
from cytoline.audit.locate import differs_from
from cytoline.audit.own_code import note_own_code
from cytoline.audit.policy import POLICY, parse_policy
from cytoline.audit.records import Records, check_logs, check_records, read_records, recorded
from cytoline.audit.repository import head, tree
from cytoline.audit.revision import Item
from cytoline.audit.seals import Sealed, check_seals, sealed_git
from cytoline.audit.signing import PUBLIC, key_id
from cytoline.audit.tables import check_tables
from cytoline.errors import CytolineError
from cytoline.gate.promotions import read_promotions


@dataclass(frozen=True)
class Examination:
    """The report, and what a seal is made from."""

    report: Report
    records: Records
    items: list[Item]
    stock: Inventory


def verify_project(top: Path = Path(), trusted: Path | None = None, complete: bool = False) -> Report:
    """Verify the project at ``top``.

    ``trusted`` is the project's public key, known by another way than the repository.  With ``complete``, data that is
    not here is a fault, too.  Raises ``CytolineError`` where there is no commit to compare with.
    """
    report = examine(top, trusted).report
    if complete:
        for path in report.absent:
            report.add(path, "is not here: `dvc checkout` or `dvc pull` brings it")
    return report


def examine(top: Path, trusted: Path | None = None, both: bool = False) -> Examination:
    """The work behind it.  ``both``: every file's SHA-256 is wanted, known or not."""
    records = read_records(top, head(top))
    report = Report(records.commit)
    stages, items = recorded(top, records, report)
    check_records(records, stages, top, report)
    note_own_code(records.tree, top, report)
    sealed = check_seals(top, report, trusted)
    # Both hashes are for seals to come; where all is as sealed, SHA-256 is enough.
    hashed = from_cache(top, sealed) if sealed is not None and not sealed.complete and not both else {}
    known, listed, parts = (sealed.known, sealed.listed, sealed.parts) if sealed else ({}, {}, {})
    both = both or (sealed is not None and not sealed.complete)
    stock = Stocktaking(top, report, known, listed, parts, both, hashed).take(items)
    check_tables(stock, top, report)
    logs = {path: (top / path).read_bytes() for path in stock.good if kind_of(path) == "log"}
    check_logs(logs | {path: records.content[path] for path in (DECISIONS,) if path in records.content}, report)
    _check_approvals(records, top, report)
    _check_promotions(top, report)
    if sealed is not None:
        _check_sealed(sealed, records, stock, top, report)
    if not report.names(APPROVALS):
        for one in lost_lines(read_approvals(top), top):
            report.add(APPROVALS, str(one), f"line {one.number}")
    return Examination(report, records, items, stock)


def _check_approvals(records: Records, top: Path, report: Report) -> None:
    named = {finding.file for finding in report.findings}
    for path, content in records.content.items():
        try:
            if path == POLICY and path not in named:
                parse_policy(content)
            elif path.startswith(f"{PUBLIC.as_posix()}/") and path.endswith(".pem") and path not in named:
                key_id(top / path)
        except CytolineError as error:
            report.add(path, error.cause.removeprefix(f"{path}: "))
    try:
        rows = read_approvals(top)
    except CytolineError as error:
        _, _, place = error.cause.partition(": ")
        if APPROVALS not in named:
            report.add(APPROVALS, "is not what was written", place.removesuffix(" is not what was written"))
        return
    for line, fault in approval_faults(rows, top):
        # A key that was changed is reported as such; what it signed cannot be judged then.
        if f"{PUBLIC.as_posix()}/{rows[line - 1].by}.pem" not in named:
            report.add(APPROVALS, fault, f"line {line}")


def _check_promotions(top: Path, report: Report) -> None:
    """Who was champion when: each line is a promotion and fits the one before it."""
    try:
        read_promotions(top)
    except CytolineError as error:
        if not report.names(PROMOTIONS):
            _, _, place = error.cause.partition(": ")
            place = place.removesuffix(" is not what was written")
            report.add(PROMOTIONS, "is not what was written" if place else error.cause, place)


def _check_sealed(sealed: Sealed, records: Records, stock: Inventory, top: Path, report: Report) -> None:
    seal = sealed.seal
    git = sealed_git(top, seal)
    moved = _moved(records, top, seal.commit)
    if not sealed.complete and not rebuild(sealed, git, stock, top, report):
        return
    for name in ("records", "metrics", "logs"):
        for leaf in sealed.leaves[name] or []:
            path = leaf["path"]
            if leaves.git_tree(path) and "place" not in leaf and _sha256(git.get(path)) != leaf["sha256"]:
                report.add(path, f"git's commit {seal.commit[:12]} holds another content than {seal.tag} covers")
    for path in (APPROVALS, DECISIONS, PROMOTIONS):
        content = records.content.get(path, b"")
        if path in git and not content.startswith(git[path]) and not report.names(path):
            report.add(path, f"does not begin with what {seal.tag} covers", differs_from(path, content, git[path]))
    if moved:
        words = ", ".join(moved[:3]) + (f" and {len(moved) - 3} more" if len(moved) > 3 else "")
        report.notes.append(f"committed since {seal.tag} and not sealed yet: {words}")
    if not any(path == "dvc.lock" or path.endswith(".dvc") for path in moved):
        for leaf in sealed.leaves["outs"] or []:
            now = stock.expected.get(leaf["path"], leaf["md5"])
            if now != leaf["md5"] and "sha256" in leaf:
                report.add(leaf["path"], f"is not what {seal.tag} covers")


def _moved(records: Records, top: Path, commit: str) -> list[str]:
    if commit == records.commit:
        return []
    before = tree(top, commit)
    names = {path for path in before.keys() | records.tree.keys() if leaves.git_tree(path)}
    return sorted(path for path in names if before.get(path) != records.tree.get(path))


def _sha256(content: bytes | None) -> str:
    return "" if content is None else hashlib.sha256(content).hexdigest()
