"""Typed reading of ``params.yaml``: wrong keys, types and values are refused by their full name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from cytoline.errors import CytolineError

PARAMS_FILE = Path("params.yaml")

SECTIONS = frozenset(
    {
        "seed",
        "taxonomy",
        "profile",
        "profiles",
        "compute",
        "collect",
        "anonymize",
        "split",
        "augment",
        "detector",
        "detect",
        "patches",
        "upscaler",
        "upscale",
        "classifier",
        "evaluate",
        "gate",
        "report",
    }
)
"""Every top-level key that ``params.yaml`` may have."""


PROFILED = frozenset({"detector", "upscaler", "classifier"})
"""Sections that a profile may change: those of the training stages, which declare ``profiles`` in dvc.yaml."""


class Params(BaseModel):
    """Base of every stage's params: ``class UpscaleParams(Params, prefix="upscale")``.

    Fields are the leaves below ``prefix`` in ``params.yaml``; all must be there, none may be left over.
    The section of the chosen ``profile`` below ``profiles`` (if any) is laid over the plain one first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    prefix: ClassVar[str] = ""

    def __init_subclass__(cls, prefix: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if prefix:
            cls.prefix = prefix

    @classmethod
    def load(cls, path: Path = PARAMS_FILE) -> Self:
        """Read this section.  Raises ``CytolineError`` that names each bad key and what was expected."""
        section = section_of(read_params(path), cls.prefix, path)
        try:
            return cls.model_validate(section)
        except ValidationError as error:
            raise CytolineError(
                f"{path}: " + "; ".join(_problems(error, cls.prefix)),
                f"correct the keys under `{cls.prefix}:` in {path} (its comments say what each means)",
            ) from None


def read_params(path: Path = PARAMS_FILE) -> dict[str, Any]:
    """Read the whole file as a mapping; refuses unknown top-level keys."""
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CytolineError(f"{path} is missing", "run from the top of the repository") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = f" at line {line + 1}" if line is not None else ""
        raise CytolineError(f"{path} is not valid YAML{where}", "correct the syntax there") from None
    if not isinstance(loaded, dict):
        raise CytolineError(f"{path} holds no mapping", "restore it: `git checkout params.yaml`")
    unknown = sorted(str(key) for key in set(loaded) - SECTIONS)
    if unknown:
        raise CytolineError(
            f"{path}: unknown keys {', '.join(unknown)}",
            f"known top-level keys are {', '.join(sorted(SECTIONS))}",
        )
    return loaded


def section_of(loaded: dict[str, Any], prefix: str, path: Path = PARAMS_FILE) -> dict[str, Any]:
    """One section with the chosen profile's values laid over it."""
    profiles = loaded.get("profiles") or {}
    profile = loaded.get("profile", "cpu")
    if profile not in profiles:
        raise CytolineError(f"{path}: profile {profile!r} is not defined", f"use one of: {', '.join(sorted(profiles))}")
    chosen = profiles[profile] or {}
    if stray := sorted(set(chosen) - PROFILED):
        raise CytolineError(
            f"{path}: profiles.{profile} sets {', '.join(stray)}, which a profile cannot change",
            f"a profile may set: {', '.join(sorted(PROFILED))}",
        )
    section = loaded.get(prefix)
    if not isinstance(section, dict):
        raise CytolineError(f"{path}: section `{prefix}` is missing", "restore it from git history")
    over = chosen.get(prefix) or {}
    return {**section, **over}


def load_seed(path: Path = PARAMS_FILE) -> int:
    """The top-level ``seed`` (a whole number >= 0) that every stage's randomness starts from."""
    seed = read_params(path).get("seed")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise CytolineError(f"{path}: `seed` is {seed!r}, expected a whole number >= 0", "for example `seed: 0`")
    return seed


def load_taxonomy_name(path: Path = PARAMS_FILE) -> str:
    """The top-level ``taxonomy``: the name of a file in ``configs/taxonomies``."""
    name = read_params(path).get("taxonomy")
    if not isinstance(name, str):
        raise CytolineError(f"{path}: `taxonomy` is {name!r}, expected a name", "for example `taxonomy: bethesda`")
    return name


def _problems(error: ValidationError, prefix: str) -> list[str]:
    rows = []
    for item in error.errors():
        key = ".".join([prefix, *(str(part) for part in item["loc"])])
        if item["type"] == "extra_forbidden":
            rows.append(f"{key} is unknown")
        elif item["type"] == "missing":
            rows.append(f"{key} is missing")
        else:
            rows.append(f"{key} is {item['input']!r}: {item['msg']}")
    return rows
