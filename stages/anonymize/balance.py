"""What the run did: the totals, the check that no image was lost on the way, and the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cytoline.deid.audit import AUDIT, Begun, Ended, KeptBack, Passed, Rejected, Released, write_audit
from cytoline.deid.review.quarantine import IMAGES, Held
from cytoline.manifest import Record
from stages.anonymize.groups import k_anonymity
from stages.anonymize.records import Keys

OfImage = Passed | KeptBack | Rejected | Released


@dataclass
class Progress:
    """What the run has made so far."""

    records: list[Record] = field(default_factory=list)
    passed: list[Passed] = field(default_factory=list)
    released: list[Released] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    failed: int = 0
    """Images that passed by our own account and were then found wanting by other means."""

    def withdraw(self, images: Set[str]) -> None:
        """Forget that these passed."""
        self.records = [item for item in self.records if item.image_id not in images]
        self.passed = [item for item in self.passed if item.image not in images]
        self.released = [item for item in self.released if item.image not in images]
        self.failed += len(images)

    def events(self) -> list[OfImage]:
        """By image; that it was released stands behind that it passed."""
        held = [KeptBack(image=item.image_id, reason=item.reason) for item in self.held]
        rows: list[OfImage] = [*self.passed, *held, *self.rejected, *self.released]
        return sorted(rows, key=lambda row: row.image)


def balance(names: Iterable[str], done: Progress, unused: int) -> dict[str, Any]:
    """The totals.  Every image that came in is untouched, redacted, quarantined or rejected, or we have a defect."""
    came_in = sorted(names)
    events = Counter(item.event for item in done.passed)
    went = [item.image for item in done.passed] + [item.image for item in done.rejected]
    went += [item.image_id for item in done.held]
    if came_in != sorted(went) or sorted(item.image_id for item in done.records) != sorted(
        i.image for i in done.passed
    ):
        raise RuntimeError(f"{len(came_in)} images came in, {len(set(went))} are accounted for in {len(went)} places")
    return {
        "images": {
            "in": len(came_in),
            "untouched": events["untouched"],
            "redacted": events["redacted"],
            "quarantined": len(done.held),
            "rejected": len(done.rejected),
        },
        "routes": dict(sorted(Counter(item.route for item in done.passed).items())),
        "turned": sum(item.turned for item in done.passed),
        "texts_painted_over": sum(item.texts for item in done.passed),
        "barcodes_painted_over": sum(item.barcodes for item in done.passed),
        "doubtful_text_let_pass": sum(item.doubtful for item in done.passed),
        "boxes": sum(item.boxes for item in done.passed),
        "boxes_redacted": sum(item.boxes_redacted for item in done.passed),
        "patients": len({item.patient for item in done.records}),
        "k_anonymity": k_anonymity(done.records),
        "quarantine_reasons": dict(sorted(Counter(item.reason for item in done.held).items())),
        "released_by_a_reviewer": len(done.released),
        "failed_verification": done.failed,
        "decisions_unused": unused,
    }


def check_folders(out: Path, quarantine: Path, done: Progress) -> None:
    """The folders hold the files that the lists name, and no other."""
    if {path.name for path in (out / IMAGES).iterdir()} != {record.file for record in done.records}:
        raise RuntimeError("data/clean holds other files than its manifest names")
    if {path.stem for path in (quarantine / IMAGES).iterdir()} != {item.image_id for item in done.held}:
        raise RuntimeError("data/quarantine holds other files than its list names")


def write_log(out: Path, keys: Keys, summary: dict[str, Any], done: Progress) -> None:
    """The audit log of this run."""
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
    write_audit(out / AUDIT, [begun, *done.events(), ended])
