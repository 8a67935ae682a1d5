"""The memo store: right answers always, work only where something changed."""

from __future__ import annotations

import importlib
import multiprocessing
import stat
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from cytoline import memo
from cytoline.compute import ComputeParams, worker_pool
from cytoline.errors import CytolineError
from cytoline.memo import Blob, Job, Memo

CALLS: list[object] = []


class Shape(BaseModel):
    size: int = 1
    name: str = "a"


def shout(content: bytes | Path, params: Shape | None) -> dict[str, bytes]:
    """What every test works with: depends on its arguments only, and counts."""
    CALLS.append(content)
    raw = content.read_bytes() if isinstance(content, Path) else content
    return {"loud": raw.upper() * (params.size if params else 1), "length": str(len(raw)).encode()}


def fail_on_three(number: int, params: None) -> dict[str, bytes]:
    CALLS.append(number)
    if number == 3:
        raise CytolineError("three", "take another")
    return {"n": str(number).encode()}


def slow_first(number: int, params: None) -> dict[str, bytes]:
    time.sleep(0.5 if number in (0, 4) else 0)
    if number == 5:
        raise CytolineError("five", "take another")
    return {"n": str(number).encode()}


def fill_store(root: Path, count: int) -> None:
    for job, results in Memo(root).map(fail_on_three, [Job("", (n,)) for n in range(10, count)], None, description="x"):
        assert results["n"].read() == str(job.args[0]).encode()


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


def jobs_of(contents: Sequence[bytes | Path | int]) -> list[Job]:
    return [Job(f"job {number}", (content,)) for number, content in enumerate(contents)]


def answers(
    root: Path, contents: Sequence[bytes | Path], params: Shape | None = None, extra: bytes = b""
) -> list[bytes]:
    rows = Memo(root).map(shout, jobs_of(contents), params, description="test", extra=extra)
    return [results["loud"].read() for _, results in rows]


def blob_files(root: Path) -> list[Path]:
    return sorted(path for path in (root / "blobs").rglob("*") if path.is_file())


def test_the_second_time_nothing_runs_and_new_inputs_alone_run(tmp_path: Path) -> None:
    assert answers(tmp_path, [b"a", b"b"]) == [b"A", b"B"]
    assert answers(tmp_path, [b"b", b"c", b"a"]) == [b"B", b"C", b"A"]
    assert CALLS == [b"a", b"b", b"c"]


def test_params_and_extra_are_part_of_the_key(tmp_path: Path) -> None:
    assert answers(tmp_path, [b"a"], Shape(size=2)) == [b"AA"]
    assert answers(tmp_path, [b"a"], Shape(size=3)) == [b"AAA"]
    assert answers(tmp_path, [b"a"], Shape(size=3), extra=b"model 2") == [b"AAA"]
    assert len(CALLS) == 3


def test_a_path_counts_by_its_content_not_its_name(tmp_path: Path) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    first.write_bytes(b"same")
    second.write_bytes(b"same")
    assert answers(tmp_path / "memo", [first, second]) == [b"SAME", b"SAME"]
    assert len(CALLS) == 1
    second.write_bytes(b"else")
    assert answers(tmp_path / "memo", [first, second]) == [b"SAME", b"ELSE"]
    assert len(CALLS) == 2


def test_a_folder_counts_by_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a").write_bytes(b"12")

    def key() -> bytes:
        return memo._encode(tmp_path / "m", {})

    first = key()
    (tmp_path / "m" / "a").rename(tmp_path / "m" / "b")
    second = key()
    (tmp_path / "m" / "b").write_bytes(b"13")
    assert len({first, second, key()}) == 3


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.0, -0.0, 1.0, 2.5, float("inf")]),
    st.text("ab1", max_size=3),
    st.binary(max_size=3),
    st.builds(Shape, size=st.integers(1, 2), name=st.text("ab", max_size=1)),
)
arguments = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6)


def described(value: object) -> object:
    """Equal exactly where value and type are equal (in Python True == 1 == 1.0)."""
    return [described(item) for item in value] if isinstance(value, tuple) else (type(value).__name__, repr(value))


@settings(max_examples=300, deadline=None)
@given(first=arguments, second=arguments)
def test_keys_are_equal_exactly_where_arguments_are(first: object, second: object) -> None:
    assert (memo._encode(first) == memo._encode(second)) == (described(first) == described(second))


def test_an_argument_that_cannot_be_hashed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="dict"):
        list(Memo(tmp_path).map(shout, [Job("x", ({},))], None, description="x"))
    with pytest.raises(TypeError, match="module-level"):
        list(Memo(tmp_path).map(lambda params: {}, [], None, description="x"))


@settings(max_examples=20, deadline=None)
@given(
    rounds=st.lists(st.lists(st.binary(max_size=4), max_size=6), min_size=1, max_size=4),
    damage=st.lists(st.tuples(st.integers(0, 50), st.sampled_from(["flip", "cut", "empty", "delete"])), max_size=6),
)
def test_answers_are_right_whatever_happened_to_the_store(
    rounds: list[list[bytes]], damage: list[tuple[int, str]]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for contents in rounds:
            assert answers(root, contents) == [content.upper() for content in contents]
            files = sorted(path for path in root.rglob("*") if path.is_file())
            for number, how in damage if files else []:
                spoil(files[number % len(files)], how)
        last = rounds[-1]
        assert answers(root, last) == [content.upper() for content in last]


def spoil(path: Path, how: str) -> None:
    if not path.exists():
        return
    content = path.read_bytes()
    path.unlink()
    if how == "flip" and content:
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")


def test_a_damaged_blob_is_made_anew_not_given_out(tmp_path: Path) -> None:
    answers(tmp_path, [b"a"])
    for path in blob_files(tmp_path):
        spoil(path, "flip")
    assert answers(tmp_path, [b"a"]) == [b"A"]
    assert CALLS == [b"a", b"a"]
    assert answers(tmp_path, [b"a"]) == [b"A"]
    assert len(CALLS) == 2


def test_a_blob_that_is_damaged_in_use_is_refused(tmp_path: Path) -> None:
    ((_, results),) = Memo(tmp_path / "memo").map(shout, jobs_of([b"a"]), None, description="x")
    spoil(results["loud"].path, "flip")
    with pytest.raises(CytolineError, match="while it was in use"):
        results["loud"].read()
    with pytest.raises(CytolineError, match="while it was in use"):
        results["loud"].link(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_links_are_read_only_and_share_the_blob(tmp_path: Path) -> None:
    ((_, results),) = Memo(tmp_path / "memo").map(shout, jobs_of([b"a"]), None, description="x")
    target = tmp_path / "out" / "a.png"
    results["loud"].link(target)
    assert target.read_bytes() == b"A"
    assert target.samefile(results["loud"].path)
    assert stat.S_IMODE(target.stat().st_mode) == 0o444
    with pytest.raises(FileExistsError):
        results["loud"].link(target)


def test_where_links_do_not_go_a_copy_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "another file system")

    ((_, results),) = Memo(tmp_path / "memo").map(shout, jobs_of([b"a"]), None, description="x")
    monkeypatch.setattr("os.link", refuse)
    results["loud"].link(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"A"
    assert not (tmp_path / "a").samefile(results["loud"].path)


def test_a_listing_cannot_point_outside_the_store(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="digest"):
        Memo(tmp_path)._blob("../../etc/passwd")
    assert not Blob(tmp_path / "nothing", "0" * 64).intact()


def test_what_was_finished_before_an_error_is_kept(tmp_path: Path) -> None:
    jobs = jobs_of([1, 2, 3, 4])
    with pytest.raises(CytolineError, match="three"):
        list(Memo(tmp_path).map(fail_on_three, jobs, None, description="x"))
    with pytest.raises(CytolineError, match="three"):
        list(Memo(tmp_path).map(fail_on_three, jobs, None, description="x"))
    assert CALLS == [1, 2, 3, 3]


def test_a_reader_that_stops_early_keeps_what_it_saw(tmp_path: Path) -> None:
    rows = Memo(tmp_path).map(fail_on_three, jobs_of([0, 1, 2]), None, description="x")
    next(rows)
    rows.close()  # type: ignore[attr-defined]
    list(Memo(tmp_path).map(fail_on_three, jobs_of([0, 1, 2]), None, description="x"))
    assert CALLS == [0, 1, 2]


def test_a_pool_keeps_order_and_an_error_loses_nothing_finished(tmp_path: Path) -> None:
    store = Memo(tmp_path)
    with worker_pool(ComputeParams(scheduler="local", workers=2, threads=1)) as pool:
        good = [
            row[1]["n"].read() for row in store.map(slow_first, jobs_of([0, 1, 2, 3]), None, description="x", pool=pool)
        ]
        assert good == [b"0", b"1", b"2", b"3"]
        rows = store.map(slow_first, jobs_of([4, 5]), None, description="x", pool=pool)
        with pytest.raises(CytolineError, match="five"):
            list(rows)
    before = len(list((tmp_path / "results").rglob("*/*")))
    list(store.map(slow_first, jobs_of([0, 1, 2, 3, 4]), None, description="x"))
    assert len(list((tmp_path / "results").rglob("*/*"))) == before == 5


def test_two_processes_share_one_store(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=fill_store, args=(tmp_path, 60)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(blob_files(tmp_path)) == 50
    assert not list(tmp_path.rglob("*.tmp"))


def test_code_counts_comments_and_strangers_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Edit a module that the function uses only through another one."""
    room = tmp_path / "stages"
    room.mkdir()
    (room / "__init__.py").touch()
    (room / "memo_demo.py").write_text(
        "from stages.memo_helper import f\ndef work(x, params):\n    return {'a': f(x)}\n"
    )
    (room / "memo_helper.py").write_text("def f(x):\n    return x * 2\n")
    (room / "memo_stranger.py").write_text("x = 1\n")
    (tmp_path / "requirements.lock").write_text("a==1\n")
    monkeypatch.setattr(memo, "PROJECT", tmp_path)
    monkeypatch.setattr(memo, "LOCK", tmp_path / "requirements.lock")
    import stages

    monkeypatch.setattr(stages, "__path__", [str(room)])
    module = importlib.import_module("stages.memo_demo")

    def key() -> bytes:
        return memo._base_key(module.work, None, b"")

    try:
        first = key()
        (room / "memo_helper.py").write_text("# a remark\ndef f(x):\n\n    return x*2\n")
        (room / "memo_stranger.py").write_text("x = 2\n")
        assert key() == first
        (room / "memo_helper.py").write_text("def f(x):\n    return x * 3\n")
        second = key()
        (tmp_path / "requirements.lock").write_text("a==2\n")
        assert len({first, second, key()}) == 3
    finally:
        for name in ("stages.memo_demo", "stages.memo_helper"):
            sys.modules.pop(name, None)
