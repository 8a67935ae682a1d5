"""What the gate holds a change to: the section ``gate`` of ``params.yaml``."""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cytoline.errors import CytolineError
from cytoline.params import PARAMS_FILE, Params, load_taxonomy_name
from cytoline.taxonomy import TAXONOMIES, Taxonomy


class Rule(BaseModel):
    """One figure and how much of it may be lost.  Figures without a unit run from 0 to 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    better: Literal["higher", "lower"] = "higher"
    limit: float | None = None
    """Never worse than this, whatever the baseline was (a floor where higher is better, else a ceiling)."""
    max_loss: Annotated[float, Field(ge=0)]
    """A loss up to this is accepted even if it is real."""
    max_relative_loss: Annotated[float, Field(ge=0, le=1)] | None = None
    """The same as a share of the baseline's figure; the smaller of both counts."""
    seed_sd: Annotated[float, Field(ge=0)]
    """Standard deviation of the figure over trainings that differ in nothing but the seed, on so many patients that
    these no longer matter: what a few patients add, the gate draws itself."""

    def allowed(self, baseline: float) -> float:
        """The loss that is accepted even if it is real."""
        if self.max_relative_loss is None:
            return self.max_loss
        return min(self.max_loss, self.max_relative_loss * abs(baseline))


class GateParams(Params, prefix="gate"):
    """The rules, and how sure the gate must be."""

    false_alarm: Annotated[float, Field(gt=0, lt=0.5)]
    """Chance that at least one rule fails although nothing but the seed and the patients drawn has changed."""
    samples: Annotated[int, Field(ge=100)]
    """Resamples of the patients."""
    min_patients: Annotated[int, Field(ge=2)]
    """Fewer in both states are not compared as pairs."""
    rules: Annotated[dict[str, Rule], Field(min_length=1)]
    """Address of a figure (``detector.ap50``: file and keys below ``metrics/``) to its rule."""

    @property
    def multiple(self) -> float:
        """How many standard deviations of noise a loss must exceed, for all rules together (Bonferroni)."""
        return NormalDist().inv_cdf(1 - self.false_alarm / len(self.rules))


def taxonomy_of(top: Path = Path()) -> Taxonomy | None:
    """The classes of this repository, in order, and which count as abnormal; None where they cannot be read."""
    try:
        return Taxonomy.load(load_taxonomy_name(top / PARAMS_FILE), top / TAXONOMIES)
    except CytolineError:
        return None


def abnormal_classes(top: Path = Path()) -> tuple[str, ...]:
    """The classes that count as abnormal; none where they cannot be read: then there is no such figure."""
    taxonomy = taxonomy_of(top)
    return () if taxonomy is None else taxonomy.abnormal
