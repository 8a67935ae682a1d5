"""The index finds every revision, costs only what is new, and never takes silence for absence."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lineage_repository import Lineage, clean, patient, row

from cytoline.audit import recording
from cytoline.audit.index import INDEX, forget, lacking, open_index
from cytoline.audit.spans import Spans
from cytoline.audit.subject import subject_of
from cytoline.errors import CytolineError


@pytest.fixture
def lineage(tmp_path: Path) -> Lineage:
    return Lineage(tmp_path / "repository")


def content(top: Path) -> dict[str, list[Any]]:
    """Every table and view, as a set of rows."""
    with closing(open_index(top)) as index:
        names = (
            "revisions",
            "outs",
            "deps",
            "ancestors",
            "models",
            "versions",
            "images",
            "splits",
            "patches",
            "lacking",
        )
        return {name: sorted(index.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for name in names}


def test_a_patient_is_found_in_every_version_and_part(lineage: Lineage) -> None:
    first = lineage.commit([0, 1, 2], "one")
    second = lineage.commit([0, 1, 2, 3], "two")
    found = subject_of(patient(3), lineage.top)
    assert {one.md5 for one in found.datasets} == {second["data/clean"]}
    assert [(one.md5, one.role) for one in found.models] == [(second["models/classifier"], "held out")]
    assert [one.role for one in found.metrics] == ["measured on"]
    taught = subject_of(patient(0), lineage.top)
    assert {one.md5: one.role for one in taught.models} == {
        one["models/classifier"]: "learned from" for one in (first, second)
    }
    assert [dict(one.parts) for one in taught.splits] == [{"train": 2}] * 2
    assert {one.patches for one in taught.patches} == {6}
    assert all(image.cached and len(image.datasets) == 2 for image in taught.images)
    assert {one.md5: one.role for one in subject_of(patient(2), lineage.top).models}[
        first["models/classifier"]
    ] == "chosen on"


def test_nobody_is_found_where_nobody_is(lineage: Lineage) -> None:
    lineage.commit([0, 1])
    found = subject_of(patient(9), lineage.top)
    assert (found.images, found.splits, found.patches, found.models, found.datasets) == ((),) * 5
    assert found.missing == ("MLflow's store (mlflow.db) is not here",)
    with pytest.raises(CytolineError, match="no pseudonym"):
        subject_of("O'Hara, Anne", lineage.top)


def test_thrown_away_branches_and_amended_commits_are_searched(lineage: Lineage) -> None:
    lineage.commit([0], "one")
    lineage.git("checkout", "-q", "-b", "side")
    dropped = lineage.commit([0, 5], "dropped by a merge")
    lineage.git("checkout", "-q", "main")
    lineage.commit([0, 1], "two")
    lineage.git("merge", "-q", "-s", "ours", "-m", "merge", "side")
    lineage.git("branch", "-q", "-D", "side")
    assert [one.md5 for one in subject_of(patient(5), lineage.top).models] == [dropped["models/classifier"]]
    forget(lineage.top)
    lineage.git("reflog", "expire", "--expire=now", "--all")  # from here on only the merge leads to it
    assert [one.md5 for one in subject_of(patient(5), lineage.top).models] == [dropped["models/classifier"]]
    amended = lineage.commit([0, 6], "amended")
    lineage.record([0], "instead")
    lineage.git("commit", "-q", "-a", "--amend", "-m", "instead")
    assert [one.md5 for one in subject_of(patient(6), lineage.top).models] == [amended["models/classifier"]]


def test_the_work_tree_counts_before_it_is_committed(lineage: Lineage) -> None:
    lineage.commit([0])
    now = lineage.record([0, 7], "new")
    (seen,) = subject_of(patient(7), lineage.top).models
    assert (seen.md5, seen.first_commit, seen.commits) == (now["models/classifier"], None, 0)
    lineage.commit([0, 7], "new")
    (seen,) = subject_of(patient(7), lineage.top).models
    assert seen.first_commit == lineage.git("rev-parse", "HEAD")
    lineage.record([0], "w")
    assert subject_of(patient(7), lineage.top).models


def test_a_new_commit_costs_only_that_commit(lineage: Lineage, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        lineage.commit(range(number + 1), str(number))
    open_index(lineage.top).close()
    read: list[str] = []
    plain = recording.read
    monkeypatch.setattr(recording, "read", lambda commit, *rest: read.append(commit) or plain(commit, *rest))
    open_index(lineage.top).close()
    assert read == []
    lineage.commit(range(9), "new")
    open_index(lineage.top).close()
    assert read == [lineage.git("rev-parse", "HEAD")]


def test_step_by_step_and_all_at_once_are_the_same(lineage: Lineage) -> None:
    for people in ([0, 1], [0, 1, 2], [1, 2], [0, 1, 2, 3], [0, 1]):
        lineage.commit(people, repr(people))
        step_by_step = content(lineage.top)
    forget(lineage.top)
    assert content(lineage.top) == step_by_step
    (lineage.top / INDEX).write_bytes(b"SQLite format 3\0" + b"\7" * 5000)
    assert content(lineage.top) == step_by_step
    (lineage.top / INDEX).write_bytes((lineage.top / INDEX).read_bytes()[:8192])
    assert content(lineage.top) == step_by_step


def test_what_is_not_in_the_cache_is_said_and_found_once_it_is_fetched(lineage: Lineage) -> None:
    known = lineage.commit([0, 1])
    listing = lineage.object(known["data/clean"])
    kept = listing.read_bytes()
    listing.unlink()
    found = subject_of(patient(0), lineage.top)
    assert not found.images
    assert any(known["data/clean"] in words and "1 models" in words for words in found.missing)
    assert [one.role for one in found.models] == ["learned from"]  # the split still knows
    listing.write_bytes(kept)
    assert len(subject_of(patient(0), lineage.top).images) == 2


def test_a_manifest_that_is_gone_although_its_folder_is_listed(lineage: Lineage) -> None:
    known = lineage.commit([0, 1])
    manifest = lineage.put(clean([0, 1])["manifest.jsonl"])
    lineage.object(manifest).unlink()
    with closing(open_index(lineage.top)) as index:
        assert [(row[0], "manifest.jsonl" in row[2]) for row in lacking(index)] == [(known["data/clean"], True)]


def test_a_rewritten_history_is_forgotten(lineage: Lineage) -> None:
    lineage.commit([0])
    lineage.git("checkout", "-q", "-b", "side")
    lineage.commit([0, 8], "side")
    assert subject_of(patient(8), lineage.top).models
    lineage.git("checkout", "-q", "main")
    lineage.git("branch", "-q", "-D", "side")
    lineage.git("reflog", "expire", "--expire=now", "--all")
    assert not subject_of(patient(8), lineage.top).images
    assert patient(8).encode() not in (lineage.top / INDEX).read_bytes()


@pytest.mark.parametrize(
    "manifest",
    [
        b"no json\n",
        b"[" * 100_000 + b"\n",
        row({"image_id": "a", "patient": {}, "slide": "s", "source": "s", "sha256": "0", "file": "f"}),
        row({"image_id": "a" * 1000, "patient": "p", "slide": "s", "source": "s", "sha256": "0", "file": "f"}),
        row({"image_id": "\x1b[31m", "patient": "p", "slide": "s", "source": "s", "sha256": "0", "file": "f"}),
        b'{"file":"\xff"}\n',
        b"\xff\xfe\n",
    ],
)
def test_a_broken_manifest_is_said_and_the_rest_still_found(lineage: Lineage, manifest: bytes) -> None:
    good = lineage.commit([0], "good")
    broken = lineage.tree({"manifest.jsonl": clean([0, 1])["manifest.jsonl"] + manifest})
    lineage.commit([0, 1], "bad", data_clean=broken)
    last = lineage.commit([0, 2], "last")
    found = subject_of(patient(0), lineage.top)
    assert {one.md5 for one in found.datasets} == {good["data/clean"], last["data/clean"]}
    assert any(broken in words and "broken" in words for words in found.missing)


def test_a_broken_lock_is_said(lineage: Lineage) -> None:
    lineage.commit([0])
    for lock in ("stages: [1, 2]\n", "stages: {a: {outs: [{path: x}]}}\n", "a: &a [*a]\nstages: {b: 3}\n", "\t"):
        lineage.write("dvc.lock", lock)
        lineage.git("commit", "-q", "-a", "-m", "broken")
    lineage.commit([0, 1], "good again")
    found = subject_of(patient(1), lineage.top)
    assert found.models
    assert sum("dvc.lock" in words for words in found.missing) >= 3


def test_outside_git_it_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CytolineError, match="no git repository"):
        subject_of(patient(0), tmp_path)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.frozensets(st.integers(0, 12)), min_size=1, max_size=12))
def test_spans_are_the_sets_they_stand_for(versions: list[frozenset[int]]) -> None:
    database = sqlite3.connect(":memory:", isolation_level=None)
    spans = Spans(database, "thing", ("value",))
    spans.create("things", "version", ())
    for number, version in enumerate(versions):
        if number % 3 == 2:
            spans = Spans(database, "thing", ("value",))  # the next process
        spans.add(f"v{number}", [(bytes([one]), lambda one=one: (one,)) for one in sorted(version)])
    for number, version in enumerate(versions):
        rows = database.execute("SELECT value FROM things WHERE version = ?", (f"v{number}",)).fetchall()
        assert sorted(rows) == [(one,) for one in sorted(version)]
