"""The lineage index: git's history, DVC's objects and MLflow's registry in one SQLite file, so that answers are quick.

``.cytoline/lineage.sqlite`` is derived from these three and never an authority: it may be deleted and comes back.
``open_index`` brings it up to date first; a new commit costs what that commit changed.  Hashes of folders end in
``.dir``; the "md5" of a manifest or a split is that of its folder, as ``dvc.lock`` has it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from cytoline.audit import history, recording
from cytoline.audit.registry import Store, open_store, weights_of
from cytoline.audit.revision import WORK_TREE, Cache, Revision
from cytoline.audit.rows import (
    IMAGE_COLUMNS,
    PATCH_COLUMNS,
    SPLIT_COLUMNS,
    BrokenError,
    Row,
    image_rows,
    patch_rows,
    split_rows,
)
from cytoline.audit.schema import SCHEMA, create, transaction
from cytoline.audit.spans import Spans
from cytoline.errors import CytolineError
from cytoline.progress import Bar

INDEX = Path(".cytoline/lineage.sqlite")
_SHOWN_FROM = 20
"""New commits from which progress is shown."""


def open_index(top: Path = Path()) -> sqlite3.Connection:
    """The index of the repository at ``top``, up to date.  Close it.  Raises ``CytolineError`` outside git."""
    try:
        return _ready(top)
    except sqlite3.OperationalError as error:
        raise CytolineError(
            f"{INDEX} cannot be used ({error})", "wait for the other audit, or delete the file"
        ) from None
    except sqlite3.DatabaseError:  # cut short or overwritten: it holds nothing that cannot be had again
        forget(top)
        return _ready(top)


def forget(top: Path = Path()) -> None:
    """Delete the index.  The next question builds it from what git and DVC still hold."""
    for ending in ("", "-journal", "-wal", "-shm"):
        (top / f"{INDEX}{ending}").unlink(missing_ok=True)


def lacking(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
    """Objects that could not be read: md5, path, why."""
    return list(connection.execute("SELECT md5, path, why FROM lacking ORDER BY path, md5"))


def _ready(top: Path) -> sqlite3.Connection:
    (top / INDEX).parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(top / INDEX, timeout=60, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA cache_size = -65536")
        _update(connection, top)
    except BaseException:
        connection.close()
        raise
    return connection


def _update(connection: sqlite3.Connection, top: Path) -> None:
    fingerprint = history.tips(top)
    if connection.execute("PRAGMA user_version").fetchone()[0] != SCHEMA:
        create(connection)
    update = Update(connection, top)
    if update.meta("tips") != fingerprint:
        update.history()
        update.set_meta("tips", fingerprint)
    update.work_tree()
    update.retry()
    update.settle()
    update.registry()


class Update:
    """One bringing up to date."""

    def __init__(self, connection: sqlite3.Connection, top: Path) -> None:
        self._db = connection
        self._top = top
        self._cache = Cache.of(top)
        self._images = Spans(connection, "image", IMAGE_COLUMNS)
        self._splits = Spans(connection, "split", SPLIT_COLUMNS)
        self._patches = Spans(connection, "patch", PATCH_COLUMNS)
        self.changed = False

    def meta(self, key: str) -> str | None:
        """A remembered value."""
        found = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if found is None else str(found[0])

    def set_meta(self, key: str, value: str) -> None:
        """Remember a value."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def history(self) -> None:
        """Add the commits that are new.  Where old ones are gone (a rewritten history) everything is built anew."""
        now = history.recorded(self._top)
        known = {row[0] for row in self._db.execute('SELECT "commit" FROM revisions')} - {WORK_TREE}
        if known - now.keys():
            create(self._db)
            known = set()
            self._images, self._splits, self._patches = (
                Spans(self._db, spans.name, spans.columns) for spans in (self._images, self._splits, self._patches)
            )
        new = [commit for commit in now if commit not in known]
        bar = Bar(len(new) if len(new) >= _SHOWN_FROM else 0, "reading history")
        with bar, history.Blobs(self._top) as blobs:
            for commit in new:
                lock = blobs.read(commit, "dvc.lock")
                name, content = lock or ("", b"")
                sources = {
                    path: found[1] for path in blobs.names(commit, ".dvc") if (found := blobs.read(commit, path))
                }
                with transaction(self._db):
                    self._add(recording.read(commit, content, sources), now[commit], name)
                bar.advance()

    def work_tree(self) -> None:
        """Add what ``dvc.lock`` says now, where no commit says it."""
        tree = Revision.work_tree(self._top)
        content = tree.read("dvc.lock") or b""
        name = history.blob_name(content)
        known = self._db.execute('SELECT "commit", lock FROM revisions WHERE lock = ?', (name,)).fetchone()
        if known is not None and known[0] == WORK_TREE:
            return
        with transaction(self._db):
            for table in ("revisions", "outs", "deps"):
                self._db.execute(f'DELETE FROM {table} WHERE "commit" = ?', (WORK_TREE,))
            self.changed = True
            if known is None and content:
                time = int((self._top / "dvc.lock").stat().st_mtime)
                self._add(recording.read(WORK_TREE, content, {}), time, name)

    def retry(self) -> None:
        """Look again for objects that were not there: somebody may have fetched them."""
        rows = self._db.execute("SELECT md5, path, wanted FROM lacking WHERE wanted IS NOT NULL").fetchall()
        for md5, path, wanted in rows:
            if self._cache.path(wanted).is_file():
                with transaction(self._db):
                    self._db.execute("DELETE FROM lacking WHERE md5 = ? AND path = ?", (md5, path))
                    self._read(path, md5)

    def settle(self) -> None:
        """After any change: the first revision of each model, and nothing of what no revision names any more."""
        if not self.changed:
            return
        with transaction(self._db):
            self._db.execute("DELETE FROM models WHERE NOT EXISTS (SELECT 1 FROM outs WHERE md5 = digest)")
            self._db.execute(
                "DELETE FROM lacking WHERE NOT EXISTS (SELECT 1 FROM outs WHERE outs.md5 = lacking.md5) "
                'AND md5 NOT IN (SELECT "commit" FROM revisions)'
            )
            self._db.execute(
                'UPDATE models SET first_commit = (SELECT o."commit" FROM outs o JOIN revisions r '
                'ON r."commit" = o."commit" WHERE o.md5 = digest AND o.path = models.path '
                'ORDER BY o."commit" = ?, r.time, r.seq LIMIT 1)',
                (WORK_TREE,),
            )

    def registry(self) -> None:
        """Copy MLflow's versions, where they have changed."""
        store = open_store(self._top)
        if isinstance(store, str):
            self._versions(None, store)
            return
        try:
            state = f"{store.state()} {self._db.execute('SELECT count(*) FROM models').fetchone()[0]}"
            if state != self.meta("registry"):
                self._versions(store, "")
                self.set_meta("registry", state)
        except Exception as error:  # whatever a store or its client does, the rest of the answer stands
            self._versions(None, f"MLflow's store did not answer ({type(error).__name__})")

    def _versions(self, store: Store | None, why: str) -> None:
        rows = [] if store is None else store.versions()
        with transaction(self._db):
            self._db.execute("DELETE FROM versions")
            for row in rows:
                digest = self._digest(row.claimed, row.weights_sha256)
                values = (
                    row.name,
                    row.version,
                    digest,
                    row.run_id,
                    " ".join(row.aliases),
                    row.claimed,
                    row.weights_sha256,
                )
                self._db.execute("INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?)", values)
            self.set_meta("registry missing", why)
            if why:
                self.set_meta("registry", "")

    def _digest(self, claimed: str | None, weights: str | None) -> str | None:
        """The model that a version is: the weights among its artifacts outweigh the digest in its tag."""
        found = [row[0] for row in self._db.execute("SELECT digest FROM models WHERE weights_sha256 = ?", (weights,))]
        if weights is None or not found:
            known = self._db.execute("SELECT weights_sha256 FROM models WHERE digest = ?", (claimed,)).fetchone()
            contradicted = weights is not None and known is not None and known[0] not in (None, weights)
            return None if contradicted else claimed
        return claimed if claimed in found else str(found[0])

    def _add(self, record: recording.Record, time: int, lock: str) -> None:
        commit = record.commit
        self.changed = True
        self._db.execute(
            "INSERT OR REPLACE INTO revisions SELECT ?, ?, ?, coalesce(max(seq), 0) + 1 FROM revisions",
            (commit, time, lock),
        )
        if record.broken:
            self._db.execute(
                "INSERT OR REPLACE INTO lacking VALUES (?, ?, ?, NULL)", (commit, "dvc.lock", record.broken)
            )
        self._db.executemany("INSERT OR IGNORE INTO deps VALUES (?, ?, ?, ?)", record.deps)
        for out in recording.with_ancestors(record, self._earlier):
            self._db.execute(
                "INSERT OR IGNORE INTO outs VALUES (?, ?, ?, ?, ?, ?)",
                (commit, out.stage, out.path, out.md5, out.nearest("clean"), out.nearest("split")),
            )
            self._db.execute("INSERT OR IGNORE INTO objects VALUES (?, ?, ?)", (out.md5, out.path, out.size))
            self._db.executemany(
                "INSERT OR IGNORE INTO ancestors VALUES (?, ?, ?, ?)",
                [(out.md5, out.path, kind, one) for kind, found in out.ancestors.items() for one in found],
            )
            if recording.is_model(out.path):
                self._model(commit, out)
            else:
                self._read(out.path, out.md5)

    def _earlier(self, path: str, md5: str) -> Mapping[str, list[str]]:
        """The data sets behind an out that another revision made."""
        found: dict[str, list[str]] = {}
        for kind, one in self._db.execute(
            "SELECT kind, ancestor FROM ancestors WHERE md5 = ? AND path = ?", (md5, path)
        ):
            found.setdefault(kind, []).append(one)
        return found

    def _model(self, commit: str, out: recording.Out) -> None:
        known = self._db.execute("SELECT weights_sha256 FROM models WHERE digest = ? AND path = ?", (out.md5, out.path))
        if known.fetchone() is not None:
            return
        listing = self._listing(out.path, out.md5)
        card = self._cache.read(listing[recording.CARD]) if listing and recording.CARD in listing else None
        if listing is not None and card is None:
            self._lack(out.path, out.md5, f"its model card is {recording.GONE}", listing.get(recording.CARD))
        values = (recording.name_of(card), None if card is None else weights_of(card), commit)
        self._db.execute(
            "INSERT INTO models VALUES (?, ?, ?, ?, ?, ?, ?)",
            (out.md5, out.path, *values, out.nearest("clean"), out.nearest("split")),
        )

    def _read(self, path: str, md5: str) -> None:
        """Add the content of a data set, a split or a folder of patches, once."""
        if recording.is_model(path):
            self._model_again(path, md5)
        elif path in recording.IMAGES:
            self._table(self._images, path, md5, "manifest.jsonl", image_rows)
        elif path == recording.SPLIT:
            self._table(self._splits, path, md5, "split.jsonl", lambda file, _: split_rows(file))
        elif path in recording.PATCHES:
            self._table(self._patches, path, md5, "patches.jsonl", lambda file, _: patch_rows(file))

    def _model_again(self, path: str, md5: str) -> None:
        found = self._db.execute(
            "SELECT first_commit, clean_md5, split_md5 FROM models WHERE digest = ? AND path = ?", (md5, path)
        ).fetchone()
        if found is not None:
            self._db.execute("DELETE FROM models WHERE digest = ? AND path = ?", (md5, path))
            ancestors = {kind: [one] for kind, one in (("clean", found[1]), ("split", found[2])) if one}
            self._model(found[0], recording.Out("", path, md5, None, ancestors))

    def _table(
        self, spans: Spans, path: str, md5: str, name: str, rows: Callable[[Path, Mapping[str, str]], Iterator[Row]]
    ) -> None:
        if spans.holds(md5) or (listing := self._listing(path, md5)) is None:
            return
        if name not in listing:
            self._lack(path, md5, f"it holds no {name}")
            return
        file = self._cache.path(listing[name])
        if not file.is_file():
            self._lack(path, md5, f"its {name} is {recording.GONE}", listing[name])
            return
        self._db.execute("SAVEPOINT one_table")
        try:
            spans.add(md5, rows(file, listing))
        except BrokenError as error:
            self._db.execute("ROLLBACK TO one_table")
            spans.restart()
            self._lack(path, md5, f"{name} is broken: {error}")
        finally:
            with suppress(sqlite3.Error):
                self._db.execute("RELEASE one_table")

    def _listing(self, path: str, md5: str) -> Mapping[str, str] | None:
        try:
            listing = self._cache.listing(md5)
        except CytolineError as error:
            self._lack(path, md5, error.cause)
            return None
        if listing is None:
            self._lack(path, md5, recording.GONE, md5)
        return listing

    def _lack(self, path: str, md5: str, why: str, wanted: str | None = None) -> None:
        self._db.execute("INSERT OR REPLACE INTO lacking VALUES (?, ?, ?, ?)", (md5, path, why, wanted))
