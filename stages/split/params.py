"""The ``split`` section of params.yaml."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from cytoline.params import Params

Share = Annotated[float, Field(ge=0, le=1)]


class SplitParams(Params, prefix="split"):
    """How much goes where, which of the many equally fair splits is taken, and what counts as the same image."""

    train: Share
    val: Share
    test: Share
    salt: Annotated[int, Field(ge=0)]
    duplicate_distance: Annotated[int, Field(ge=0, le=64)]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if abs(self.train + self.val + self.test - 1) > 1e-9:
            raise ValueError("train, val and test must add up to 1")
        return self
