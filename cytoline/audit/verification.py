"""Recompute every hash that the project rests on, and name each link that is broken.

``dvc.lock`` vouches for data and models, git for the lock, figures and logs, persons for approvals, and the last seal
for all of them.  Nothing is written but lists of leaves that were made anew (see ``cytoline.audit.leaves``).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cytoline.audit import leaves
from cytoline.audit.approvals import approval_faults, read_approvals
from cytoline.audit.finding import APPROVALS, DECISIONS, PROMOTIONS, SEALS, Report, kind_of
from cytoline.audit.inventory import Inventory, Stocktaking, check_tables, listing_of
from cytoline.audit.locate import differs_from
from cytoline.audit.own_code import note_own_code
from cytoline.audit.policy import POLICY, parse_policy
from cytoline.audit.records import Records, check_logs, check_records, read_records, recorded
from cytoline.audit.repository import head, tree
from cytoline.audit.revision import FOLDER, Cache, Item, Revision
from cytoline.audit.seals import Sealed, check_seals, sealed_git
from cytoline.audit.signing import PUBLIC, key_id
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
    known, listed, parts = (sealed.known, sealed.listed, sealed.parts) if sealed else ({}, {}, {})
    both = both or (sealed is not None and not sealed.complete)
    stock = Stocktaking(top, report, known, listed, parts, both).take(items)
    check_tables(stock, top, report)
    logs = {path: (top / path).read_bytes() for path in stock.good if kind_of(path) == "log"}
    check_logs(logs | {path: records.content[path] for path in (DECISIONS,) if path in records.content}, report)
    _check_approvals(records, top, report)
    _check_promotions(top, report)
    if sealed is not None:
        _check_sealed(sealed, records, stock, top, report)
    return Examination(report, records, items, stock)


def outs_of(
    items: Iterable[Item], tracked: Iterable[str], stock: Inventory, cache: Cache
) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """File -> MD5 of what DVC alone keeps; outs of which nothing is here -> their MD5; outs of which only a part is."""
    git = set(tracked) | {parent.as_posix() for path in tracked for parent in Path(path).parents}
    files: dict[str, str] = {}
    absent: dict[str, str] = {}
    partial = []
    looked: dict[str, dict[str, str]] = {}
    for path, out in stock.out_of.items():
        looked.setdefault(out, {})[path] = stock.expected[path]
    for item in items:
        if item.path in git:
            continue
        mine = looked.get(item.path) if stock.outs.get(item.path) == item.md5 else _listed(cache, item)
        here = [md5 in stock.held for md5 in (mine or {}).values()]
        if mine is None or (here and not any(here)):
            absent[item.path] = item.md5
        elif all(here):
            files |= mine
        else:
            partial.append(item.path)
    return files, absent, partial


def _listed(cache: Cache, item: Item) -> dict[str, str] | None:
    if not item.md5.endswith(FOLDER):
        return {item.path: item.md5}
    listing = listing_of(cache, item)
    return None if listing is None else {f"{item.path}/{name}": md5 for name, md5 in listing.items()}


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
    if not sealed.complete and not _rebuild(sealed, git, stock, top, report):
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


def _rebuild(sealed: Sealed, git: Mapping[str, bytes], stock: Inventory, top: Path, report: Report) -> bool:
    """Make the lists anew that are not here, and compare their roots with the sealed ones."""
    seal = sealed.seal
    state = Revision(seal.tag, seal.commit, top)
    items = [*(out for stage in state.stages.values() for out in stage.outs), *state.sources]
    files, absent, partial = outs_of(items, tree(top, seal.commit), stock, Cache.of(top))
    made = None
    if not partial and absent.keys() <= set(seal.absent):
        # What was absent at the seal stands in it by the MD5 of its out alone, also where it is here now.
        hidden = {item.path: item.md5 for item in items if item.path in seal.absent}
        files = {path: md5 for path, md5 in files.items() if not _below(path, hidden)}
        made = leaves.build(leaves.Content(files, git, stock.held, hidden))
        if made is not None and (logs := seal.trees.get("logs")) and leaves.roots(made)["logs"] != logs.root:
            # Seals made before promotions were sealed hold no leaf of theirs; the root says which kind this one is.
            older = {path: content for path, content in git.items() if path != PROMOTIONS}
            made = leaves.build(leaves.Content(files, older, stock.held, hidden))
    if made is None:
        gone = ", ".join(sorted({*partial, *(absent.keys() - set(seal.absent))}))
        report.notes.append(f"the roots of {seal.tag} cannot be recomputed here, parts are missing: {gone}")
        return False
    found = leaves.roots(made)
    wrong = [name for name, one in seal.trees.items() if found.get(name) != one.root]
    for name in wrong:
        report.add(SEALS, f"the root of {name} is not that of the files", f"line {seal.number}")
    if wrong:
        return False
    with contextlib.suppress(OSError):  # a project that may not be written can be verified all the same
        leaves.keep(top, made)
    sealed.leaves = {name: leaves.kept(top, one.root) for name, one in seal.trees.items()}
    return sealed.complete


def _moved(records: Records, top: Path, commit: str) -> list[str]:
    if commit == records.commit:
        return []
    before = tree(top, commit)
    names = {path for path in before.keys() | records.tree.keys() if leaves.git_tree(path)}
    return sorted(path for path in names if before.get(path) != records.tree.get(path))


def _below(path: str, outs: Mapping[str, str]) -> bool:
    return any(path == out or path.startswith(f"{out}/") for out in outs)


def _sha256(content: bytes | None) -> str:
    return "" if content is None else hashlib.sha256(content).hexdigest()
