"""Shards: what goes in comes out, equal entries are equal bytes, damage is found."""

from __future__ import annotations

import json
import pickle
import random
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytoline.errors import CytolineError
from cytoline.shards import INDEX, Shards, ShardWriter, shard_name, shard_number, write_shards

names = st.from_regex(r"\A[A-Za-z0-9_-][A-Za-z0-9_.-]{0,98}\Z")
packs = st.dictionaries(names, st.binary(max_size=2000), max_size=12)


def folder_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def packed(folder: Path, entries: dict[str, bytes], shards: int = 4) -> Path:
    write_shards(folder, entries.items(), shards)
    return folder


@settings(max_examples=60, deadline=None)
@given(entries=packs, seed=st.integers(0, 99), shards=st.integers(1, 20))
def test_round_trip_in_any_order_gives_equal_bytes(entries: dict[str, bytes], seed: int, shards: int) -> None:
    shuffled = list(entries.items())
    random.Random(seed).shuffle(shuffled)
    with tempfile.TemporaryDirectory() as name:
        first = packed(Path(name, "a"), entries, shards)
        second = packed(Path(name, "b"), dict(shuffled), shards)
        assert dict(Shards(first)) == entries
        assert list(Shards(first)) == sorted(entries)
        assert folder_bytes(first) == folder_bytes(second)


@settings(max_examples=30, deadline=None)
@given(entries=packs, name=names, content=st.binary(max_size=100))
def test_one_more_entry_changes_one_shard(entries: dict[str, bytes], name: str, content: bytes) -> None:
    entries.pop(name, None)
    with tempfile.TemporaryDirectory() as place:
        before = folder_bytes(packed(Path(place, "a"), entries))
        after = folder_bytes(packed(Path(place, "b"), {**entries, name: content}))
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert changed == {INDEX, shard_name(shard_number(name, 4))}


def test_shards_are_plain_tars_without_time_or_owner(tmp_path: Path) -> None:
    entries = {f"cell-{number}.png": bytes([number]) * number * 40 for number in range(50)}
    packed(tmp_path, entries)
    seen = {}
    for path in sorted(tmp_path.glob("*.tar")):
        with tarfile.open(path, "r:") as tar:
            members = tar.getmembers()
            assert [item.name for item in members] == sorted(item.name for item in members)
            for item in members:
                assert (item.mtime, item.uid, item.gid, item.uname, item.gname) == (0, 0, 0, "", "")
                stream = tar.extractfile(item)
                assert stream is not None
                seen[item.name] = stream.read()
    assert seen == entries
    assert len(list(tmp_path.glob("*.tar"))) == 4
    assert not list(tmp_path.glob(".*"))


def test_a_flipped_bit_a_missing_shard_and_a_cut_shard_are_found(tmp_path: Path) -> None:
    packed(tmp_path, {"a": b"x" * 100}, shards=1)
    shard = tmp_path / shard_name(0)
    good = shard.read_bytes()
    shard.write_bytes(good[:520] + b"y" + good[521:])
    with pytest.raises(CytolineError, match="not what the index says"):
        Shards(tmp_path)["a"]
    shard.write_bytes(good[:550])
    with pytest.raises(CytolineError, match="not what the index says"):
        Shards(tmp_path)["a"]
    shard.unlink()
    with pytest.raises(CytolineError, match="missing"):
        Shards(tmp_path)["a"]


@pytest.mark.parametrize(
    "change",
    [
        {"shard": "../secret.tar"},
        {"shard": "/etc/passwd"},
        {"offset": -1},
        {"name": "../x"},
        {"size": "9"},
        {"extra": 1},
    ],
)
def test_a_hostile_index_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    packed(tmp_path, {"a": b"1"}, shards=1)
    row = json.loads((tmp_path / INDEX).read_text())
    (tmp_path / INDEX).write_text(json.dumps({**row, **change}) + "\n")
    if change == {"size": "9"}:  # a number in quotes is read as the number, and then does not fit the hash
        with pytest.raises(CytolineError):
            Shards(tmp_path)["a"]
        return
    with pytest.raises(CytolineError, match=f"{INDEX}:1"):
        Shards(tmp_path)


def test_an_entry_listed_twice_is_refused(tmp_path: Path) -> None:
    packed(tmp_path, {"a": b"1"}, shards=1)
    line = (tmp_path / INDEX).read_text()
    (tmp_path / INDEX).write_text(line * 2)
    with pytest.raises(CytolineError, match="twice"):
        Shards(tmp_path)


def test_no_index_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CytolineError, match="missing"):
        Shards(tmp_path)


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "a b", "ä", "x" * 100, "a\n"])
def test_names_that_are_not_flat_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name"):
        ShardWriter(tmp_path).add(name, b"")


def test_the_same_name_twice_is_refused_and_an_abort_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="twice"):
        write_shards(tmp_path, [("a", b"1"), ("a", b"2")])
    assert not list(tmp_path.iterdir())


def test_a_reader_travels_to_another_process(tmp_path: Path) -> None:
    reader = Shards(packed(tmp_path, {"a": b"1", "b": b"22"}))
    again = pickle.loads(pickle.dumps(reader))  # noqa: S301
    assert dict(again) == {"a": b"1", "b": b"22"}
    assert len(again) == 2
    with pytest.raises(KeyError):
        again["c"]
