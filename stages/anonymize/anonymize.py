"""The run: every raw image through ``recreate``, the balance, the log, the folders."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cytoline import atomic
from cytoline.deid.audit import AUDIT, Begun, Ended, KeptBack, Passed, write_audit
from cytoline.deid.params import AnonymizeParams
from cytoline.deid.recreate import OUTCOME, Outcome, recreate
from cytoline.errors import CytolineError
from cytoline.manifest import Record, json_line, write_manifest
from cytoline.memo import Blob, Job, Memo
from stages.anonymize.records import Keys, clean_id, clean_record

IMAGES = "images"
QUARANTINE = "quarantine.jsonl"
SUMMARY = "summary.json"


@dataclass
class Progress:
    """What the run has made so far."""

    records: list[Record] = field(default_factory=list)
    kept_back: list[KeptBack] = field(default_factory=list)
    passed: list[Passed] = field(default_factory=list)

    def events(self) -> list[Passed | KeptBack]:
        """One for each image."""
        return [*self.passed, *self.kept_back]


def anonymize(
    records: list[Record], raw: Path, out: Path, quarantine: Path, params: AnonymizeParams, keys: Keys, pool: Executor
) -> dict[str, Any]:
    """Fill the empty folders ``out`` and ``quarantine``; gives the summary that it wrote."""
    (out / IMAGES).mkdir()
    (quarantine / IMAGES).mkdir()
    originals = {record.image_id: _original(record, raw) for record in records}
    jobs = [Job(item.image_id, (originals[item.image_id], item.width, item.height)) for item in records]
    done = Progress()
    results = Memo().map(recreate, jobs, params, description="de-identifying", pool=pool)
    for record, (job, blobs) in zip(records, results, strict=True):
        outcome = Outcome.model_validate_json(blobs[OUTCOME].read())
        if outcome.file is None:
            _keep_back(record, originals[job.name], outcome, quarantine, keys, done)
        else:
            _pass(record, blobs[outcome.file], outcome, out, params, keys, done)
    summary = _balance(len(records), done)
    write_manifest(out, done.records)
    _write_log(out, keys, summary, done)
    rows = sorted(done.kept_back, key=lambda item: item.image)
    listed = "".join(json_line({"image_id": item.image, "reason": item.reason}) for item in rows)
    atomic.write_text(quarantine / QUARANTINE, listed)
    atomic.write_text(out / SUMMARY, json_line(summary))
    return summary


def _original(record: Record, raw: Path) -> Path:
    path = raw / IMAGES / record.file
    if not path.is_file():
        raise CytolineError(f"the raw image {record.file} is missing", "`dvc repro -f collect`")
    return path


def _keep_back(record: Record, path: Path, outcome: Outcome, quarantine: Path, keys: Keys, done: Progress) -> None:
    assert outcome.reason is not None
    name = clean_id(record, keys.of(record.source))
    shutil.copyfile(path, quarantine / IMAGES / (name + path.suffix))
    done.kept_back.append(KeptBack(image=name, reason=outcome.reason))


def _pass(
    record: Record, blob: Blob, outcome: Outcome, out: Path, params: AnonymizeParams, keys: Keys, done: Progress
) -> None:
    assert outcome.route is not None
    sha256 = hashlib.sha256(blob.read()).hexdigest()
    clean = clean_record(record, outcome, sha256, params.margin, keys.of(record.source))
    blob.link(out / IMAGES / clean.file)
    done.records.append(clean)
    done.passed.append(
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


def _balance(came_in: int, done: Progress) -> dict[str, Any]:
    """The totals; in = untouched + redacted + quarantined + rejected, or a defect of ours."""
    events = Counter(item.event for item in done.passed)
    summary = {
        "images": {
            "in": came_in,
            "untouched": events["untouched"],
            "redacted": events["redacted"],
            "quarantined": len(done.kept_back),
            "rejected": 0,
        },
        "routes": dict(sorted(Counter(item.route for item in done.passed).items())),
        "turned": sum(item.turned for item in done.passed),
        "texts_painted_over": sum(item.texts for item in done.passed),
        "barcodes_painted_over": sum(item.barcodes for item in done.passed),
        "doubtful_text_let_pass": sum(item.doubtful for item in done.passed),
        "boxes": sum(item.boxes for item in done.passed),
        "boxes_redacted": sum(item.boxes_redacted for item in done.passed),
        "patients": len({item.patient for item in done.records}),
        "quarantine_reasons": dict(sorted(Counter(item.reason for item in done.kept_back).items())),
    }
    names = {item.image for item in done.events()}
    if came_in != len(done.passed) + len(done.kept_back) or came_in != len(names):
        raise RuntimeError(f"{came_in} images came in, {len(names)} are accounted for")
    return summary


def _write_log(out: Path, keys: Keys, summary: dict[str, Any], done: Progress) -> None:
    begun = Begun(
        mode="random" if keys.crosswalk is not None else "keyed",
        private_key=keys.private.key_id if keys.private else None,
        synthetic_key=keys.synthetic.key_id if keys.synthetic else None,
    )
    images = summary["images"]
    ended = Ended(
        came_in=images["in"],
        untouched=images["untouched"],
        redacted=images["redacted"],
        quarantined=images["quarantined"],
        rejected=images["rejected"],
    )
    between = sorted(done.events(), key=lambda item: item.image)
    write_audit(out / AUDIT, [begun, *between, ended])
