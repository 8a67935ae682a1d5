"""The ``collect`` section of params.yaml; here and not in the stage because ``cytoline add`` needs it too."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from cytoline.params import Params

INCOMING = Path("data/incoming")
"""Where ``cytoline add`` puts sources (``collect`` is told by dvc.yaml)."""

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"

SourceName = Annotated[str, Field(pattern=NAME_PATTERN)]


class CollectParams(Params, prefix="collect"):
    """Which sources are read, and how large a file may be before it is refused unread."""

    sources: Annotated[list[SourceName], Field(min_length=1)]
    max_megapixels: Annotated[int, Field(ge=1, le=2000)]
    max_file_megabytes: Annotated[int, Field(ge=1, le=100_000)]
    max_annotation_megabytes: Annotated[int, Field(ge=1, le=10_000)]
