"""The faults that real deliveries have, planted on purpose; always on the first fields, so that growth moves none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from cytoline.phantom.plan import FieldPlan
from cytoline.phantom.spec import PhantomSpec, Problem

ZERO_WIDTH = (40.0, 60.0, 0.0, 35.0)


@dataclass(frozen=True)
class Fault:
    """One planted problem.  ``file`` is what `collect` should name in its refusal."""

    kind: Problem
    file: str
    plan: FieldPlan
    """The field that is copied, cut short, or given a bad box."""


def plan_faults(spec: PhantomSpec, fields: Sequence[FieldPlan]) -> list[Fault]:
    """One fault of each kind in ``spec.problems``."""
    return [_fault(kind, spec, fields) for kind in dict.fromkeys(spec.problems)]


def outside_box(spec: PhantomSpec) -> tuple[float, float, float, float]:
    """A box that begins where the image ends."""
    return (spec.width + 12.0, 30.0, 48.0, 44.0)


def _fault(kind: Problem, spec: PhantomSpec, fields: Sequence[FieldPlan]) -> Fault:
    if kind == "duplicate":
        source = fields[0]
        path = PurePosixPath(source.file)
        return Fault(kind, str(path.with_name(f"Copy of {path.name}")), source)
    if kind == "truncated":
        # A field of its own, so that no good one is lost.
        first = fields[0]
        path = PurePosixPath(first.file).with_name(f"IMG_0000_{spec.fields_per_slide + 1:02d}.jpg")
        plan = replace(first, number=spec.fields_per_slide, file=str(path), format="jpg", metadata=(), overlay=None)
        return Fault(kind, plan.file, plan)
    bad = fields[(1 if kind == "zero_width" else 2) % len(fields)]
    return Fault(kind, bad.file, bad)
