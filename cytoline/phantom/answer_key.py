"""The answer key: which identifier was planted where.  For tests and benchmarks only; no stage imports this.

It is read off the plan, not off the files, so that it cannot agree with a file by copying its mistakes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cytoline.phantom.overlay import Box
from cytoline.phantom.plan import FieldPlan, plan_fields
from cytoline.phantom.problems import Fault, plan_faults
from cytoline.phantom.spec import PhantomSpec


@dataclass(frozen=True)
class Planted:
    """One identifier.  ``box`` (x, y, w, h in pixels) where it is burned in, None elsewhere."""

    file: str
    place: str
    kind: str
    value: str
    box: Box | None = None


@dataclass(frozen=True)
class AnswerKey:
    """Everything planted in one phantom; files are relative paths below the source's folder."""

    planted: tuple[Planted, ...]
    faults: tuple[tuple[str, str], ...]
    """(kind, file) of each planted problem."""
    patients: dict[str, str]
    """File -> the true patient (a stable name within this phantom)."""

    def burned_in(self) -> tuple[Planted, ...]:
        """Text and barcodes in pixels."""
        return tuple(item for item in self.planted if item.box is not None)

    def needles(self) -> tuple[str, ...]:
        """Every distinct string that may not survive anywhere, longest first."""
        return tuple(sorted({item.value for item in self.planted}, key=lambda value: (-len(value), value)))


def answer_key(spec: PhantomSpec) -> AnswerKey:
    """What ``render_phantom(spec, ...)`` plants."""
    fields = list(plan_fields(spec))
    faults = plan_faults(spec, fields)
    files = [(plan, plan.file) for plan in fields]
    files += [(fault.plan, fault.file) for fault in faults if _is_file(fault)]
    planted = [item for plan, file in files for item in _planted(plan, file)]
    return AnswerKey(
        planted=tuple(planted),
        faults=tuple((fault.kind, fault.file) for fault in faults),
        patients={file: f"{plan.on.patient:04d}" for plan, file in files},
    )


def _is_file(fault: Fault) -> bool:
    return fault.kind in ("duplicate", "truncated")


def _planted(plan: FieldPlan, file: str) -> Iterator[Planted]:
    person = plan.on.person
    yield Planted(file, "folder", "name", f"{person.family}_{person.given}")
    yield Planted(file, "folder", "birth date", person.born)
    yield Planted(file, "folder", "accession number", plan.on.accession)
    if person.given in file.rpartition("/")[2]:
        yield Planted(file, "file name", "name", f"{person.given}-{person.family.title()}")
        yield Planted(file, "file name", "date", plan.on.taken)
    yield Planted(file, "annotations:date_captured", "date", plan.on.taken)
    yield Planted(file, "annotations:annotator", "staff name", person.reader)
    for place, value in plan.metadata:
        yield from _in_metadata(file, place, value, plan)
    for mark in plan.overlay.marks if plan.overlay else ():
        yield Planted(file, "pixels", mark.kind, mark.value, mark.box)


def _in_metadata(file: str, place: str, value: str, plan: FieldPlan) -> Iterator[Planted]:
    person = plan.on.person
    known = {
        "name": person.name,
        "birth date": person.born,
        "accession number": plan.on.accession,
        "record number": person.record,
        "hospital": person.hospital,
        "staff name": person.reader,
    }
    found = [(kind, text) for kind, text in known.items() if text in value]
    other = "position" if place == "exif:GPS" else "device serial"
    for kind, text in found or [(other, value)]:
        yield Planted(file, place, kind, text)
