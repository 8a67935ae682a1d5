"""Many small files in a few tar shards, so that DVC sees tens of objects, not a hundred thousand.

Shards are plain tar (uncompressed, names sorted, no times, no owners): equal entries give equal bytes, and
``tar -x`` opens them.  The shard of an entry follows from the hash of its name alone, so a new entry
changes one shard.  ``index.jsonl`` gives every entry's shard, offset, size and sha256.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cytoline import atomic
from cytoline.errors import CytolineError
from cytoline.manifest import json_line, json_rows

INDEX = "index.jsonl"
DEFAULT_SHARDS = 16

_NAME = r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,98}$"
_BLOCK = 512
_COPY = 1 << 20


class Entry(BaseModel):
    """Where one packed file lies."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=_NAME)]
    shard: Annotated[str, Field(pattern=r"^shard-[0-9]{3}\.tar$")]
    offset: Annotated[int, Field(ge=0)]
    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ShardWriter:
    """Pack entries in any order; memory does not grow with their size.  The folder must be empty of shards.

    Entries wait in one spool file per shard and are sorted into the tar on ``close``.
    """

    def __init__(self, folder: Path, shards: int = DEFAULT_SHARDS) -> None:
        if not 1 <= shards <= 999:
            raise ValueError("shards must be between 1 and 999")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._count = shards
        self._spools: dict[int, IO[bytes]] = {}
        self._entries: dict[str, tuple[int, int, int, str]] = {}

    def add(self, name: str, content: bytes) -> None:
        """Take one file.  ``name`` is flat ([A-Za-z0-9_.-], at most 99) and not yet taken."""
        if not re.fullmatch(_NAME, name):
            raise ValueError("a shard entry's name may hold A-Z a-z 0-9 _ . - only, at most 99, no leading dot")
        if name in self._entries:
            raise ValueError(f"the shard entry {name} was added twice")
        shard = shard_number(name, self._count)
        spool = self._spools.get(shard)
        if spool is None:
            spool = self._spools[shard] = self._spool(shard).open("w+b")
        self._entries[name] = (shard, spool.tell(), len(content), hashlib.sha256(content).hexdigest())
        spool.write(content)

    def close(self) -> None:
        """Write the tars and the index; nothing is a valid shard folder before that."""
        rows = [row for shard in sorted(self._spools) for row in self._write_tar(shard)]
        rows.sort(key=lambda row: row.name)
        atomic.write_text(self._folder / INDEX, "".join(json_line(row.model_dump()) for row in rows))
        self._drop_spools()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._drop_spools()

    def _write_tar(self, shard: int) -> list[Entry]:
        rows = []
        spool = self._spools[shard]
        with (self._folder / shard_name(shard)).open("wb") as tar:
            for name in sorted(name for name, entry in self._entries.items() if entry[0] == shard):
                _, start, size, sha256 = self._entries[name]
                tar.write(_header(name, size))
                rows.append(Entry(name=name, shard=shard_name(shard), offset=tar.tell(), size=size, sha256=sha256))
                spool.seek(start)
                _copy(spool, tar, size)
                tar.write(bytes(-size % _BLOCK))
            tar.write(bytes(2 * _BLOCK))
            tar.write(bytes(-tar.tell() % tarfile.RECORDSIZE))
        return rows

    def _drop_spools(self) -> None:
        for shard, spool in self._spools.items():
            spool.close()
            self._spool(shard).unlink(missing_ok=True)
        self._spools.clear()

    def _spool(self, shard: int) -> Path:
        return self._folder / f".{shard_name(shard)}.spool"


def write_shards(folder: Path, entries: Iterable[tuple[str, bytes]], shards: int = DEFAULT_SHARDS) -> None:
    """Pack ``(name, content)`` pairs, in any order, into ``folder``."""
    with ShardWriter(folder, shards) as writer:
        for name, content in entries:
            writer.add(name, content)


class Shards(Mapping[str, bytes]):
    """Read entries by name; every content is checked against its sha256.  Cheap to send to another process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index = _read_index(folder)

    def __getitem__(self, name: str) -> bytes:
        entry = self._index[name]
        try:
            with (self._folder / entry.shard).open("rb") as shard:
                shard.seek(entry.offset)
                content = shard.read(entry.size)
        except FileNotFoundError:
            raise _damaged(self._folder, f"{entry.shard} is missing") from None
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            raise _damaged(self._folder, f"{name} in {entry.shard} is not what the index says")
        return content

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def sha256(self, name: str) -> str:
        """The sha256 of an entry's content as the index has it."""
        return self._index[name].sha256


def shard_number(name: str, shards: int) -> int:
    """Which shard a name belongs to: by hash prefix, so that it never depends on the other names."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") * shards >> 32


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:03}.tar"


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf(tarfile.USTAR_FORMAT)


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> None:
    while size:
        piece = source.read(min(size, _COPY))
        if not piece:
            raise OSError("a spool file was cut short")
        target.write(piece)
        size -= len(piece)


def _read_index(folder: Path) -> dict[str, Entry]:
    path = folder / INDEX
    try:
        lines = json_rows(path)
    except FileNotFoundError:
        raise CytolineError(f"{path} is missing", "run the stage that makes it: `dvc repro`") from None
    except UnicodeDecodeError:
        raise _damaged(folder, f"{INDEX} is not UTF-8") from None
    index = {}
    for number, line in enumerate(lines, start=1):
        try:
            entry = Entry.model_validate_json(line)
        except ValidationError as error:
            raise _damaged(folder, f"{INDEX}:{number}: {error.errors()[0]['msg']}") from None
        if entry.name in index:
            raise _damaged(folder, f"{INDEX}:{number}: {entry.name} is there twice")
        index[entry.name] = entry
    return index


def _damaged(folder: Path, what: str) -> CytolineError:
    return CytolineError(f"{folder}: {what}", "restore it: `dvc checkout`, or rebuild it: `dvc repro -f`")
