"""MLflow's registry as a promotion needs it: one version, what it says of itself, and whether that is true.

Tags and files of a registry can be changed by whoever may write to it.  So nothing is taken from it that git and DVC do
not say as well: the commit must exist, dvc.lock must hold the digest, and the registered files must have that digest.
"""

from __future__ import annotations

import logging
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cytoline import provenance
from cytoline.audit.revision import Revision
from cytoline.errors import CytolineError
from cytoline.tracking import MODEL_FOLDER, STORE

CHAMPION = "champion"

T = TypeVar("T")


@dataclass(frozen=True)
class Version:
    """One registered version."""

    model: str
    number: int
    run: str
    tags: Mapping[str, str]

    @property
    def ref(self) -> str:
        """As the audit's commands name it."""
        return f"{self.model}/{self.number}"


def _is_sqlite(path: Path) -> bool:
    """By the first bytes (sqlite.org/fileformat2.html, section 1.3)."""
    with path.open("rb") as handle:
        return handle.read(16) == b"SQLite format 3\0"


class Registry:
    """The store that ``MLFLOW_TRACKING_URI`` names, or ``mlflow.db`` at the top of the repository."""

    def __init__(self, top: Path = Path()) -> None:
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        store = top / STORE
        if not uri and not store.is_file():
            # MLflow would make an empty one.
            raise CytolineError(
                f"there is no MLflow store ({STORE}) here", "run from the top of the repository, after `dvc repro`"
            )
        if not uri and not _is_sqlite(store):
            # MLflow would try for minutes.
            raise CytolineError(f"{STORE} is no SQLite database", "restore it from a backup, or train again")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        import mlflow

        for name in ("mlflow", "alembic", "urllib3"):
            logging.getLogger(name).setLevel(logging.ERROR)
        uri = uri or f"sqlite:///{store.absolute()}"
        self._client: Any = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)

    def find(self, ref: str) -> Version:
        """``NAME@ALIAS``, ``NAME/VERSION`` or ``NAME`` (its alias ``candidate``)."""
        model, at, alias = ref.partition("@")
        model, slash, number = model.partition("/")
        if not model or (at and (slash or not alias)) or (slash and not number.isdecimal()):
            raise CytolineError(f"{ref!r} names no version", "write NAME, NAME@ALIAS or NAME/VERSION")
        if slash:
            found = self._asked(lambda: self._client.get_model_version(model, number))
        else:
            found = self._asked(lambda: self._client.get_model_version_by_alias(model, alias or "candidate"))
        if found is None:
            raise CytolineError(
                f"the registry holds no {ref}", f"registered are: {', '.join(self._names()) or 'no models at all'}"
            )
        return Version(model, int(found.version), str(found.run_id), dict(found.tags))

    def champion(self, model: str) -> int | None:
        """The version that the alias ``champion`` names; None where there is no such alias."""
        found = self._asked(lambda: self._client.get_model_version_by_alias(model, CHAMPION))
        return None if found is None else int(found.version)

    def crown(self, version: Version, tags: Mapping[str, str]) -> None:
        """Write the tags, then move the alias: a champion always tells why it is one."""
        for key, value in tags.items():
            self._asked(
                lambda key=key, value=value: self._client.set_model_version_tag(  # type: ignore[misc]
                    version.model, str(version.number), key, value
                )
            )
        self._asked(lambda: self._client.set_registered_model_alias(version.model, CHAMPION, str(version.number)))

    def digest_of_files(self, version: Version) -> str | None:
        """DVC's hash of the registered files themselves; None where they are gone."""
        with tempfile.TemporaryDirectory(prefix="cytoline-") as folder:
            try:
                path = Path(self._client.download_artifacts(version.run, MODEL_FOLDER, folder))
            except Exception:  # MLflow's stores raise what their transport raises
                return None
            return provenance.folder_digest(path) if path.is_dir() else None

    def _names(self) -> list[str]:
        found = self._asked(self._client.search_registered_models) or []
        return sorted(f"{item.name}@{alias}" for item in found for alias in item.aliases)

    def _asked(self, action: Callable[[], T]) -> T | None:
        """The answer; None where there is no such thing.  Raises ``CytolineError`` where the store does not answer."""
        from mlflow.exceptions import MlflowException

        try:
            return action()
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND"):
                return None
            cause = f"MLflow's store refused ({error.error_code})"
        except Exception as error:  # SQLAlchemy's and HTTP's own
            cause = f"MLflow's store does not answer ({type(error).__name__})"
        raise CytolineError(cause, "check MLFLOW_TRACKING_URI; `cytoline doctor` tests it; then run this again")


def recording_commit(version: Version, digest_of_files: str | None, top: Path = Path()) -> Revision:
    """The commit that holds this version in dvc.lock, with the figures measured on it.

    A training knows the commit of its code; dvc.lock and metrics are committed after it.  So the commit itself is
    looked at, then those after it, oldest first.  Raises ``CytolineError`` where the version is not what git knows.
    """
    again = "train it again from a clean commit (`dvc repro -f`), then commit dvc.lock and metrics"
    commit, digest = version.tags.get("cytoline.git.commit", ""), version.tags.get("cytoline.model.digest", "")
    if not commit or commit == "unknown":
        raise CytolineError(f"{version.ref} does not say from which commit it was made", again)
    if version.tags.get("cytoline.git.dirty") != "false":
        raise CytolineError(f"{version.ref} was made from a work tree with changes that no commit holds", again)
    made = Revision.at(commit, top)
    if digest_of_files != digest:
        state = "are gone" if digest_of_files is None else "are not those that were trained (their hash differs)"
        raise CytolineError(f"the registered files of {version.ref} {state}", again)
    for candidate in [made, *_after(made)]:
        stage = candidate.stages.get(version.tags.get("cytoline.stage", ""))
        if stage is not None and any(out.md5 == digest for out in stage.outs):
            return candidate
    raise CytolineError(
        f"no commit from {commit[:12]} on has {version.ref} in its dvc.lock: the model's hash is not recorded in git",
        f"commit dvc.lock and metrics of that run; or {again}",
    )


def _after(made: Revision) -> list[Revision]:
    """Later commits that touched dvc.lock and contain ``made``, oldest first."""
    words = ["rev-list", "--reverse", "--topo-order", "--full-history", "--ancestry-path", "--all", f"^{made.commit}"]
    command = ["git", "-C", str(made.top), *words, "--", "dvc.lock"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120).stdout
    return [Revision(commit, commit, made.top) for commit in listed.split()]
