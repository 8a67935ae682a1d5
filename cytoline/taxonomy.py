"""Which classes exist, which labels mean them, and which of them count as abnormal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from cytoline.errors import CytolineError

TAXONOMIES = Path("configs/taxonomies")


class Taxonomy(BaseModel):
    """An ordered list of classes; order is severity where the organ has one (used by quadratic kappa)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    classes: tuple[str, ...]
    abnormal: tuple[str, ...]
    ordered: bool
    aliases: dict[str, str]
    colours: tuple[str, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known = set(self.classes)
        if len(known) != len(self.classes) or len(self.classes) < 2:
            raise ValueError("classes must be at least two and differ from each other")
        if stray := (set(self.abnormal) | set(self.aliases.values())) - known:
            raise ValueError(f"not among the classes: {', '.join(sorted(stray))}")
        if len(self.colours) != len(self.classes):
            raise ValueError("one colour per class is needed")
        return self

    @classmethod
    def load(cls, name: str, folder: Path = TAXONOMIES) -> Self:
        """Read ``configs/taxonomies/<name>.yaml``."""
        path = folder / f"{name}.yaml"
        if Path(name).name != name or not path.is_file():
            known = ", ".join(sorted(item.stem for item in folder.glob("*.yaml")))
            raise CytolineError(f"there is no taxonomy {name!r}", f"use one of: {known}; or write {folder}/NAME.yaml")
        try:
            return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (ValidationError, yaml.YAMLError) as error:
            raise CytolineError(f"{path}: {_first(error)}", "correct the file; bethesda.yaml is an example") from None

    @cached_property
    def _lookup(self) -> dict[str, str]:
        return {**{c.casefold(): c for c in self.classes}, **{a.casefold(): c for a, c in self.aliases.items()}}

    def find(self, label: str) -> str | None:
        """The class that ``label`` means (case and outer blanks do not count), or None."""
        return self._lookup.get(label.strip().casefold())

    def index(self, label: str) -> int:
        """Position of a class in ``classes``; raises ``ValueError`` for anything else."""
        return self.classes.index(label)

    def require(self, labels: Iterable[str], where: str) -> None:
        """Raise one error that lists every unknown label with its count."""
        unknown = Counter(label for label in labels if self.find(label) is None)
        if unknown:
            listed = ", ".join(f"{label!r} x{count}" for label, count in sorted(unknown.items()))
            raise CytolineError(
                f"{where}: labels outside the taxonomy {self.name!r}: {listed}",
                f"map them (`cytoline add ... --alias LABEL=CLASS`, or `label_aliases` in its source.yaml), or "
                f"choose another taxonomy (`--taxonomy`); classes of {self.name}: {', '.join(self.classes)}",
            )


def _first(error: ValidationError | yaml.YAMLError) -> str:
    if isinstance(error, ValidationError):
        item = error.errors()[0]
        return f"{'.'.join(str(part) for part in item['loc']) or 'file'}: {item['msg']}"
    return "not valid YAML"
