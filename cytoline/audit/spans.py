"""Many versions of a table that changes little, kept once: a row and the spans of versions that hold it.

Versions are numbered in the order in which they are added.  A row that stays from one version to the next costs
nothing; so five hundred versions of a manifest of 100,000 images are little more than one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

OPEN = (1 << 62) - 1
"""End of a span that reaches to the newest version."""

Values = Callable[[], tuple[Any, ...]]


class Spans:
    """One such table: ``NAME_sets`` (versions), ``NAME_rows`` and ``NAME_spans``."""

    def __init__(self, connection: sqlite3.Connection, name: str, columns: tuple[str, ...]) -> None:
        self._db = connection
        self.name = name
        self.columns = columns
        self._open: dict[bytes, int] | None = None

    def create(self, view: str, version: str, indexed: tuple[str, ...]) -> None:
        """Make the tables, and a view that looks like the plain table: ``version`` and the columns."""
        name, columns = self.name, ", ".join(self.columns)
        script = [
            f"CREATE TABLE {name}_sets(seq INTEGER PRIMARY KEY, md5 TEXT UNIQUE NOT NULL, size INTEGER NOT NULL)",
            f"CREATE TABLE {name}_rows(id INTEGER PRIMARY KEY, key BLOB UNIQUE NOT NULL, {columns})",
            f"CREATE TABLE {name}_spans(row INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, "
            "PRIMARY KEY (row, first)) WITHOUT ROWID",
            *(f"CREATE INDEX {name}_by_{column} ON {name}_rows({column})" for column in indexed),
            f"CREATE VIEW {view} AS SELECT s.md5 AS {version}, {', '.join('r.' + c for c in self.columns)} "
            f"FROM {name}_spans p JOIN {name}_rows r ON r.id = p.row "
            f"JOIN {name}_sets s ON s.seq BETWEEN p.first AND p.last",
        ]
        for statement in script:
            self._db.execute(statement)

    def holds(self, md5: str) -> bool:
        """Whether this version has been added."""
        return self._db.execute(f"SELECT 1 FROM {self.name}_sets WHERE md5 = ?", (md5,)).fetchone() is not None

    def add(self, md5: str, rows: Iterable[tuple[bytes, Values]]) -> None:
        """Add one version: the key of every row, and its values, which are asked for only where the key is new."""
        name = self.name
        if self._open is None:
            self._open = dict(
                self._db.execute(
                    f"SELECT r.key, r.id FROM {name}_spans p JOIN {name}_rows r ON r.id = p.row WHERE p.last = ?",
                    (OPEN,),
                )
            )
        (last,) = self._db.execute(f"SELECT coalesce(max(seq), 0) FROM {name}_sets").fetchone()
        before, now, size = self._open, {}, 0
        fresh: list[tuple[int, int, int]] = []
        for key, values in rows:
            if key in now:
                continue
            size += 1
            known = before.pop(key, None)
            now[key] = known if known is not None else self._row(key, values)
            if known is None:
                fresh.append((now[key], last + 1, OPEN))
        self._db.executemany(
            f"UPDATE {name}_spans SET last = ? WHERE row = ? AND last = ?",
            [(last, row, OPEN) for row in before.values()],
        )
        self._db.executemany(f"INSERT INTO {name}_spans VALUES (?, ?, ?)", fresh)
        self._db.execute(f"INSERT INTO {name}_sets VALUES (?, ?, ?)", (last + 1, md5, size))
        self._open = now

    def restart(self) -> None:
        """Forget what is held in memory: a version was taken back half-way."""
        self._open = None

    def _row(self, key: bytes, values: Values) -> int:
        found = self._db.execute(f"SELECT id FROM {self.name}_rows WHERE key = ?", (key,)).fetchone()
        if found is not None:
            return int(found[0])
        marks = ", ".join("?" * len(self.columns))
        added = self._db.execute(
            f"INSERT INTO {self.name}_rows(key, {', '.join(self.columns)}) VALUES (?, {marks})", (key, *values())
        )
        return int(added.lastrowid or 0)
