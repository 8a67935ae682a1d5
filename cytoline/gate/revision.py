"""The figures and cases of one state of the repository: the work tree, or any git revision through DVC."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cytoline.errors import CytolineError

METRICS = ("detector", "classifier", "two_stage", "upscaler")
CASES = "metrics/cases.jsonl"
_LARGEST = 1 << 28

Kinds = tuple[type, ...]
_ANY_PATCH: dict[str, Kinds] = {"patient": (str,), "image_id": (str,), "bbox": (list,), "probabilities": (dict,)}
_KEYS: dict[str, dict[str, Kinds]] = {
    "field": {"patient": (str,), "image_id": (str,), "cells": (int, float)},
    "cell": {**_ANY_PATCH, "truth": (str,), "predicted": (str,)},
    "detection": {**_ANY_PATCH, "patch_id": (str,), "score": (int, float), "truth": (str, type(None))},
}
"""What figures are computed from, by kind of line."""

Reader = Callable[[str], bytes | None]
"""Path below the top of the repository to its content; None where there is no such file."""


@dataclass(frozen=True)
class Snapshot:
    """What a state of the repository says of its models."""

    name: str
    figures: Mapping[str, float]
    """Address to value, for example ``classifier.per_class.HSIL.sensitivity``."""
    cases: tuple[Mapping[str, Any], ...] = field(repr=False, default=())


def read_work_tree(top: Path = Path()) -> Snapshot:
    """The work tree as it is now."""

    def read(path: str) -> bytes | None:
        file = top / path
        return file.read_bytes() if file.is_file() else None

    return _snapshot("work tree", read)


def read_revision(revision: str, top: Path = Path()) -> Snapshot:
    """A commit, branch or tag.  The work tree is not touched; outs of DVC are taken from its cache or remote.

    Raises ``CytolineError`` where there is no such revision.
    """
    # DVC takes a second to import.
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.scm import CloneError, RevError
    from scmrepo.exceptions import SCMError

    try:
        files = DVCFileSystem(str(top), rev=revision)
        files.ls("/", detail=False)  # it resolves the revision only when asked for something
    except (RevError, SCMError, CloneError, DvcException):
        raise CytolineError(
            f"git knows no revision {revision!r} here",
            "check the name; in CI fetch the target branch first (`git fetch origin main`, no shallow clone)",
        ) from None

    def read(path: str) -> bytes | None:
        try:
            return bytes(files.read_bytes(path))
        except FileNotFoundError:
            return None
        except DvcException as error:
            raise CytolineError(
                f"{path} of {revision} is neither in DVC's cache nor on its remote ({type(error).__name__})",
                f"`dvc fetch --all-commits {path}`, or compare with a revision that was pushed",
            ) from None

    return _snapshot(revision, read)


def _snapshot(name: str, read: Reader) -> Snapshot:
    figures: dict[str, float] = {}
    for metric in METRICS:
        path = f"metrics/{metric}.json"
        content = read(path)
        if content is not None:
            figures |= dict(_leaves(metric, _parsed(content, path, name)))
    content = read(CASES)
    return Snapshot(name, figures, () if content is None else _cases(content, name))


def _parsed(content: bytes, path: str, name: str) -> Any:
    if len(content) > _LARGEST:
        raise CytolineError(f"{path} of {name} is larger than {_LARGEST >> 20} MB", "run `dvc repro evaluate`")
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise CytolineError(f"{path} of {name} is not valid JSON", "run `dvc repro evaluate`") from None


def _leaves(prefix: str, value: Any) -> list[tuple[str, float]]:
    if isinstance(value, bool) or value is None:
        return []
    if isinstance(value, int | float):
        return [(prefix, float(value))]
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in _leaves(f"{prefix}.{key}", item)]
    return []


def _cases(content: bytes, name: str) -> tuple[Mapping[str, Any], ...]:
    if len(content) > _LARGEST:
        raise CytolineError(f"{CASES} of {name} is larger than {_LARGEST >> 20} MB", "run `dvc repro evaluate`")
    rows = [_case(row, number, name) for number, row in enumerate(content.split(b"\n"), start=1) if row]
    return tuple(rows)


def _case(row: bytes, number: int, name: str) -> Mapping[str, Any]:
    """One line, with every key that figures are computed from."""
    try:
        case = json.loads(row)
        if all(isinstance(case[key], kinds) for key, kinds in _KEYS[case["kind"]].items()):
            return dict(case)
    except (ValueError, RecursionError, KeyError, TypeError):
        pass
    raise CytolineError(f"{CASES} of {name}: line {number} is not what evaluate writes", "run `dvc repro evaluate`")
