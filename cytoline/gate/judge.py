"""Decides, rule by rule, whether a loss is more than noise and more than is allowed.

A figure moves for two reasons that are nobody's fault: another seed, and the patients that happen to be in the test
part.  The first is measured once per project (``seed_sd``; a difference of two trainings has sqrt(2) of it), the
second is drawn anew (``scatter``).  A rule fails when the loss is above what is allowed AND above a multiple of that
noise.  The multiple holds for all rules together (Bonferroni), one-sided, so that a change of nothing fails the build
in no more than ``false_alarm`` of all cases.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal

from cytoline.errors import CytolineError
from cytoline.gate.noise import Compared
from cytoline.gate.revision import Snapshot
from cytoline.gate.rules import GateParams, Rule

Outcome = Literal["pass", "regression", "beyond limit", "missing", "too few patients"]

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
    """The true loss that the rule catches nine times in ten; None where the patients' share of the noise is unknown."""
    words: str

    @property
    def failed(self) -> bool:
        """Whether this rule stops the build."""
        return self.outcome != "pass"


def judge(
    baseline: Snapshot, current: Snapshot, params: GateParams, seed: int, abnormal: Collection[str] = ()
) -> list[Verdict]:
    """One verdict per rule, in the rules' order.  ``abnormal``: the classes that count as such.

    Raises ``CytolineError`` where neither state has any figure: then nothing was compared, which is no pass.
    """
    if not baseline.figures:
        raise CytolineError(
            f"{baseline.name} has no metrics to compare with", "choose a --baseline in which `dvc repro` was committed"
        )
    compared = Compared(baseline.cases, current.cases, params, seed, abnormal)
    return [_verdict(address, rule, baseline, current, params, compared) for address, rule in params.rules.items()]


def judge_floors(current: Snapshot, params: GateParams) -> list[Verdict]:
    """For the first of all models, which has nothing to be compared with: every figure there, no limit passed.

    Raises ``CytolineError`` where no rule has a limit: then nothing was asked.
    """
    if all(rule.limit is None for rule in params.rules.values()):
        raise CytolineError(
            "no rule has a floor, and there is nothing to compare with", "give a rule under `gate:` a `limit`"
        )
    return [
        _no_figure(address, None, current.figures.get(address), (current,))
        or _beyond(address, rule, current.figures[address])
        or Verdict(address, "pass", None, current.figures[address], None, None, None, _floor(rule))
        for address, rule in params.rules.items()
    ]


def _verdict(
    address: str, rule: Rule, baseline: Snapshot, current: Snapshot, params: GateParams, compared: Compared
) -> Verdict:
    old, new = baseline.figures.get(address), current.figures.get(address)
    missing = _no_figure(address, old, new, (baseline, current))
    if missing is not None or old is None or new is None:
        return missing or Verdict(address, "missing", old, new, None, None, None, "no figure")
    noise = compared.of(address, rule.better)
    loss = _worse(rule, old, new) if noise.loss is None else noise.loss
    total = math.hypot(noise.scatter, math.sqrt(2) * rule.seed_sd)
    allowed = rule.allowed(old)
    tolerance = max(allowed, params.multiple * total)
    # Between two states that are alike nothing scatters, which says nothing of a change that does something.
    sees = tolerance + NormalDist().inv_cdf(POWER) * total if noise.scatter > 0 else None
    plain = Verdict(address, "pass", old, new, loss, tolerance, sees, noise.words)
    if (beyond := _beyond(address, rule, new)) is not None:
        return replace(plain, outcome=beyond.outcome, words=beyond.words)
    if noise.unknown:
        # Nobody can say how much of it is chance: what is allowed is all that is allowed.
        plain = replace(plain, tolerance=allowed, sees=None)
        return replace(plain, outcome="too few patients") if loss > allowed else plain
    return replace(plain, outcome="regression") if loss > tolerance else plain


def _no_figure(address: str, old: float | None, new: float | None, states: Sequence[Snapshot]) -> Verdict | None:
    absent = " and ".join(state.name for state in states if address not in state.figures)
    words = f"not in the metrics of {absent}: renamed, skipped or not computed. A missing figure never passes"
    return Verdict(address, "missing", old, new, None, None, None, words) if absent else None


def _beyond(address: str, rule: Rule, new: float) -> Verdict | None:
    if rule.limit is None or not _worse(rule, rule.limit, new) > 0:
        return None
    side = "below" if rule.better == "higher" else "above"
    return Verdict(address, "beyond limit", None, new, None, None, None, f"{side} the limit of {rule.limit:g}")


def _floor(rule: Rule) -> str:
    return "no floor is set for it" if rule.limit is None else f"the limit is {rule.limit:g}"


def _worse(rule: Rule, old: float, new: float) -> float:
    return old - new if rule.better == "higher" else new - old


def failures(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Those that stop the build."""
    return [verdict for verdict in verdicts if verdict.failed]
