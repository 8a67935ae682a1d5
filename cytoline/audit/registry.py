"""MLflow's store, read for facts: its SQLite file directly and read-only, a server through MLflow's client.

Importing MLflow takes seconds, so it is done for a server only.  What cannot be read is None, and the caller says it.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from cytoline.audit.facts import RunFacts

STORE = "mlflow.db"
DIGEST_TAG = "cytoline.model.digest"
COMMIT_TAG = "cytoline.git.commit"
DIRTY_TAG = "cytoline.git.dirty"
LOCK_TAG = "cytoline.lock"

_RUN_ID = re.compile(r"[0-9a-zA-Z_-]{1,64}")
_CARD = 1 << 22
"""Largest card in bytes."""
_PLACES = re.compile(r"^/|^[A-Za-z]:|://")
"""A value that is a path or an address says where it ran, which no fact may."""


@dataclass(frozen=True)
class Registered:
    """One version of a registered model.  ``claimed`` is the digest that its tag gives."""

    name: str
    version: int
    aliases: tuple[str, ...]
    run_id: str | None
    claimed: str | None
    weights_sha256: str | None
    """What the card among the run's artifacts says; None where the artifacts are not here."""


class Store(Protocol):
    """What the audit asks of a tracking store."""

    def state(self) -> str:
        """Changes when the registry may have changed."""

    def versions(self) -> list[Registered]:
        """Every version of every registered model."""

    def run(self, run_id: str) -> RunFacts | None:
        """One run; None where there is none."""

    def lock(self, run_id: str) -> str | None:
        """sha256 of the lock file that the run recorded."""


def open_store(top: Path) -> Store | str:
    """The store that ``MLFLOW_TRACKING_URI`` names (else ``mlflow.db``), or why there is none to ask."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{top.absolute() / STORE}"
    kind = urlsplit(uri).scheme
    if kind in ("http", "https"):
        return ServerStore(uri)
    if kind != "sqlite":
        return f"MLflow's store is of a kind that the audit does not read ({kind or 'a folder'})"
    path = Path(uri.removeprefix("sqlite:///"))
    if not path.is_file():
        return "MLflow's store (mlflow.db) is not here"
    store = SqliteStore(path, top)
    try:
        store.versions_count()
    except sqlite3.Error as error:
        return f"MLflow's store (mlflow.db) cannot be read ({type(error).__name__})"
    return store


@dataclass
class SqliteStore:
    """``mlflow.db``, opened read-only."""

    path: Path
    top: Path
    _db: sqlite3.Connection | None = field(default=None, repr=False)

    def state(self) -> str:
        """Size and time of the file and of its log."""
        files = [self.path, self.path.with_name(self.path.name + "-wal")]
        seen = [(item.stat().st_size, item.stat().st_mtime_ns) for item in files if item.is_file()]
        return repr(seen)

    def versions_count(self) -> int:
        """How many versions there are; raises ``sqlite3.Error`` where this is no store."""
        return int(self._ask("SELECT count(*) FROM model_versions")[0][0])

    def versions(self) -> list[Registered]:
        """Every version that has not been deleted."""
        aliases: dict[tuple[str, int], list[str]] = {}
        for name, version, alias in self._ask("SELECT name, version, alias FROM registered_model_aliases"):
            aliases.setdefault((str(name), int(version)), []).append(str(alias))
        rows = self._ask(
            "SELECT v.name, v.version, v.run_id, t.value, r.experiment_id FROM model_versions v "
            "LEFT JOIN model_version_tags t ON t.name = v.name AND t.version = v.version AND t.key = ? "
            "LEFT JOIN runs r ON r.run_uuid = v.run_id "
            "WHERE coalesce(v.current_stage, '') <> 'Deleted_Internal' ORDER BY v.name, v.version",
            DIGEST_TAG,
        )
        return [
            Registered(
                str(name),
                int(version),
                tuple(sorted(aliases.get((str(name), int(version)), ()))),
                run_id,
                tag,
                self._weights(experiment, run_id),
            )
            for name, version, run_id, tag, experiment in rows
        ]

    def run(self, run_id: str) -> RunFacts | None:
        """One run with what it says of the machine."""
        found = self._ask("SELECT status, start_time, end_time FROM runs WHERE run_uuid = ?", run_id)
        if not found:
            return None
        tags = dict(self._ask("SELECT key, value FROM tags WHERE run_uuid = ?", run_id))
        figures = self._ask("SELECT key, value FROM latest_metrics WHERE run_uuid = ? AND key LIKE 'system/%'", run_id)
        status, start, end = found[0]
        return run_facts(run_id, status, start, end, tags, {str(key): float(value) for key, value in figures})

    def lock(self, run_id: str) -> str | None:
        """From the run's tag."""
        found = self._ask("SELECT value FROM tags WHERE run_uuid = ? AND key = ?", run_id, LOCK_TAG)
        return str(found[0][0]) if found else None

    def _weights(self, experiment: int | None, run_id: str | None) -> str | None:
        """From the card among the artifacts, where MLflow keeps them beside the store."""
        if experiment is None or run_id is None or not _RUN_ID.fullmatch(run_id):
            return None
        card = self.top / "mlruns" / str(int(experiment)) / run_id / "artifacts" / "model" / "model_card.json"
        try:
            if card.stat().st_size > _CARD:
                return None
            return weights_of(card.read_bytes())
        except OSError:
            return None

    def _ask(self, question: str, *values: Any) -> list[Any]:
        if self._db is None:
            self._db = sqlite3.connect(f"file:{quote(str(self.path.absolute()))}?mode=ro", uri=True, timeout=10)
        return self._db.execute(question, values).fetchall()


@dataclass
class ServerStore:
    """A tracking server.  Not one of the answers that come offline or within two seconds."""

    uri: str
    _client: Any = field(default=None, repr=False)

    def state(self) -> str:
        """Always another: a server is always asked."""
        return datetime.now(UTC).isoformat()

    def versions(self) -> list[Registered]:
        """Every version, with aliases."""
        client = self._connected()
        rows = []
        for model in client.search_registered_models(max_results=1000):
            aliases: dict[int, list[str]] = {}
            for alias, version in model.aliases.items():
                aliases.setdefault(int(version), []).append(alias)
            for item in client.search_model_versions(f"name = '{model.name}'", max_results=10000):
                number = int(item.version)
                told = item.tags.get(DIGEST_TAG)
                rows.append(
                    Registered(model.name, number, tuple(sorted(aliases.get(number, ()))), item.run_id, told, None)
                )
        return rows

    def run(self, run_id: str) -> RunFacts | None:
        """One run; None where the server has none of that id."""
        from mlflow.exceptions import MlflowException

        try:
            run = self._connected().get_run(run_id)
        except MlflowException:
            return None
        figures = {key: value for key, value in run.data.metrics.items() if key.startswith("system/")}
        return run_facts(run_id, run.info.status, run.info.start_time, run.info.end_time, run.data.tags, figures)

    def lock(self, run_id: str) -> str | None:
        """From the run's tag."""
        value = self._connected().get_run(run_id).data.tags.get(LOCK_TAG)
        return None if value is None else str(value)

    def _connected(self) -> Any:
        if self._client is None:
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
            import mlflow

            self._client = mlflow.MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        return self._client


def weights_of(card: bytes) -> str | None:
    """sha256 of the weights as a card gives it."""
    try:
        value = json.loads(card)["files"]["weights.safetensors"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return value if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) else None


def run_facts(
    run_id: str, status: str, start: int | None, end: int | None, tags: Mapping[str, str], figures: Mapping[str, float]
) -> RunFacts:
    """One run in our words.  Values that are paths or addresses are left out: they name machines and people."""
    told = {
        key.removeprefix("cytoline."): value
        for key, value in tags.items()
        if key.startswith("cytoline.") and key not in (COMMIT_TAG, DIRTY_TAG, LOCK_TAG, DIGEST_TAG)
    }
    told |= {key: f"{value:g}" for key, value in figures.items()}
    commit, dirty = tags.get(COMMIT_TAG), tags.get(DIRTY_TAG)
    return RunFacts(
        id=run_id,
        status=status,
        started=iso(start),
        ended=iso(end),
        commit=None if commit in (None, "unknown") else commit,
        dirty=None if dirty is None else dirty == "true",
        system={key: value for key, value in sorted(told.items()) if not _PLACES.search(value)},
    )


def iso(milliseconds: int | None) -> str | None:
    """A time in milliseconds since 1970 as ISO 8601 in UTC."""
    return (
        None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
    )
