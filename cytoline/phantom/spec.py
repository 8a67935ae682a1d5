"""The knobs of the phantom: how much of it, and how hard it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cytoline.errors import CytolineError

GRADES = ("NILM", "LSIL", "HSIL", "SCC")
"""Mild to severe; a grade's position is also the centre of its latent severity."""

Problem = Literal["duplicate", "truncated", "zero_width", "outside"]
PROBLEMS: tuple[Problem, ...] = get_args(Problem)

Share = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(ge=0, le=4)]


class PhantomSpec(BaseModel):
    """What to render.  Equal specs give equal bytes; more patients never change those that were there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: Annotated[int, Field(ge=0)] = 0
    patients: Annotated[int, Field(ge=1, le=9999)] = 30
    slides_per_patient: Annotated[int, Field(ge=1, le=9)] = 2
    """At most so many: the first is always there, each further one for six patients in ten."""
    fields_per_slide: Annotated[int, Field(ge=1, le=99)] = 2
    width: Annotated[int, Field(ge=256, le=4096)] = 512
    height: Annotated[int, Field(ge=256, le=4096)] = 384
    cells_min: Annotated[int, Field(ge=1, le=200)] = 5
    cells_max: Annotated[int, Field(ge=1, le=200)] = 14

    severity_overlap: Annotated[float, Field(ge=0, le=1.5)] = 0.3
    """Spread of a cell's latent severity around its grade, in grades: 0 is easy, 0.6 is a coin toss next door."""
    crowding: Share = 0.3
    """Largest share of a cell that others may cover when it is placed; also draws cells together."""
    defocus: Factor = 1.0
    """Scales the blur of whole fields and of single cells."""
    artefacts: Factor = 1.0
    """Scales blood, neutrophils, mucus, bacilli, debris and unannotated anucleate squames."""
    burned_in: Share = 0.25
    """Share of fields with burned-in text or a barcode label."""
    problems: tuple[Problem, ...] = PROBLEMS
    """What `collect` must refuse and report: one of each named kind is planted."""

    @classmethod
    def read(cls, mapping: Mapping[str, object], where: str = "source.yaml") -> Self:
        """Check the ``phantom:`` mapping of a ``source.yaml``; names each bad key."""
        try:
            spec = cls.model_validate(dict(mapping))
        except ValidationError as error:
            rows = "; ".join(f"phantom.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise CytolineError(f"{where}: {rows}", f"known keys: {', '.join(cls.model_fields)}") from None
        if spec.cells_max < spec.cells_min:
            raise CytolineError(f"{where}: phantom.cells_max is below cells_min", "raise cells_max")
        return spec


def stream(*key: int) -> np.random.Generator:
    """An own generator for each thing that is drawn, so that no draw depends on how many came before."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(list(key))))
