"""MLflow: its database and the files it keeps, on this machine; a server is named as not searched.

DVC's digests and git's commits are all that cytoline's runs record; what people log by hand may hold more.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

from cytoline.audit.erasure.marks import Marks

FOLDERS = ("mlruns", "mlartifacts")
DATABASE = Path("mlflow.db")
WITHDRAWN = "cytoline.withdrawn"
_ERASED = "erased"
_OWN = frozenset({".git", ".dvc", ".cytoline", "data"})
"""Folders that are searched by other rules, whatever a database says of them."""


@dataclass(frozen=True)
class Places:
    """The database, folders of artifacts, and what cannot be searched from here."""

    database: Path | None
    folders: tuple[Path, ...] = ()
    unsearched: tuple[str, ...] = ()
    outside: tuple[Path, ...] = ()
    """Outside of the project and not agreed to: left alone, for they may be another project's."""


def agreed(path: Path, outside: Collection[Path]) -> bool:
    """Whether a place is in this project, or in a folder outside that may be changed as well."""
    return any(path.resolve().is_relative_to(one.resolve()) for one in (Path(), *outside))


def tracking_places(outside: Collection[Path] = ()) -> Places:
    """``outside``: folders outside of the project that may be changed.

    A database holds whole paths: one that was copied with its project still names the first project's folders.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or ""
    unsearched = [] if not uri or uri.startswith(("sqlite:", "file:")) else [f"MLflow server ({urlparse(uri).scheme})"]
    database = Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else DATABASE
    named = {Path(name).resolve() for name in FOLDERS}
    if uri.startswith("file:"):
        named.add(Path(unquote(urlparse(uri).path)).resolve())
    if database.is_file():
        for place in _artifact_places(database):
            parsed = urlparse(place)
            if parsed.scheme not in ("", "file"):
                unsearched.append(f"MLflow artifacts ({parsed.scheme})")
                continue
            named.add(Path(unquote(parsed.path)).resolve())
    named = {one for one in named if one.is_dir() and not _searched_anyway(one)}
    folders = _outermost(one for one in named if agreed(one, outside))
    left = _outermost(one for one in named if not agreed(one, outside))
    if database.is_file() and not agreed(database, outside):
        left.append(database.resolve())
    ours = database if database.is_file() and agreed(database, outside) else None
    return Places(ours, tuple(folders), tuple(sorted(set(unsearched))), tuple(left))


def _searched_anyway(folder: Path) -> bool:
    top = Path().resolve()
    return folder == top or (folder.is_relative_to(top) and folder.relative_to(top).parts[0] in _OWN)


def _outermost(folders: Iterable[Path]) -> list[Path]:
    """Without those that lie in others of them."""
    known = set(folders)
    return sorted(one for one in known if not known & set(one.parents))


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
