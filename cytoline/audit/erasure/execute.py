"""Carrying a plan out, in an order that lets an interrupted run be started again.

What the person is recognised by (the raw store, the incoming files, the crosswalk) goes last; what was found is in the
journal before the first deletion.  Each step may be done twice.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from cytoline import atomic
from cytoline.audit.erasure.dvc_index import indexes_with, site_cache
from cytoline.audit.erasure.files import Change, below
from cytoline.audit.erasure.plan import Plan
from cytoline.audit.erasure.stores import FOLDER, Store, place_of
from cytoline.audit.erasure.tracked import agreed, redact, withdraw
from cytoline.audit.index import forget
from cytoline.crosswalk import Crosswalk, crosswalk_path, write_private
from cytoline.errors import CytolineError
from cytoline.progress import track
from cytoline.registration import track_with_dvc
from cytoline.sources.params import INCOMING

Step = Callable[[Plan], None]


def carry_out(plan: Plan) -> None:
    """Every step, in order."""
    from dvc.lock import LockError
    from dvc.repo import Repo

    _write_journal(plan)
    with Repo() as repo:
        try:
            with repo.lock:
                for step in STEPS:
                    step(plan)
        except LockError:
            raise CytolineError("another dvc command is running here", "wait for its end, then run again") from None
    for last in LAST:
        last(plan)


def empty_stores(plan: Plan) -> None:
    """The remotes, then the cache: first what takes a place, then what goes, listings last."""
    for store in reversed(plan.stores.all):
        _keep_without(plan, store)
        names = sorted(plan.in_store(store), key=lambda name: name.endswith(FOLDER))
        for name in track(names, len(names), f"erasing in {store.label}"):
            store.delete(name)
        _count(plan, store.label, len(names))


def empty_tracking(plan: Plan) -> None:
    """MLflow's files and values; withdrawn models with their versions."""
    _change(plan, "MLflow artifacts")
    if plan.database is not None:
        if plan.database_rows:
            _count(plan, "MLflow database", redact(plan.database, plan.marks))
        if plan.withdraw:
            withdraw(plan.versions, plan.database, plan.journal.reference)
    if plan.withdraw:
        _withdraw_files(plan)


def empty_caches(plan: Plan) -> None:
    """The memo store, states of interrupted trainings, notes."""
    for place in ("memo store", "resume states", ".cytoline"):
        _change(plan, place)
    forget()  # one that was made since the plan, too


def forget_names(plan: Plan) -> None:
    """DVC's index of this project, and others' that show the person and may be changed."""
    others = [one for one in indexes_with(plan.marks) if agreed(one, plan.allowed)]
    for folder in (site_cache(), *others):
        if folder.is_dir():
            _count(plan, "DVC's index", sum(1 for _ in below(folder)))
            shutil.rmtree(folder)


def clean_work_tree(plan: Plan) -> None:
    """Outs, git-tracked tables, copies."""
    _change(plan, "work tree")


def clean_incoming(plan: Plan) -> None:
    """The originals; then DVC records each source anew."""
    _change(plan, "incoming")
    for name in plan.journal.sources:
        folder = INCOMING / name
        if folder.is_dir() and folder.with_name(name + ".dvc").is_file():
            with ExitStack() as undo:
                track_with_dvc(folder, undo)
                undo.pop_all()


def forget_in_crosswalk(plan: Plan) -> None:
    """The one place that says whose the pseudonym was."""
    path = crosswalk_path()
    if not isinstance(plan.person.names, Crosswalk) or not path.is_file():
        return
    loaded = json.loads(path.read_text(encoding="utf-8"))
    raw, codes = plan.person.raw, plan.marks.codes
    before = sum(map(len, loaded["given"].values()))
    for domain, given in loaded["given"].items():
        loaded["given"][domain] = {
            value: code
            for value, code in given.items()
            if code not in codes and value not in codes and value.partition("\0")[0] not in raw
        }
    after = sum(map(len, loaded["given"].values()))
    if after != before:
        write_private(path, json.dumps(loaded, sort_keys=True) + "\n")
        _count(plan, "crosswalk", before - after)


STEPS: list[Step] = [
    empty_stores,
    empty_tracking,
    empty_caches,
    clean_work_tree,
]
LAST: list[Step] = [forget_names, clean_incoming, forget_in_crosswalk]
"""Outside of DVC's lock: the first of them is a dvc command itself."""


def rebuild() -> None:
    """``dvc repro``."""
    done = subprocess.run([sys.executable, "-m", "dvc", "repro"], check=False)
    if done.returncode:
        raise CytolineError("`dvc repro` failed after the erasure", "see its message above; the erasure itself is done")


def _write_journal(plan: Plan) -> None:
    journal, marks = plan.journal, plan.marks
    journal.codes = sorted(marks.codes)
    journal.digests = sorted(marks.digests)
    journal.gone = dict(sorted(plan.objects.gone.items()))
    journal.private = sorted(plan.objects.private)
    journal.replaced = dict(sorted(plan.objects.replaced.items()))
    journal.images = max(journal.images, len(plan.person.images))
    journal.shared = sorted(plan.objects.shared)
    journal.models = [(one.path, one.md5, one.part, list(one.commits)) for one in plan.models]
    journal.rebuild = sorted(plan.objects.lineage.now)
    journal.sources = sorted({*journal.sources, *plan.person.sources})
    journal.save()


def _keep_without(plan: Plan, store: Store) -> None:
    """In a store that held a listing, the listing without the person and the files that are new in it."""
    there = store.objects()
    for old, new in sorted(plan.objects.replaced.items()):
        if old not in there or new not in plan.objects.fresh:
            continue
        listed = plan.objects.fresh[new].decode()
        for md5, content in plan.objects.fresh.items():
            if md5 == new or (not md5.endswith(FOLDER) and md5 in listed):
                store.add(place_of(md5), content)


def _change(plan: Plan, place: str) -> None:
    changes = plan.files.by_place.get(place, [])
    for change in changes:
        _apply(change)
    _count(plan, place, len(changes))


def _apply(change: Change) -> None:
    path = change.path
    if change.content is not None:
        atomic.write_bytes(path, change.content)
        return
    path.unlink(missing_ok=True)
    folder = path.parent
    while folder != Path() and len(folder.parts) > 2 and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()  # names of folders may be names of people
        folder = folder.parent


def _withdraw_files(plan: Plan) -> None:
    """The weights of withdrawn models in the work tree and with their runs."""
    from cytoline.audit.revision import Revision

    learned = {one.md5 for one in plan.models if one.learned}
    folders = [Path(out.path) for s in Revision.work_tree().stages.values() for out in s.outs if out.md5 in learned]
    for _, _, run in plan.versions:
        folders += [place / "model" for root in plan.places.folders for place in root.glob(f"**/{run}/artifacts")]
    for folder in folders:
        _count(plan, "withdrawn models", sum(1 for _ in below(folder)))
        if folder.is_dir():
            shutil.rmtree(folder)


def _count(plan: Plan, place: str, number: int) -> None:
    if number:
        plan.journal.counts[place] = plan.journal.counts.get(place, 0) + number
        plan.journal.save()


def fsync_folders() -> None:
    """Have the file system write the deletions down before they are certified."""
    os.sync()
