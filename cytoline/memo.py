"""Work that was done once is not done again: a content-addressed store of per-image results.

The key of a result is the blake3 hash of all that it may depend on: the inputs' bytes, the params, the
function's name, the source of every project module that the function's module imports, the lock file and
the Python version.  Stage outs are rebuilt from scratch out of stored blobs, so an out stays a pure function
of its inputs and deleted inputs leave nothing behind.

Layout below the root: ``blobs/ab/<blake3>`` (read-only content) and ``results/ab/<key>`` (names -> blobs).
Both are written beside their place and renamed, so that two processes may share one store.
"""

from __future__ import annotations

import ast
import json
import os
import re
import secrets
import shutil
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3
from pydantic import BaseModel

from cytoline.closure import import_closure
from cytoline.errors import CytolineError
from cytoline.progress import Bar

PROJECT = Path(__file__).resolve().parents[1]
LOCK = PROJECT / "requirements.lock"

_FORMAT = b"cytoline memo 1"
_WINDOW = 64
"""Jobs in flight: enough to keep workers busy, few enough to keep memory flat."""

Function = Callable[..., dict[str, bytes]]


@dataclass(frozen=True)
class Job:
    """One call: ``function(*args, params)``.  ``name`` is for the reader only and not part of the key.

    ``args`` may be ``Path`` (hashed by content, not by name), bytes, str, int, float, bool, None, pydantic
    models and tuples of these.
    """

    name: str
    args: tuple[object, ...]


@dataclass(frozen=True)
class Blob:
    """One stored result file.  Its content is checked each time it is used."""

    path: Path
    digest: str

    def read(self) -> bytes:
        """The content.  Raises ``CytolineError`` if it was damaged since ``map`` gave it out."""
        content = self._content()
        if content is None:
            raise CytolineError(
                "a result in the memo store was changed while it was in use", "run again: it will be made anew"
            )
        return content

    def link(self, target: Path) -> None:
        """Put the content at ``target`` (which must not exist): hard link, or copy where links do not go."""
        self.read()
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(self.path, target)
        except FileExistsError:
            raise
        except OSError:  # another file system, too many links, or links not allowed
            shutil.copyfile(self.path, target)

    def intact(self) -> bool:
        """True if the content is there and is what it was."""
        return self._content() is not None

    def _content(self) -> bytes | None:
        try:
            content = self.path.read_bytes()
        except OSError:
            return None
        return content if blake3(content).hexdigest() == self.digest else None


class Memo:
    """The store.  Several processes may use one root at a time."""

    def __init__(self, root: Path = Path(".cytoline/memo")) -> None:
        self.root = root

    def map(
        self,
        function: Function,
        jobs: Sequence[Job],
        params: BaseModel | None,
        *,
        description: str,
        pool: Executor | None = None,
        extra: bytes = b"",
    ) -> Iterator[tuple[Job, dict[str, Blob]]]:
        """Yield each job with its results, in the order of ``jobs``; only unknown ones are computed.

        ``function`` is module-level and gives a mapping of file name -> content that depends on nothing but
        its arguments (``extra`` names what else it reads, such as a model's digest).  Results are stored as
        they come: an interrupt or one failing job loses nothing that was finished.
        """
        base = _base_key(function, params, extra)
        paths: dict[Path, bytes] = {}
        waiting: deque[_Pending] = deque()
        queue = iter(jobs)
        with Bar(len(jobs), description) as bar:
            try:
                while True:
                    while len(waiting) < (_WINDOW if pool else 1) and (job := next(queue, None)) is not None:
                        key = _job_key(base, job, paths)
                        waiting.append(self._start(function, job, key, params, pool))
                    if not waiting:
                        return
                    self._settle(waiting)
                    first = waiting.popleft()
                    bar.advance(1)
                    yield first.job, first.results()
            finally:
                self._save_finished(waiting)

    def _start(
        self, function: Function, job: Job, key: str, params: BaseModel | None, pool: Executor | None
    ) -> _Pending:
        known = self._load(key)
        if known is not None:
            return _Pending(job, key, blobs=known)
        if pool is not None:
            return _Pending(job, key, future=pool.submit(function, *job.args, params))
        return _Pending(job, key, blobs=self._store(key, function(*job.args, params)))

    def _settle(self, waiting: deque[_Pending]) -> None:
        """Store whatever is finished until the first in line is among it; an error waits for its turn."""
        first = waiting[0]
        while first.blobs is None:
            running = {item.future for item in waiting if item.future is not None and not item.future.done()}
            if first.future in running:
                wait(running, return_when=FIRST_COMPLETED)
            for item in waiting:
                future = item.future
                if future is not None and future.done() and (item is first or future.exception() is None):
                    item.future = None
                    item.blobs = self._store(item.key, future.result())

    def _save_finished(self, waiting: deque[_Pending]) -> None:
        for item in waiting:
            future = item.future
            if future is None or future.cancel() or not future.done() or future.exception() is not None:
                continue
            self._store(item.key, future.result())

    def _store(self, key: str, results: dict[str, bytes]) -> dict[str, Blob]:
        blobs = {}
        for name in sorted(results):
            content = results[name]
            blob = self._blob(blake3(content).hexdigest())
            if not blob.intact():
                _write_read_only(blob.path, content)
            blobs[name] = blob
        listed = json.dumps({name: blob.digest for name, blob in blobs.items()}, sort_keys=True).encode()
        _write_read_only(self._result_path(key), blake3(listed).hexdigest().encode() + b"\n" + listed)
        return blobs

    def _load(self, key: str) -> dict[str, Blob] | None:
        """Stored results, or None if there are none or any part of them is damaged."""
        try:
            check, _, listed = self._result_path(key).read_bytes().partition(b"\n")
        except OSError:
            return None
        if blake3(listed).hexdigest().encode() != check:
            return None
        blobs = {str(name): self._blob(digest) for name, digest in json.loads(listed).items()}
        return blobs if all(blob.intact() for blob in blobs.values()) else None

    def _blob(self, digest: str) -> Blob:
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise ValueError("not a blake3 digest")
        return Blob(self.root / "blobs" / digest[:2] / digest, digest)

    def _result_path(self, key: str) -> Path:
        return self.root / "results" / key[:2] / key


@dataclass
class _Pending:
    job: Job
    key: str
    blobs: dict[str, Blob] | None = None
    future: Future[dict[str, bytes]] | None = None

    def results(self) -> dict[str, Blob]:
        assert self.blobs is not None
        return self.blobs


def _base_key(function: Function, params: BaseModel | None, extra: bytes) -> bytes:
    if "<" in function.__qualname__:
        raise TypeError("a memo function must be module-level, so that other processes can import it")
    file = Path(str(sys.modules[function.__module__].__file__))
    code = [_encode(str(path)) + _encode(_meaning(PROJECT / path)) for path in sorted(import_closure(file, PROJECT))]
    lock = LOCK.read_bytes() if LOCK.is_file() else b""
    parts = (function.__qualname__, _digest(b"".join(code)), _digest(lock), sys.version, params, extra)
    return _digest(_FORMAT + _encode(parts))


def _meaning(path: Path) -> bytes:
    """A module's source without comments and layout, which change no result."""
    return ast.dump(ast.parse(path.read_bytes())).encode()


def _job_key(base: bytes, job: Job, paths: dict[Path, bytes]) -> str:
    return blake3(base + _encode(job.args, paths)).hexdigest()


def _encode(value: object, paths: dict[Path, bytes] | None = None) -> bytes:
    """Bytes that differ whenever the value or its type does: tag, length, content."""
    match value:
        case None:
            tag, content = b"n", b""
        case bool():
            tag, content = b"t", b"1" if value else b"0"
        case int():
            tag, content = b"i", str(int(value)).encode()
        case float():
            tag, content = b"f", struct.pack(">d", value)
        case str():
            tag, content = b"s", value.encode("utf-8", "surrogatepass")
        case bytes():
            tag, content = b"b", value
        case tuple():
            tag, content = b"(", b"".join(_encode(item, paths) for item in value)
        case BaseModel():
            tag, content = b"m", _model_bytes(value)
        case Path():
            tag, content = b"p", _path_digest(value, {} if paths is None else paths)
        case _:
            raise TypeError(f"a memo key cannot be made of a {type(value).__name__}")
    return tag + len(content).to_bytes(8, "big") + content


def _model_bytes(model: BaseModel) -> bytes:
    dumped = json.dumps(model.model_dump(mode="json"), sort_keys=True, ensure_ascii=True)
    return _encode((type(model).__qualname__, dumped))


def _path_digest(path: Path, known: dict[Path, bytes]) -> bytes:
    """Digest of a file, or of a folder's relative names and contents; once per path and ``map``."""
    if path not in known:
        if path.is_dir():
            files = sorted(item for item in path.rglob("*") if item.is_file())
            inner = (_encode(item.relative_to(path).as_posix()) + _file_digest(item) for item in files)
            known[path] = _digest(b"folder" + b"".join(inner))
        else:
            known[path] = _file_digest(path)
    return known[path]


def _file_digest(path: Path) -> bytes:
    hasher = blake3()
    with path.open("rb") as handle:
        while piece := handle.read(1 << 20):
            hasher.update(piece)
    return hasher.digest()


def _digest(content: bytes) -> bytes:
    return blake3(content).digest()


def _write_read_only(path: Path, content: bytes) -> None:
    """Atomic but not flushed to disk: what a power cut spoils fails its hash check and is made anew."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:16]}.{secrets.token_hex(6)}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.chmod(0o444)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
