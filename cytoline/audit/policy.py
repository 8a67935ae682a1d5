"""Who may approve what, and what a model needs before it is promoted: ``approvals/policy.yaml``.

Roles and meanings are closed lists, because a signature says what it means (21 CFR 11.50); the file's own hash is part
of every approval, so that a loosened rule makes every earlier approval fall.
"""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cytoline.audit.signing import NAME, is_project_key
from cytoline.errors import CytolineError

POLICY = "approvals/policy.yaml"
_LARGEST = 65_536
_DEEPEST = 20
_REMEDY = f"correct it, or restore it: `git checkout -- {POLICY}`"

Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,31}$")]
Handle = Annotated[str, Field(pattern=NAME)]
Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Need(_Closed):
    """One approval that must stand."""

    role: Word
    meaning: Word


class Promotion(_Closed):
    """What ``cytoline promote`` asks for."""

    needs: tuple[Need, ...]
    people: Annotated[int, Field(ge=1, le=20)] = 2
    """Four eyes: so many people, each with a key of their own."""
    blocks: tuple[Word, ...] = ()
    """Meanings that stop a promotion as long as they stand."""


class Person(_Closed):
    """Which roles a person may sign in, and with which key (its id) where that is fixed."""

    roles: tuple[Word, ...]
    key: Hex | None = None


class Policy(_Closed):
    """The whole file."""

    roles: Annotated[tuple[Word, ...], Field(min_length=1, max_length=50)]
    meanings: Annotated[tuple[Word, ...], Field(min_length=1, max_length=50)]
    promotion: Promotion
    people: Annotated[dict[Handle, Person], Field(max_length=1000)] = {}
    """Empty: everybody whose public key was committed may sign in every role."""

    @model_validator(mode="after")
    def _words_are_listed(self) -> Self:
        roles = {need.role for need in self.promotion.needs} | {r for p in self.people.values() for r in p.roles}
        meanings = {need.meaning for need in self.promotion.needs} | set(self.promotion.blocks)
        if unknown := sorted(roles - set(self.roles)) or sorted(meanings - set(self.meanings)):
            raise ValueError(f"{unknown[0]} is not in the list of roles or meanings")
        return self

    def allows(self, by: str, role: str, key: str) -> str | None:
        """Why ``by`` may not sign in ``role`` with this key; None where they may."""
        if is_project_key(by):
            return f"{by} is a key that seals, not a person"
        if role not in self.roles:
            return f"{role} is no role of {POLICY}"
        if not self.people:
            return None
        person = self.people.get(by)
        if person is None or role not in person.roles:
            return f"{POLICY} does not let {by} sign as {role}"
        return f"{POLICY} names another key for {by}" if person.key not in (None, key) else None


def read_policy(top: Path = Path()) -> Policy:
    """Read and check it.  Raises ``CytolineError`` that names the first bad entry."""
    try:
        with (top / POLICY).open("rb") as handle:
            content = handle.read(_LARGEST + 1)
    except OSError:
        raise CytolineError(f"{POLICY} is missing", f"`git checkout -- {POLICY}`") from None
    return parse_policy(content)


def parse_policy(content: bytes) -> Policy:
    """The same, of a file's bytes."""
    if len(content) > _LARGEST:
        raise CytolineError(f"{POLICY} is larger than {_LARGEST >> 10} kB", _REMEDY)
    # The loader takes seconds for what is nested deep.
    if max(accumulate((b in b"[{") - (b in b"]}") for b in content), default=0) > _DEEPEST:
        raise CytolineError(f"{POLICY} is nested too deep", _REMEDY)
    try:
        # This loader refuses a key that stands twice.
        return Policy.model_validate(YAML(typ="safe", pure=True).load(content.decode("utf-8")))
    except ValidationError as error:
        item = error.errors()[0]
        where = ".".join(str(part) for part in item["loc"]) or "file"
        raise CytolineError(f"{POLICY}: {where}: {item['msg']}", _REMEDY) from None
    except (YAMLError, ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise CytolineError(f"{POLICY} is no valid YAML", _REMEDY) from None
