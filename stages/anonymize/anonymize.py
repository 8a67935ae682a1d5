"""The run: each raw image through ``recreate``, or where a reviewer sent it; the last check, the balance, the log."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cytoline import atomic
from cytoline.deid.audit import Passed, Reason, Rejected, Released, log_entry
from cytoline.deid.params import AnonymizeParams
from cytoline.deid.polygon import Polygon
from cytoline.deid.recreate import OUTCOME, Outcome, recreate_ruled
from cytoline.deid.review.decisions import Decision
from cytoline.deid.review.quarantine import IMAGES, Held, write_quarantine
from cytoline.errors import CytolineError
from cytoline.manifest import Record, json_line, write_manifest
from cytoline.memo import Blob, Job, Memo
from stages.anonymize.balance import Progress, balance, check_folders, write_log
from stages.anonymize.proof import failing, known_names
from stages.anonymize.records import Keys, clean_id, clean_record

SUMMARY = "summary.json"


@dataclass(frozen=True)
class Folders:
    """The raw store, and the two empty folders to fill."""

    raw: Path
    clean: Path
    quarantine: Path


@dataclass
class Run:
    """One run: where it works, what was decided, what it has made so far."""

    folders: Folders
    params: AnonymizeParams
    keys: Keys
    decisions: Mapping[str, Decision]
    done: Progress = field(default_factory=Progress)

    def name_of(self, record: Record) -> str:
        """The image's pseudonym."""
        return clean_id(record, self.keys.of(record.source))

    def decision_on(self, record: Record) -> Decision | None:
        """What holds about this image."""
        return self.decisions.get(self.name_of(record))

    def job(self, record: Record) -> Job:
        """The work on one image.  Of a decision only its ruling counts: whoever made it, the pixels are the same."""
        decision = self.decision_on(record)
        ruling = None if decision is None else decision.ruling
        return Job(record.image_id, (self.original(record), record.width, record.height, ruling))

    def original(self, record: Record) -> Path:
        """The raw image."""
        path = self.folders.raw / IMAGES / record.file
        if not path.is_file():
            raise CytolineError(f"the raw image {record.file} is missing", "`dvc repro -f collect`")
        return path

    def settle(self, record: Record, blobs: Mapping[str, Blob]) -> None:
        """Put one image where its outcome says."""
        outcome = Outcome.model_validate_json(blobs[OUTCOME].read())
        if outcome.file is None:
            assert outcome.reason is not None
            self.keep_back(record, outcome.reason, outcome.regions)
        else:
            self._pass(record, blobs[outcome.file], outcome)

    def keep_back(self, record: Record, reason: Reason, regions: tuple[Polygon, ...] = ()) -> None:
        """The original goes to the quarantine, under its pseudonym."""
        path, name = self.original(record), self.name_of(record)
        shutil.copyfile(path, self.folders.quarantine / IMAGES / (name + path.suffix))
        self.done.held.append(Held(image_id=name, reason=reason, regions=regions))

    def _pass(self, record: Record, blob: Blob, outcome: Outcome) -> None:
        assert outcome.route is not None
        sha256 = hashlib.sha256(blob.read()).hexdigest()
        clean = clean_record(record, outcome, sha256, self.params.margin, self.keys.of(record.source))
        blob.link(self.folders.clean / IMAGES / clean.file)
        self.done.records.append(clean)
        self.done.passed.append(
            Passed(
                event="redacted" if outcome.painted else "untouched",
                image=clean.image_id,
                route=outcome.route,
                turned=outcome.orientation != 1,
                texts=outcome.texts,
                barcodes=outcome.barcodes,
                doubtful=outcome.doubtful,
                boxes=len(clean.annotations),
                boxes_redacted=sum(item.redacted > 0 for item in clean.annotations),
            )
        )
        decision = self.decision_on(record)
        if decision is not None:
            entry = log_entry(decision)
            assert isinstance(entry, Released)
            self.done.released.append(entry)


def anonymize(
    records: list[Record],
    folders: Folders,
    params: AnonymizeParams,
    keys: Keys,
    pool: Executor,
    decisions: Mapping[str, Decision],
) -> dict[str, Any]:
    """Fill the empty folders; gives the summary that it wrote."""
    (folders.clean / IMAGES).mkdir()
    (folders.quarantine / IMAGES).mkdir()
    run = Run(folders, params, keys, decisions)
    names = {run.name_of(record): record for record in records}
    rejected = [log_entry(decisions[name]) for name in names if _is_rejected(decisions.get(name))]
    run.done.rejected = [entry for entry in rejected if isinstance(entry, Rejected)]
    wanted = [record for record in records if not _is_rejected(run.decision_on(record))]
    jobs = [run.job(record) for record in wanted]
    results = Memo().map(recreate_ruled, jobs, params, description="de-identifying", pool=pool)
    for record, (_, blobs) in zip(wanted, results, strict=True):
        run.settle(record, blobs)
    _check_by_other_means(run, names, pool)
    done = run.done
    summary = balance([run.name_of(record) for record in records], done, len(set(decisions) - set(names)))
    check_folders(folders.clean, folders.quarantine, done)
    write_manifest(folders.clean, done.records)
    write_log(folders.clean, keys, summary, done)
    write_quarantine(folders.quarantine, done.held)
    atomic.write_text(folders.clean / SUMMARY, json_line(summary))
    return summary


def _is_rejected(decision: Decision | None) -> bool:
    return decision is not None and decision.decision == "reject"


def _check_by_other_means(run: Run, names: Mapping[str, Record], pool: Executor) -> None:
    """What fails here had passed our own account: it is taken back out."""
    files = {run.folders.clean / IMAGES / record.file: record for record in run.done.records}
    failed = failing(files, known_names(names.values()), pool)
    run.done.withdraw(failed)
    for path, clean in files.items():
        if clean.image_id in failed:
            path.unlink()
            run.keep_back(names[clean.image_id], "check_failed")
