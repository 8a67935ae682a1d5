"""The tables of the lineage index.  An index of another shape is dropped and built anew."""

from __future__ import annotations

import sqlite3
import zlib

from cytoline.audit.rows import IMAGE_COLUMNS, PATCH_COLUMNS, SPLIT_COLUMNS
from cytoline.audit.spans import Spans

_TABLES = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE objects(md5 TEXT, path TEXT, size INTEGER, PRIMARY KEY (md5, path)) WITHOUT ROWID;
CREATE TABLE revisions("commit" TEXT PRIMARY KEY, time INTEGER NOT NULL, lock TEXT NOT NULL, seq INTEGER)
  WITHOUT ROWID;
CREATE TABLE outs("commit" TEXT, stage TEXT, path TEXT, md5 TEXT, clean_md5 TEXT, split_md5 TEXT,
                  PRIMARY KEY ("commit", path)) WITHOUT ROWID;
CREATE INDEX outs_by_md5 ON outs(md5, path);
CREATE TABLE deps("commit" TEXT, stage TEXT, path TEXT, md5 TEXT, PRIMARY KEY ("commit", stage, path)) WITHOUT ROWID;
CREATE INDEX deps_by_md5 ON deps(md5, path);
CREATE TABLE ancestors(md5 TEXT, path TEXT, kind TEXT, ancestor TEXT, PRIMARY KEY (md5, path, kind, ancestor))
  WITHOUT ROWID;
CREATE INDEX ancestors_by ON ancestors(ancestor, kind);
CREATE TABLE models(digest TEXT, path TEXT, name TEXT, weights_sha256 TEXT, first_commit TEXT, clean_md5 TEXT,
                    split_md5 TEXT, PRIMARY KEY (digest, path)) WITHOUT ROWID;
CREATE INDEX models_by_weights ON models(weights_sha256);
CREATE TABLE versions(name TEXT, version INTEGER, digest TEXT, run_id TEXT, aliases TEXT, claimed TEXT,
                      weights_sha256 TEXT, PRIMARY KEY (name, version)) WITHOUT ROWID;
CREATE INDEX versions_by_digest ON versions(digest);
CREATE TABLE lacking(md5 TEXT, path TEXT, why TEXT NOT NULL, wanted TEXT, PRIMARY KEY (md5, path)) WITHOUT ROWID;
"""
"""``aliases``: with blanks between.  ``lacking``: objects whose content the index would need but could not read;
``wanted``: the object that is not in the cache."""
SCHEMA = zlib.crc32(repr((_TABLES, IMAGE_COLUMNS, SPLIT_COLUMNS, PATCH_COLUMNS)).encode()) >> 1
"""An index of another shape is built anew."""


def create(connection: sqlite3.Connection) -> None:
    """Drop whatever there is, and make empty tables."""
    with transaction(connection):
        for kind, name in connection.execute(
            "SELECT type, name FROM sqlite_master WHERE type IN ('view', 'table')"
        ).fetchall():
            connection.execute(f'DROP {kind} IF EXISTS "{name}"')
        for statement in _TABLES.split(";"):
            connection.execute(statement)
        Spans(connection, "image", IMAGE_COLUMNS).create("images", "manifest_md5", ("patient", "image_id"))
        Spans(connection, "split", SPLIT_COLUMNS).create("splits", "split_md5", ("patient",))
        Spans(connection, "patch", PATCH_COLUMNS).create("patches", "patches_md5", ("patient",))
        connection.execute(f"PRAGMA user_version = {SCHEMA}")


class transaction:  # noqa: N801 (reads as a verb)
    """All or nothing."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._db.execute("COMMIT" if kind is None else "ROLLBACK")
