"""Decides, rule by rule, whether a loss is more than noise and more than is allowed.

A figure moves for two reasons that are nobody's fault: another seed, and the patients that happen to be in the test
part.  The first is measured once per project (``seed_sd``; a difference of two trainings has sqrt(2) of it), the
second is drawn: both states' figures are computed on the same resampled patients, and the scatter of their difference
is taken (paired cluster bootstrap, Efron & Tibshirani 1993).  A rule fails when the loss is above what is allowed AND
above ``z`` times that noise.  ``z`` holds for all rules together (Bonferroni), one-sided, so that a change of nothing
fails the build in no more than ``false_alarm`` of all cases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from cytoline.errors import CytolineError
from cytoline.gate.recompute import Side, patients_of, statistic
from cytoline.gate.revision import Snapshot
from cytoline.gate.rules import GateParams, Rule
from cytoline.measures.bootstrap import Floats, Patients

Outcome = Literal["pass", "regression", "beyond limit", "missing"]

POWER = 0.9
"""The loss that a rule ``sees`` is the one that it catches in this share of cases."""


@dataclass(frozen=True)
class Verdict:
    """What became of one rule."""

    address: str
    outcome: Outcome
    baseline: float | None
    current: float | None
    loss: float | None
    """How much worse the figure is; negative where it is better.  On the patients that both states share, where
    it can be computed there, else the difference of the two figures."""
    tolerance: float | None
    """The loss from which on the rule fails."""
    sees: float | None
    """The true loss that the rule catches nine times in ten."""
    words: str

    @property
    def failed(self) -> bool:
        """Whether this rule stops the build."""
        return self.outcome != "pass"


@dataclass(frozen=True)
class Paired:
    """Both states on the same patients."""

    before: Side
    after: Side
    drawn: Patients
    only_before: int
    only_after: int


def judge(baseline: Snapshot, current: Snapshot, params: GateParams, seed: int) -> list[Verdict]:
    """One verdict per rule, in the rules' order.

    Raises ``CytolineError`` where neither state has any figure: then nothing was compared, which is no pass.
    """
    if not baseline.figures:
        raise CytolineError(
            f"{baseline.name} has no metrics to compare with", "choose a --baseline in which `dvc repro` was committed"
        )
    paired = _paired(baseline, current, params.samples, seed)
    z = NormalDist().inv_cdf(1 - params.false_alarm / len(params.rules))
    return [_verdict(address, rule, baseline, current, paired, z) for address, rule in params.rules.items()]


def _paired(baseline: Snapshot, current: Snapshot, samples: int, seed: int) -> Paired | None:
    before, after = patients_of(baseline.cases), patients_of(current.cases)
    shared = sorted(before & after)
    if len(shared) < 2:
        return None
    drawn = Patients.of(shared, samples, seed)
    return Paired(
        Side.of(baseline.cases, drawn.names),
        Side.of(current.cases, drawn.names),
        drawn,
        len(before - after),
        len(after - before),
    )


def _verdict(
    address: str, rule: Rule, baseline: Snapshot, current: Snapshot, paired: Paired | None, z: float
) -> Verdict:
    old, new = baseline.figures.get(address), current.figures.get(address)
    if old is None or new is None:
        absent = " and ".join(state.name for state in (baseline, current) if address not in state.figures)
        words = f"not in the metrics of {absent}: renamed, skipped or not computed. A missing figure never passes"
        return Verdict(address, "missing", old, new, None, None, None, words)
    differences = None if paired is None else _differences(address, rule, paired)
    loss = _worse(rule, old, new) if differences is None else float(differences[0])
    scatter = 0.0 if differences is None else _scatter(differences[1:])
    noise = math.hypot(scatter, math.sqrt(2) * rule.seed_sd)
    tolerance = max(rule.allowed(old), z * noise)
    sees = tolerance + NormalDist().inv_cdf(POWER) * noise
    if rule.limit is not None and _worse(rule, rule.limit, new) > 0:
        side = "below" if rule.better == "higher" else "above"
        return Verdict(address, "beyond limit", old, new, loss, tolerance, sees, f"{side} the limit of {rule.limit:g}")
    outcome: Outcome = "regression" if loss > tolerance else "pass"
    return Verdict(address, outcome, old, new, loss, tolerance, sees, _basis(differences, paired))


def _differences(address: str, rule: Rule, paired: Paired) -> Floats | None:
    """Loss on the shared patients as they are, then on each resample; None where cases do not tell."""
    before, after = statistic(address, paired.before), statistic(address, paired.after)
    if before is None or after is None:
        return None
    weights = np.concatenate([paired.drawn.once(), *paired.drawn.chunks()])
    losses = before(weights) - after(weights)
    losses = losses if rule.better == "higher" else -losses
    return losses if np.isfinite(losses[0]) else None


def _scatter(resampled: Floats) -> float:
    defined = resampled[np.isfinite(resampled)]
    return float(np.std(defined, ddof=1)) if len(defined) > 1 else 0.0


def _worse(rule: Rule, old: float, new: float) -> float:
    return old - new if rule.better == "higher" else new - old


def _basis(differences: Floats | None, paired: Paired | None) -> str:
    if differences is None or paired is None:
        return "noise of the seed alone: per-case results do not give this figure"
    words = f"paired over {len(paired.drawn.names)} patients"
    if paired.only_before or paired.only_after:
        words += f" that both have ({paired.only_before} only before, {paired.only_after} only now)"
    return words


def failures(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Those that stop the build."""
    return [verdict for verdict in verdicts if verdict.failed]
