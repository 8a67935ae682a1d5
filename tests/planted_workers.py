"""A thread in the place of worker processes: starting those takes seconds, and some tests of each command do that."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from types import ModuleType
from typing import Any

import pytest


def in_a_thread(_: object) -> Executor:
    """In the place of ``worker_pool``: what a worker loads (the text reader) stays loaded for the next test."""
    return ThreadPoolExecutor(1)


def no_workers_in(module: ModuleType) -> Callable[..., Any]:
    """A fixture for a whole file: ``module`` starts no processes, but for tests marked ``workers``."""

    @pytest.fixture(autouse=True)
    def no_workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        if request.node.get_closest_marker("workers") is None:
            monkeypatch.setattr(module, "worker_pool", in_a_thread)

    return no_workers
