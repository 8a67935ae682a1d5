"""MLflow: its database and the files it keeps, on this machine; a server is named as not searched.

DVC's digests and git's commits are all that cytoline's runs record; what people log by hand may hold more.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlparse

from cytoline.audit.erasure.marks import Marks

FOLDERS = ("mlruns", "mlartifacts")
DATABASE = Path("mlflow.db")
WITHDRAWN = "cytoline.withdrawn"
_ERASED = "erased"


def tracking_places() -> tuple[Path | None, list[Path], list[str]]:
    """The database, folders of artifacts, and what cannot be searched from here."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or ""
    unsearched = [] if not uri or uri.startswith(("sqlite:", "file:")) else [f"MLflow server ({urlparse(uri).scheme})"]
    database = Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else DATABASE
    folders = {Path(name).resolve() for name in FOLDERS if Path(name).is_dir()}
    if database.is_file():
        for place in _artifact_places(database):
            parsed = urlparse(place)
            if parsed.scheme not in ("", "file"):
                unsearched.append(f"MLflow artifacts ({parsed.scheme})")
                continue
            folder = Path(unquote(parsed.path)).resolve()
            if folder.is_dir() and not any(folder.is_relative_to(known) for known in folders):
                folders.add(folder)
    return (database if database.is_file() else None), sorted(folders), sorted(set(unsearched))


def rows_with(database: Path, marks: Marks) -> int:
    """How many values of an SQLite database show the person."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return sum(1 for _ in _values(connection, marks))


def redact(database: Path, marks: Marks) -> int:
    """Write ``erased`` over every value that shows the person, and rebuild the file so that nothing stays in it."""
    with closing(sqlite3.connect(database)) as connection:
        found = list(_values(connection, marks))
        connection.execute("PRAGMA secure_delete = ON")
        for table, column, value in found:
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (_ERASED, value))
        connection.commit()
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return len(found)


def versions_of(digests: set[str], database: Path | None) -> list[tuple[str, str, str]]:
    """Name, number and run of every registered version whose folder has one of these DVC hashes."""
    if database is None or not digests:
        return []
    query = (
        "SELECT v.name, v.version, v.run_id, t.value FROM model_versions v JOIN model_version_tags t "
        "ON v.name = t.name AND v.version = t.version WHERE t.key = 'cytoline.model.digest'"
    )
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        try:
            rows = connection.execute(query).fetchall()
        except sqlite3.Error:
            return []
    return sorted((str(name), str(version), str(run)) for name, version, run, digest in rows if digest in digests)


def withdraw(versions: list[tuple[str, str, str]], database: Path, reference: str) -> None:
    """Tag these versions ``cytoline.withdrawn`` with the request's reference."""
    if not versions:
        return
    from mlflow import MlflowClient

    uri = f"sqlite:///{database.absolute()}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    for name, version, _ in versions:
        client.set_model_version_tag(name, version, WITHDRAWN, reference)


def _artifact_places(database: Path) -> list[str]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        try:
            rows = connection.execute(
                "SELECT artifact_uri FROM runs UNION SELECT artifact_location FROM experiments"
            ).fetchall()
        except sqlite3.Error:
            return []
    return [str(place) for (place,) in rows if place]


def _values(connection: sqlite3.Connection, marks: Marks) -> Iterator[tuple[str, str, str]]:
    """Quoted table, quoted column and value."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (name,) in tables:
        table = _quoted(name)
        for _, column, *_ in connection.execute(f"PRAGMA table_info({table})").fetchall():
            quoted = _quoted(column)
            for (value,) in connection.execute(
                f"SELECT DISTINCT {quoted} FROM {table} WHERE typeof({quoted}) = 'text'"
            ):
                content = str(value).encode("utf-8", "surrogatepass")
                if marks.coded(content) or marks.named(content):
                    yield table, quoted, value


def _quoted(name: str) -> str:
    return '"' + re.sub('"', '""', name) + '"'
