"""What people see of a plan and of its outcome."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from cytoline.audit.erasure.plan import Plan
from cytoline.audit.erasure.run import Outcome


def show_plan(console: Console, plan: Plan) -> None:
    """The plan, place by place; paths of originals are not shown."""
    if plan.empty:
        console.print("nothing of this patient is in the work tree, the cache, the remotes or MLflow")
    else:
        console.print(_table(plan))
    _others(console, plan)
    _models(console, plan)
    _remaining(console, plan)


def show_outcome(console: Console, outcome: Outcome) -> None:
    """Proof and certificate, and what to do next."""
    plan, proof = outcome.plan, outcome.proof
    assert proof is not None
    read = sum(proof.scanned.values())
    if outcome.complete:
        console.print(f"[green]erased[/]: {read} files in {len(proof.scanned)} places read again, nothing left")
    else:
        console.print(f"[bold red]not complete[/]: {proof.remains} of {read} files read again still show the patient")
        for path in [*proof.paths, *map(str, plan.files.attention)][:50]:
            console.print(f"  {path}", markup=False)
        for path in proof.blind[:50]:
            console.print(f"  packed, cannot be read into: {path}", markup=False)
        for name in proof.unsearched:
            console.print(f"  not searched: {name}", markup=False)
        if plan.person.raw and not proof.names:
            console.print("  no name long enough to search for: look for short patient ids yourself")
        console.print("[bold]to fix[/]: look at these files, then run the same command again")
    console.print(f"certificate: {outcome.certificate} ({'signed' if outcome.signed else 'NOT signed: give --key'})")
    console.print("next: `git add -A data certificates metrics && git commit`, `dvc repro`, commit, `dvc push`")
    show_history(console, outcome)


def show_history(console: Console, outcome: Outcome) -> None:
    """What git keeps, and how to rewrite it."""
    if not outcome.plan.history.files and not outcome.plan.objects.replaced:
        return
    if outcome.commands:
        console.print("to rewrite git's history (the list names the patient: delete it afterwards):")
        for line in outcome.commands:
            console.print(f"  {line}", markup=False)
    elif outcome.proof is None:
        console.print("--history FILE, given now, writes the list with which git's history can be rewritten later")
    console.print("run no `dvc gc` before git's history is rewritten: old versions would lose files of other patients")


def _table(plan: Plan) -> Table:
    table = Table(title="to be erased", title_justify="left")
    table.add_column("where")
    table.add_column("what")
    table.add_column("count", justify="right")
    for place, changes in sorted(plan.files.by_place.items()):
        deleted = sum(change.content is None for change in changes)
        for what, count in (("files", deleted), ("rewritten without the patient", len(changes) - deleted)):
            if count:
                table.add_row(place, what, str(count))
    for store in plan.stores.all:
        if names := plan.in_store(store):
            table.add_row(store.label, "objects and run-cache entries, all versions", str(len(names)))
    if plan.database_rows:
        table.add_row("MLflow database", "values", str(plan.database_rows))
    if plan.crosswalk:
        table.add_row("crosswalk", "entries of the patient", "")
    return table


def _others(console: Console, plan: Plan) -> None:
    if plan.objects.replaced:
        console.print(f"{len(plan.objects.replaced)} folders of old versions stay within reach, without the patient")
    if plan.files.by_place.get("memo store"):
        console.print(f"{plan.files.memo_kept} results in the memo store are surely other people's and stay")
    if plan.objects.shared:
        count = len(plan.objects.shared)
        console.print(f"files that are another patient's as well, byte for byte, and stay as theirs: {count}")
    if plan.files.links_elsewhere:
        console.print(
            f"[yellow]note[/]: {plan.files.links_elsewhere} files have hard links in places that are not searched "
            "(brought in by `cytoline add --link`?): erase them there"
        )
    for path in plan.files.attention:
        console.print(f"[yellow]note[/]: shows the patient and is not changed: {str(path).replace('[', chr(92) + '[')}")
    for path in plan.outside:
        console.print(f"outside of the project, left alone unless --outside names it: {path}", markup=False)
    for name in plan.unsearched:
        console.print(f"not searched: {name}", markup=False)
    emptied = sorted(name for name, split in plan.person.sources.items() if not split.left)
    if emptied:
        console.print(f"no image is left in {', '.join(emptied)}: take it out of collect.sources", markup=False)


def _models(console: Console, plan: Plan) -> None:
    for one in plan.models:
        what = "learned from the patient" if one.learned else "was only measured on the patient"
        console.print(f"model {one.path} {one.md5[:12]} {what} ({one.part})", markup=False)
    if any(one.learned for one in plan.models):
        console.print(
            "these models are withdrawn, weights deleted"
            if plan.withdraw
            else "their weights stay: retrain with `dvc repro`, or withdraw them with --withdraw-models"
        )
    for name, version, _ in plan.versions:
        console.print(f"registered: {name}/{version}", markup=False)


def _remaining(console: Console, plan: Plan) -> None:
    if plan.objects.lineage.now:
        console.print("to be rebuilt by `dvc repro`: " + ", ".join(sorted(plan.objects.lineage.now)), markup=False)
    for path, counts in sorted(plan.shown_history().items()):
        console.print(f"stays in git's history: {path}, {sum(counts.values())} old states", markup=False)
