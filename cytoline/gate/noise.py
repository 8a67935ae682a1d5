"""How much a difference of two states scatters with the patients that were drawn.

Where both states have enough patients in common, both figures are computed on the same resampled patients, and the
scatter of their difference is taken (paired cluster bootstrap, Efron & Tibshirani 1993).  With a handful of patients
that alone deceives: the standard deviation of five clusters is too small by sqrt(4/5), and often far smaller by chance,
which raises false alarms.  So it is enlarged by sqrt(n / (n - 1)), and shrunk towards the scatter over images, of which
there are more: where two trainings disagree, they were found to do so cell by cell and not patient by patient (design
effect 0.9 over 90 patients, ``benchmarks.audit.trainings``).  The more patients, the more their own scatter counts.

Where too few are in common, the two test sets are different ones and each scatters for itself; where even those are
too small, the scatter is unknown, and the gate says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from cytoline.gate.recompute import Cases, Side, Statistic, patients_of, statistic
from cytoline.gate.rules import GateParams
from cytoline.measures.bootstrap import Floats, Patients

_PRIOR_PATIENTS = 20
"""What is known of images is worth so many patients."""
_LEAST_DEFINED = 0.5
"""Below this share of resamples in which a figure is defined, its scatter would speak of other data."""


@dataclass(frozen=True)
class Noise:
    """The patients' part of the noise of one figure."""

    loss: float | None
    """On the patients that both states share; None where it is the difference of the two figures."""
    scatter: float
    """Standard deviation of the difference."""
    words: str
    unknown: bool = False
    """True where too few patients tell nothing of the scatter."""


class Compared:
    """Two states' cases, side by side."""

    def __init__(
        self, before: Cases, after: Cases, params: GateParams, seed: int, abnormal: Collection[str] = ()
    ) -> None:
        self._before, self._after = before, after
        self._params, self._seed, self._abnormal = params, seed, abnormal
        self._names = (patients_of(before), patients_of(after))

    def of(self, address: str, better: Literal["higher", "lower"]) -> Noise:
        """The noise of one figure."""
        sign = 1.0 if better == "higher" else -1.0
        before, after = self._sides
        if statistic(address, before) is None or statistic(address, after) is None:
            return Noise(None, 0.0, "noise of the seed alone: per-case results do not give this figure")
        least, counts = self._params.min_patients, [len(names) for names in self._names]
        if len(self._shared) >= least:
            return self._paired(address, sign)
        shared = f"only {len(self._shared)} patients are in both states (a paired comparison needs {least})"
        if min(counts) >= least:
            return self._unpaired(address, f"unpaired, {counts[0]} patients before and {counts[1]} now: {shared}")
        words = f"too few patients to tell a loss from chance: {shared}, {counts[0]} before and {counts[1]} now"
        return Noise(None, 0.0, words, unknown=True)

    @cached_property
    def _shared(self) -> list[str]:
        return sorted(self._names[0] & self._names[1])

    @cached_property
    def _sides(self) -> tuple[Side, Side]:
        """All patients of each state."""
        return self._side(self._before, self._names[0]), self._side(self._after, self._names[1])

    def _side(self, cases: Cases, names: Collection[str]) -> Side:
        return Side.of(cases, sorted(names), self._abnormal)

    @cached_property
    def _pairs(self) -> tuple[tuple[Side, Side], tuple[Side, Side]]:
        """The shared patients of both states, by patient and by image."""
        before, after = self._side(self._before, self._shared), self._side(self._after, self._shared)
        images = before.by_image(), after.by_image()
        names = tuple(sorted({*images[0].patients, *images[1].patients}))
        by_image = (Side(names, images[0].cases, before.abnormal), Side(names, images[1].cases, after.abnormal))
        return (before, after), by_image

    def _paired(self, address: str, sign: float) -> Noise:
        patients, images = self._pairs
        loss, by_patient = self._drawn(_difference(address, *patients), len(self._shared))
        _, by_image = self._drawn(_difference(address, *images), len(images[0].patients))
        count = len(self._shared)
        words = f"paired over {count} patients"
        alone = [len(names) - count for names in self._names]
        if any(alone):
            words += f" that both have ({alone[0]} only before, {alone[1]} only now)"
        if not math.isfinite(loss) or by_patient is None:
            return Noise(None, 0.0, f"too few cells to tell a loss from chance: {words}", unknown=True)
        share = (count - 1) / (count - 1 + _PRIOR_PATIENTS)
        finer = by_patient if by_image is None else by_image
        scatter = math.sqrt(share * by_patient**2 + (1 - share) * finer**2)
        if scatter == 0 and loss == 0:
            words += ", whose results are the same in both: so nothing tells how large a loss would be seen"
        return Noise(sign * loss, scatter, words)

    def _unpaired(self, address: str, words: str) -> Noise:
        drawn = [self._drawn(statistic(address, side), len(side.patients))[1] for side in self._sides]
        if drawn[0] is None or drawn[1] is None:
            return Noise(None, 0.0, f"too few cells to tell a loss from chance: {words}", unknown=True)
        return Noise(None, math.hypot(drawn[0], drawn[1]), words)

    def _drawn(self, figure: Statistic | None, count: int) -> tuple[float, float | None]:
        """The figure as it is, and its scatter over resamples of ``count`` units; None where that is undefined."""
        if figure is None or count < 2:
            return math.nan, None
        drawn = Patients.of([f"{number:09d}" for number in range(count)], self._params.samples, self._seed)
        values = np.concatenate([figure(weights) for weights in drawn.chunks()])
        defined = values[np.isfinite(values)]
        whole = float(figure(drawn.once())[0])
        if len(defined) < max(2, _LEAST_DEFINED * len(values)):
            return whole, None
        return whole, float(np.std(defined, ddof=1)) * math.sqrt(count / (count - 1))


def _difference(address: str, before: Side, after: Side) -> Callable[[Floats], Floats] | None:
    """Before less now, for weights of the units that both sides list in one order."""
    first, second = statistic(address, before), statistic(address, after)
    if first is None or second is None:
        return None
    return lambda weights: first(weights) - second(weights)
