"""``source.yaml``: what a folder of incoming images says about itself."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from cytoline.errors import CytolineError

SOURCE_FILE = "source.yaml"

Kind = Literal[
    "fields-coco",
    "fields-voc",
    "fields-csv-points",
    "fields-plain",
    "cells-folders",
    "phantom",
    "dicom",
    "wsi-regions",
]

UNPACKED: tuple[Kind, ...] = ("dicom", "wsi-regions")
"""Kinds whose files hold images that are taken out of them while the source is read."""

EACH_FILE = "each-file"
COLUMN = "column:"

_MAX_BYTES = 1 << 20

_ONLY_FOR: dict[str, tuple[Kind, ...]] = {
    "annotations": ("fields-coco", "fields-csv-points", "cells-folders"),
    "voc": ("fields-voc",),
    "box_px": ("fields-csv-points",),
    "cell_box_px": ("cells-folders",),
    "columns": ("fields-csv-points", "cells-folders"),
    "class_folder": ("cells-folders",),
    "phantom": ("phantom",),
    "max_frames": ("dicom",),
    "regions": ("wsi-regions",),
    "region_px": ("wsi-regions",),
    "region_mpp": ("wsi-regions",),
    "region_class": ("wsi-regions",),
    "max_regions": ("wsi-regions",),
}


def _inside(path: str) -> str:
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts:
        raise ValueError("expected a path below this folder, without `..`")
    return path


def _rule(text: str) -> str:
    if text == EACH_FILE or (text.startswith(COLUMN) and text[len(COLUMN) :].strip()):
        return text
    try:
        groups = re.compile(text).groups
    except re.error as error:
        raise ValueError(f"expected `each-file`, `column:NAME` or a regular expression ({error})") from None
    if not groups:
        raise ValueError("expected `each-file`, `column:NAME` or a regular expression with a group in ( )")
    return text


def _regions(text: str) -> str:
    if text in ("grid", "geojson"):
        return text
    if not text.lower().endswith(".csv"):
        raise ValueError("expected `grid`, `geojson` or the name of a CSV file below this folder")
    return _inside(text)


Text = Annotated[str, Field(min_length=1, max_length=200)]
Below = Annotated[str, AfterValidator(_inside)]
Regions = Annotated[str, Field(max_length=500), AfterValidator(_regions)]
Rule = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_rule)]
Pixels = Annotated[float, Field(gt=0, le=100_000)]


class Columns(BaseModel):
    """Names of a table's columns where they are not among the usual ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str | None = None
    x: str | None = None
    y: str | None = None
    label: str | None = None
    annotator: str | None = None


class SourceInfo(BaseModel):
    """The fields of ``source.yaml``; lengths are in pixels of the image as stored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    organ: Text
    stain: Text
    microns_per_pixel: Annotated[float, Field(gt=0, le=1000)] | Literal["unknown"]
    license: Text
    legal_basis: Text
    patient_id: Rule
    slide_id: Rule | None = None
    """Where a slide's name is found; without it a patient counts as one slide."""
    label_aliases: dict[str, str | None] = {}
    """Label as written -> class or alias of the taxonomy; null leaves such boxes out (reported)."""

    images: Below | None = None
    annotations: Below | tuple[Below, ...] | None = None
    voc: Below | None = None
    box_px: Pixels | None = None
    cell_box_px: Pixels | None = None
    columns: Columns = Columns()
    class_folder: Literal["first", "last"] = "first"
    phantom: dict[str, Any] | None = None
    max_frames: Annotated[int, Field(ge=1, le=100_000)] = 64
    """dicom: of a file with more, this many spread evenly."""
    regions: Regions = "grid"
    """wsi-regions: ``grid``, ``geojson``, or a CSV file below this folder."""
    region_px: Annotated[int, Field(ge=16, le=20_000)] = 1024
    region_mpp: Annotated[float, Field(ge=0.01, le=100)] | None = None
    """Microns per pixel of the pictures; without it those of the slide."""
    region_class: Text = "Region"
    max_regions: Annotated[int, Field(ge=1, le=10_000)] = 200

    @model_validator(mode="after")
    def _fits_kind(self) -> Self:
        for field, kinds in _ONLY_FOR.items():
            if field in self.model_fields_set and getattr(self, field) is not None and self.kind not in kinds:
                raise ValueError(f"`{field}` is only for {' and '.join(kinds)}, not for {self.kind}")
        if self.kind == "fields-csv-points" and self.box_px is None:
            raise ValueError("`box_px` is missing: the side in pixels of the box to put around each point")
        if self.kind == "phantom" and self.phantom is None:
            raise ValueError("`phantom` is missing: a mapping of the phantom's settings, {} for the usual ones")
        return self

    @property
    def mpp(self) -> float | None:
        """Microns per pixel, None where unknown."""
        return None if self.microns_per_pixel == "unknown" else self.microns_per_pixel

    @property
    def annotation_files(self) -> tuple[str, ...]:
        """``annotations`` as a tuple."""
        return (self.annotations,) if isinstance(self.annotations, str) else self.annotations or ()


def load_source(folder: Path) -> SourceInfo:
    """Read ``folder/source.yaml``.  Raises ``CytolineError`` that names the file, the field and what is expected."""
    path = folder / SOURCE_FILE
    if not folder.is_dir():
        raise CytolineError(f"the source folder {folder} is missing", "put it there, or take it out of collect.sources")
    if folder.is_symlink():
        raise CytolineError(
            f"the source folder {folder} is a link, so DVC would not see its files change",
            "bring the folder itself in: `cytoline add PATH --name NAME` (`--link` saves the disk space)",
        )
    try:
        with path.open("rb") as handle:
            content = handle.read(_MAX_BYTES + 1)
    except OSError:
        raise CytolineError(
            f"{path} is missing", "write it, or let `cytoline add PATH --name NAME --kind KIND` write it"
        ) from None
    if len(content) > _MAX_BYTES:
        raise CytolineError(f"{path} is larger than 1 MB", "it should hold a few lines of YAML")
    return parse_source(content, path)


def parse_source(content: bytes, path: Path) -> SourceInfo:
    """Check the text of a ``source.yaml``; ``path`` is for the messages."""
    try:
        loaded = yaml.safe_load(content.decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = f" at line {line + 1}" if line is not None else ""
        raise CytolineError(f"{path} is not valid YAML{where}", "correct the syntax there") from None
    if not isinstance(loaded, dict):
        raise CytolineError(f"{path} holds no mapping", "it needs lines like `kind: fields-voc`")
    return check_source(loaded, str(path))


def check_source(values: dict[str, Any], where: str) -> SourceInfo:
    """Validate ``values``; every bad field is named together with what was expected."""
    try:
        return SourceInfo.model_validate(values)
    except ValidationError as error:
        problems = dict.fromkeys(_problem(item) for item in error.errors())
        raise CytolineError(
            f"{where}: " + "; ".join(problems),
            f"correct these fields (known ones: {', '.join(SourceInfo.model_fields)})",
        ) from None


def _problem(item: Any) -> str:
    # Members of a union add parts such as "literal['unknown']" to the place, which say nothing to a reader.
    parts = [str(part) for part in item["loc"]]
    field = ".".join(parts[:1] if parts and parts[0] in ("microns_per_pixel", "annotations") else parts)
    if item["type"] == "missing":
        return f"`{field}` is missing"
    if item["type"] == "extra_forbidden":
        return f"`{field}` is not a known field"
    if field == "microns_per_pixel":
        return "`microns_per_pixel`: expected a number above 0, or `unknown`"
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"`{field}`: {message}" if field else message
