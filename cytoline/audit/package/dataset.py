"""The data set behind a model, in counts: parts, sources with licence and legal basis.  No file's name, no person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml
from pydantic import ValidationError

from cytoline.audit.package.release import Release
from cytoline.audit.revision import FOLDER, Item
from cytoline.errors import CytolineError
from cytoline.manifest import MANIFEST, Record
from cytoline.splits import SPLIT_FILE, SPLITS, SplitRow

CLEAN = "data/clean"
SPLIT = "data/split"
DEID_LOG = "audit.jsonl"
_INCOMING = "data/incoming"
NOT_STATED = "not stated"


@dataclass(frozen=True)
class Part:
    """One part of the split."""

    name: str
    patients: int
    images: int
    annotations: int


@dataclass(frozen=True)
class Source:
    """One source of images as its source.yaml declares it; what cannot be read is ``not stated``."""

    name: str
    images: int
    patients: int
    licence: str
    legal_basis: str
    organ: str
    stain: str


@dataclass(frozen=True)
class Dataset:
    """The clean manifest and the split table of a release, checked record by record."""

    release: Release

    @cached_property
    def clean(self) -> Item:
        """The out that holds the images."""
        return self._out(CLEAN)

    @cached_property
    def split(self) -> Item:
        """The out that holds the table."""
        return self._out(SPLIT)

    @cached_property
    def manifest(self) -> bytes:
        """Bytes of the clean manifest."""
        return self._content(self.clean, MANIFEST)

    @cached_property
    def table(self) -> bytes:
        """Bytes of the split table."""
        return self._content(self.split, SPLIT_FILE)

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """One per image."""
        return tuple(self._parsed(Record, self.manifest, CLEAN))

    @cached_property
    def rows(self) -> tuple[SplitRow, ...]:
        """One per image."""
        return tuple(self._parsed(SplitRow, self.table, SPLIT))

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """Counts of every part, in the order train, val, test."""
        cells = {record.image_id: len(record.annotations) for record in self.records}
        found = []
        for name in SPLITS:
            rows = [row for row in self.rows if row.split == name]
            count = sum(cells.get(row.image_id, 0) for row in rows)
            found.append(Part(name, len({row.patient for row in rows}), len(rows), count))
        return tuple(found)

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """What is declared of every source that gave an image."""
        found = []
        for name in sorted({record.source for record in self.records}):
            records = [record for record in self.records if record.source == name]
            declared = self._declared(name)
            words = {
                key: str(declared.get(key) or NOT_STATED)[:200] for key in ("license", "legal_basis", "organ", "stain")
            }
            patients = len({record.patient for record in records})
            found.append(
                Source(
                    name, len(records), patients, words["license"], words["legal_basis"], words["organ"], words["stain"]
                )
            )
        return tuple(found)

    def _declared(self, name: str) -> Mapping[str, Any]:
        content = self.release.revision.read(f"{_INCOMING}/{name}/source.yaml")
        for item in self.release.revision.sources:
            if content is None and item.path == f"{_INCOMING}/{name}" and item.md5.endswith(FOLDER):
                content = self.release.content(item, "source.yaml")
        try:
            declared = yaml.safe_load(content or b"")
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
            declared = None
        return declared if isinstance(declared, dict) else {}

    def _out(self, path: str) -> Item:
        item = self.release.out(path)
        if item is None:
            raise CytolineError(
                f"{self.release.path} has no {path} among its ancestors", "export a model that the pipeline made"
            )
        return item

    def _content(self, item: Item, name: str) -> bytes:
        content = self.release.content(item, name)
        if content is None:
            raise CytolineError(f"DVC's cache lacks {item.path}/{name}", f"`dvc fetch {item.path}`, then export again")
        return content

    def _parsed(self, kind: type[Any], content: bytes, path: str) -> list[Any]:
        found = []
        for number, line in enumerate(content.split(b"\n"), start=1):
            try:
                if line:
                    found.append(kind.model_validate_json(line))
            except ValidationError as error:
                what = error.errors()[0]["msg"]
                raise CytolineError(f"{path}, line {number}: {what}", "rebuild it: `dvc repro -f`") from None
        return found
