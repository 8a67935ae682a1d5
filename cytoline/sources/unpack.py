"""Frames and regions become plain pictures in a folder that lasts as long as their source is read.

One task per original, in worker processes where there is much; a picture is written as soon as it is read, so memory
holds one of them.  ``collect.max_file_megabytes`` is for files that are read whole, which these never are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from cytoline.images import RGB, png_bytes
from cytoline.progress import track
from cytoline.sources.context import Context
from cytoline.sources.found import Box, Found, Reading, Reason, Refusal
from cytoline.sources.tables import MEGABYTE

POOL_FROM_BYTES = 50 * MEGABYTE
"""Below it, starting worker processes takes longer than decoding."""

T = TypeVar("T")


@dataclass(frozen=True)
class Picture:
    """One frame or region, written as ``file`` into its original's folder."""

    file: str
    row: Mapping[str, str] = field(default_factory=dict)
    mpp: float | None = None
    boxes: tuple[Box, ...] = ()
    labelled: bool = False


@dataclass
class Unpacked:
    """What became of one original: pictures, and all that was left out of it."""

    pictures: list[Picture] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    """Entries and boxes."""
    entries: int = 0
    boxes: int = 0
    reason: Reason | None = None
    """Why the original itself is refused; no picture comes of it then."""

    def refuse(self, name: str, reason: Reason, boxes: int = 0) -> None:
        """Leave out one frame or region, and its boxes with it."""
        self.refused.append(Refusal("entry", name, reason))
        if boxes:
            self.refused.append(Refusal("box", name, "image_refused", reason, boxes))

    def ended(self) -> Unpacked:
        """An original that gave nothing is refused, for the first reason that there was."""
        if not self.pictures and self.reason is None:
            self.reason = next((item.reason for item in self.refused if item.what == "entry"), "no_region")
        return self


@dataclass(frozen=True)
class Task:
    """An original, and the work that unpacks it into a folder; ``companions`` are files that share its fate."""

    name: str
    path: Path
    work: Callable[[Path, Path], Unpacked]
    companions: tuple[str, ...] = ()


def unpack(context: Context, tasks: Sequence[Task], reading: Reading) -> None:
    """Do the ``tasks`` and enter in ``reading`` what came of each."""
    if context.unpack_to is None:
        raise RuntimeError(f"{context.info.kind} needs a folder to unpack to")
    folders = [context.unpack_to / str(number) for number in range(len(tasks))]
    results = _done(tasks, folders, context.pool)
    for task, folder, unpacked in track(
        zip(tasks, folders, results, strict=True), len(tasks), f"unpacking {context.name}"
    ):
        _enter(task, folder, unpacked, reading)


def evenly(items: Sequence[T], most: int) -> list[T]:
    """At most ``most`` of ``items``, spread evenly over them."""
    if len(items) <= most:
        return list(items)
    return [items[(2 * index + 1) * len(items) // (2 * most)] for index in range(most)]


def write_picture(folder: Path, name: str, rgb: RGB) -> None:
    """Into ``folder``, as PNG without metadata."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(png_bytes(rgb))


def _done(tasks: Sequence[Task], folders: Sequence[Path], pool: Executor | None) -> Iterator[Unpacked]:
    """Results in order.  After an error nothing is left running that could write into a folder being removed."""
    pairs = list(zip(tasks, folders, strict=True))
    if pool is None or sum(task.path.stat().st_size for task in tasks) < POOL_FROM_BYTES:
        yield from (task.work(task.path, folder) for task, folder in pairs)
        return
    futures = [pool.submit(task.work, task.path, folder) for task, folder in pairs]
    try:
        yield from (future.result() for future in futures)
    finally:
        wait([future for future in futures if not future.cancel()])


def _enter(task: Task, folder: Path, unpacked: Unpacked, reading: Reading) -> None:
    reading.entries += unpacked.entries
    reading.boxes += unpacked.boxes
    for item in unpacked.refused:
        path = f"{task.name}/{item.file}" if item.file else task.name
        reading.refused.append(Refusal(item.what, path, item.reason, item.detail, item.count))
    if unpacked.reason is not None:
        for name in (task.name, *task.companions):
            reading.refuse_file(name, unpacked.reason, "" if name == task.name else "with its slide")
        return
    reading.used.update((task.name, *task.companions))
    for picture in unpacked.pictures:
        path = f"{task.name}/{picture.file}"
        reading.unpacked[path] = folder / picture.file
        reading.found.append(
            Found(
                path,
                picture.boxes,
                picture.row,
                origin=task.name,
                mpp=picture.mpp,
                labelled=picture.labelled,
            )
        )
