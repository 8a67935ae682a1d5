"""Whether what ran is what a commit holds: hashes in ``dvc.lock`` against the files and params of the commit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from cytoline.audit.facts import StageFacts
from cytoline.audit.history import Blobs
from cytoline.audit.revision import FOLDER, Revision, read_yaml

PARAMS = "params.yaml"
_NOTHING = object()


class Code:
    """The code of one commit."""

    def __init__(self, top: Path, commit: str) -> None:
        self._revision = Revision(commit, commit, top)
        self._blobs = Blobs(top)
        self._names: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        self._names = self._revision.files()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._blobs.__exit__(kind, error, trace)

    def known(self) -> bool:
        """Whether git has the commit."""
        return bool(self._names)

    def differing(self, stages: tuple[StageFacts, ...]) -> list[str]:
        """Files, folders and params that the stages used otherwise than the commit has them, by name."""
        used = {item.path: item.md5 for stage in stages for item in stage.code}
        files = [path for path, md5 in sorted(used.items()) if self._md5(path, md5) != md5]
        return files + self._params({key: value for stage in stages for key, value in stage.params.items()})

    def _md5(self, path: str, like: str) -> str | None:
        if not like.endswith(FOLDER):
            found = self._blob(path)
            return None if found is None else _md5(found)
        rows = [
            {"md5": _md5(content), "relpath": name[len(path) + 1 :]}
            for name in self._names
            if name.startswith(path + "/") and (content := self._blob(name)) is not None
        ]
        rows.sort(key=lambda row: row["relpath"])
        return _md5(json.dumps(rows, sort_keys=True).encode()) + FOLDER

    def _blob(self, path: str) -> bytes | None:
        found = self._blobs.read(str(self._revision.commit), path)
        return None if found is None else found[1]

    def _params(self, used: Mapping[str, Any]) -> list[str]:
        content = self._blob(PARAMS)
        if content is None:
            return [PARAMS] if used else []
        try:
            document = read_yaml(content)
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
            return [PARAMS]
        return [f"{PARAMS}: {key}" for key, value in sorted(used.items()) if _at(document, key) != value]


def _at(document: Any, key: str) -> Any:
    for word in key.split("."):
        if not isinstance(document, dict) or word not in document:
            return _NOTHING
        document = document[word]
    return document


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
