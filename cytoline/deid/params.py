"""The ``anonymize`` section of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cytoline.params import Params


class AnonymizeParams(Params, prefix="anonymize"):
    """How names are replaced and how burned-in text is told from tissue."""

    pseudonyms: Literal["keyed", "random"]
    max_megapixels: Annotated[int, Field(ge=1, le=2000)]
    text_min_image: Annotated[int, Field(ge=1, le=4096)]
    text_scale: Annotated[int, Field(ge=128, le=2048)]
    text_score: Annotated[float, Field(gt=0, le=1)]
    text_max_height: Annotated[float, Field(gt=0, le=1)]
    margin: Annotated[int, Field(ge=0, le=256)]
    review: bool

    @property
    def max_pixels(self) -> int:
        """The same limit in pixels."""
        return self.max_megapixels * 1_000_000
