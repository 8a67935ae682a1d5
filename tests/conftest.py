"""For all tests: the project's own code is read once, not again for every store of results."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cytoline import memo

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def code_is_read_once() -> Iterator[None]:
    """``Memo.map`` parses every module that its function runs, every time; here none of them changes meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("import_closure", "_meaning"):
            patch.setattr(memo, name, once_for_the_project(getattr(memo, name)))
        yield


def once_for_the_project(read: Callable[..., Any]) -> Callable[..., Any]:
    """``read``, remembered for files of this project; those that a test plants and edits are read each time."""
    remembered = functools.cache(read)

    def answer(path: Path, *rest: Path) -> Any:
        return (remembered if path.resolve().is_relative_to(ROOT) else read)(path, *rest)

    return answer
