"""What every reader is given."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cytoline.errors import CytolineError
from cytoline.sources.found import Reason
from cytoline.sources.listing import Listing
from cytoline.sources.params import CollectParams
from cytoline.sources.schema import SourceInfo

USUAL_COLUMNS: dict[str, tuple[str, ...]] = {
    "file": ("file", "file_name", "filename", "image", "image_name", "path"),
    "x": ("x", "nucleus_x", "nucleus_col", "col", "column", "cx", "x_center"),
    "y": ("y", "nucleus_y", "nucleus_row", "row", "cy", "y_center"),
    "label": ("label", "class", "bethesda_system", "bethesda", "category", "diagnosis", "grade"),
    "annotator": ("annotator", "reader", "annotated_by"),
}


@dataclass(frozen=True)
class Context:
    """One source: its name, what it says about itself, its files, the limits."""

    name: str
    info: SourceInfo
    listing: Listing
    params: CollectParams
    unpack_to: Path | None = None
    """An empty folder for pictures that are made while the source is read."""
    pool: Executor | None = None

    def shown(self, file: str) -> str:
        """How a file of the source is named in error messages."""
        return f"{self.name}/{file}"

    def annotation_files(self, suffixes: Sequence[str]) -> list[str]:
        """The files under ``annotations:``, or the only one with a fitting suffix."""
        if self.info.annotation_files:
            return [self._named(name) for name in self.info.annotation_files]
        fitting = [name for name in self.listing.files if PurePosixPath(name).suffix.lower() in suffixes]
        if len(fitting) != 1:
            raise CytolineError(
                f"source {self.name}: {len(fitting)} files could hold the annotations ({' or '.join(suffixes)})",
                "name the right one: `cytoline add ... --annotations FILE`, or `annotations: FILE` in its source.yaml",
            )
        return fitting

    def _named(self, name: str) -> str:
        found = self.listing.find(PurePosixPath(name).as_posix())
        if found is None:
            raise CytolineError(
                f"source {self.name}: the annotation file {name} is missing or may not be read",
                "correct `annotations` in its source.yaml",
            )
        return found

    def column(self, field: str, columns: Iterable[str]) -> str | None:
        """The name of a table's column for ``field``, as configured or as usual; None where there is none."""
        there = {name.casefold(): name for name in columns}
        configured = getattr(self.info.columns, field)
        if configured is not None:
            if configured.casefold() not in there:
                raise CytolineError(
                    f"source {self.name}: the table has no column {configured!r}",
                    f"correct `columns.{field}` in its source.yaml (there are: {', '.join(there.values())})",
                )
            return there[configured.casefold()]
        return next((there[name] for name in USUAL_COLUMNS[field] if name in there), None)

    def needed_column(self, field: str, columns: Sequence[str], file: str) -> str:
        """``column``, but an error where there is none."""
        found = self.column(field, columns)
        if found is None:
            raise CytolineError(
                f"{self.shown(file)} has no column that could be `{field}` (it has: {', '.join(columns)})",
                f"name it in source.yaml: `columns: {{{field}: NAME}}`",
            )
        return found

    def locate(self, name: object, beside: str, among: Container[str] | None = None) -> tuple[str | None, Reason]:
        """The listed image (or one ``among`` others) that a file ``beside`` it calls ``name``, or None and why not."""
        among = self.listing.image_set if among is None else among
        if not isinstance(name, str) or not name.strip():
            return None, "bad_entry"
        plain = name.strip().replace("\\", "/")
        path = PurePosixPath(plain)
        if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", plain) or "\0" in plain:
            return None, "path_outside"
        for folder in (self.info.images or "", PurePosixPath(beside).parent.as_posix(), ""):
            found = self.listing.find((PurePosixPath(folder) / path).as_posix())
            if found is not None and found in among:
                return found, "bad_entry"
        return None, "annotation_without_image"
