"""The rows: one clause or checklist item each, with the evidence that would fill it.  Read from the YAML files beside.

What a clause asks is told in our words; the text of the law or of the checklist is the authority.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cytoline.errors import CytolineError

FOLDER = Path(__file__).parent
ORDER = ("eu_ai_act", "annex_iv", "gmlp", "gdpr", "hipaa", "claim", "tripod_ai")
"""The maps in the order in which they are shown; that of IEC 62304 is computed (``cytoline.audit.compliance.soup``)."""

Text = Annotated[str, Field(min_length=1)]
Required = Literal["build", "release", "no"]
KINDS = ("file", "out", "command", "test", "metric", "param", "owner", "approval", "gap", "na")


class Evidence(BaseModel):
    """One thing that shows it: exactly one of the kinds, and in ``says`` what it shows.

    ``gap`` says why nothing can be shown here, ``na`` why the clause does not apply.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Text | None = None
    """A file that git tracks."""
    out: Text | None = None
    """An out of the pipeline, as ``dvc.lock`` records it."""
    command: Text | None = None
    """Words of ``cytoline``, for example ``audit subject``."""
    test: Text | None = None
    """``tests/FILE.py::name``."""
    metric: Text | None = None
    """``metrics/FILE.json#key``; a finite number."""
    param: Text | None = None
    """A key of params.yaml, with dots."""
    owner: Text | None = None
    """A key of approvals/intended_use.yaml, with dots: only the team can know it."""
    approval: Text | None = None
    """A role that must have signed."""
    gap: Text | None = None
    na: Text | None = None
    says: str = ""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(getattr(self, kind) is not None for kind in KINDS) != 1:
            raise ValueError(f"an entry of evidence has exactly one of {', '.join(KINDS)}")
        return self

    @property
    def kind(self) -> str:
        """Which kind it is."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def what(self) -> str:
        """The value of that kind: a path, a command, a reason."""
        return str(getattr(self, self.kind))


class Row(BaseModel):
    """One clause.

    ``required``: ``build`` rows must be filled in every state of the repository, ``release`` rows before a model is
    released; ``no`` rows may stay empty (and are shown empty).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Text
    asks: Text
    required: Required = "no"
    evidence: Annotated[tuple[Evidence, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _can_be_filled(self) -> Self:
        if self.required != "no" and any(entry.gap for entry in self.evidence):
            raise ValueError("a row with a gap can never be filled, so it cannot be required")
        return self


class Framework(BaseModel):
    """One law or checklist."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    short: Text
    name: Text
    source: Text
    note: str = ""
    rows: Annotated[tuple[Row, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _unique(self) -> Self:
        ids = [row.id for row in self.rows]
        if len(ids) != len(set(ids)):
            raise ValueError("two rows have the same id")
        return self


def frameworks() -> tuple[Framework, ...]:
    """Every map, in order.  Raises ``CytolineError`` naming the file and the entry that is wrong."""
    return tuple(read_framework(FOLDER / f"{name}.yaml") for name in ORDER)


def read_framework(path: Path) -> Framework:
    """Read and check one map."""
    try:
        return Framework.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise CytolineError(
            f"{path.name} is missing", "restore it: `git checkout -- cytoline/audit/compliance`"
        ) from None
    except yaml.YAMLError as error:
        raise CytolineError(f"{path.name} is no YAML: {str(error).splitlines()[0]}", "correct it") from None
    except ValidationError as error:
        item = error.errors()[0]
        where = ".".join(str(part) for part in item["loc"])
        raise CytolineError(f"{path.name}: {where}: {item['msg']}", "correct that entry") from None
