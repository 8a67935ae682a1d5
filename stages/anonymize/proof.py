"""The last check, by means that share no code with what made the files: exiftool, and a search for known names.

What a raw manifest calls people, slides and annotators may stand nowhere in a clean image and nowhere in its record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from cytoline.deid import exiftool
from cytoline.deid.needles import SHORTEST, Needles
from cytoline.manifest import Record
from cytoline.progress import track

BATCH = 50
"""Files of one job: each job takes all needles along."""
_CODE = re.compile(r"[0-9a-f]{32}([0-9a-f]{32})?(\.(jpg|png))?")
"""A pseudonym, a file named by one, or a hash: numbers drawn by chance, which hold any six digits now and then."""


def known_names(records: Iterable[Record]) -> Needles:
    """Whatever tells people, slides and annotators apart in the raw store, if it is long enough to be told apart."""
    values = {value for record in records for value in (record.patient, record.slide, *_annotators(record))}
    return Needles(sorted(value.strip() for value in values if len(value.strip()) >= SHORTEST))


def failing(files: dict[Path, Record], names: Needles, pool: Executor) -> set[str]:
    """Ids of the clean records whose file or own words do not pass."""
    paths = list(files)
    bad = set(exiftool.check(paths)) if exiftool.available() else set()
    bad |= {path for path, record in files.items() if names.inside("\n".join(_words(record)).encode())}
    if names:
        batches = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
        jobs = [pool.submit(holding, batch, names) for batch in batches]
        for job in track(jobs, len(jobs), "looking for known names"):
            bad |= set(job.result())
    return {files[path].image_id for path in bad}


def holding(paths: Sequence[Path], names: Needles) -> list[Path]:
    """The files among ``paths`` that hold a known name."""
    return [path for path in paths if names.inside(path.read_bytes())]


def _annotators(record: Record) -> Iterator[str]:
    return (item.annotator for item in record.annotations if item.annotator is not None)


def _words(value: Any) -> Iterator[str]:
    """Every text in a record but bare codes."""
    if isinstance(value, Record):
        value = value.model_dump(mode="json")
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _words(item)
    elif isinstance(value, str) and not _CODE.fullmatch(value):
        yield value
