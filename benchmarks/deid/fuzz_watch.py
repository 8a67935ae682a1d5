"""Worker processes under watch: one that hangs, dies or takes too much memory is ended and its case named.

A worker answers case by case; from the time since its last answer the watcher knows which case it is at.  Limits hold
from outside, so code that never comes back to Python is ended all the same.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Protocol

import psutil

from benchmarks.deid.fuzz_case import Case, Verdict
from cytoline.errors import CytolineError

SECONDS = 5.0
"""CPU time for one file."""
CLOCK = 120.0
"""Seconds on the clock, for what waits without working."""
MEMORY = 1 << 30
"""Bytes of address space above what a worker has when it is ready."""
_POLL = 0.2
_AT_END = 10
"""Times ``CLOCK``: checks of a whole batch are made by another program, for which the worker waits."""


class Judging(Protocol):
    """What a worker does."""

    def __call__(self, case: Case) -> Verdict: ...

    def at_end(self) -> dict[Case, Verdict]:
        """Of a batch: verdicts that another check overturns."""
        ...


def judged(
    batches: Iterable[list[Case]], make: Callable[[], Judging], workers: int, clock: float = CLOCK
) -> Iterator[tuple[Case, Verdict]]:
    """A verdict of every case, in the order in which they come; a later one of the same case takes its place."""
    waiting = deque(deque(batch) for batch in batches if batch)
    crew = [_Worker(make, clock) for _ in range(min(workers, len(waiting)))]
    try:
        while waiting or any(worker.batch is not None for worker in crew):
            for worker in crew:
                if worker.batch is None and waiting:
                    worker.give(waiting.popleft())
            ready = wait([worker.connection for worker in crew if worker.batch is not None], _POLL)
            for number, worker in enumerate(crew):
                if worker.batch is None:
                    continue
                lost = (yield from worker.answers()) if worker.connection in ready else worker.overdue()
                if lost is None:
                    continue
                left = worker.end()
                if not left or not worker.ready:
                    raise CytolineError(
                        f"a worker was lost outside of any case: {lost}", "run again, on an idle machine"
                    )
                yield left.popleft(), Verdict("failed", lost, 0.0)
                if left:
                    waiting.appendleft(left)
                crew[number] = _Worker(make, clock)
    finally:
        for worker in crew:
            worker.end()


class _Worker:
    """A process and the cases that it has not answered yet."""

    def __init__(self, make: Callable[[], Judging], clock: float) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make), daemon=True)
        self._process.start()
        theirs.close()
        self._clock = clock
        self.batch: deque[Case] | None = None
        self.ready = False
        self._since, self._cpu, self._seen = time.monotonic(), 0.0, 0.0

    def give(self, batch: deque[Case]) -> None:
        """Work for an idle worker."""
        self.batch = batch
        self._since = time.monotonic()
        with suppress(BrokenPipeError):  # it died between two batches: noticed at the next look
            self.connection.send(list(batch))

    def answers(self) -> Generator[tuple[Case, Verdict], None, str | None]:
        """What has come in; the generator returns how the worker died, or None."""
        assert self.batch is not None
        try:
            while self.batch is not None and self.connection.poll():
                verdict, late, self._cpu = self.connection.recv()
                self.ready, self._since = True, time.monotonic()
                if verdict is not None:
                    yield self.batch.popleft(), verdict
                if late is not None:
                    yield from late.items()
                    self.batch = None
        except (EOFError, ConnectionResetError):
            self._process.join(CLOCK)
            code = self._process.exitcode or 0
            return f"the process died ({signal.Signals(-code).name if code < 0 else f'exit {code}'})"
        return None

    def overdue(self) -> str | None:
        """Why it must be ended, if it must.  To wait for one's turn on a busy machine is no fault."""
        now = time.monotonic()
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self._process.pid)
            times = process.cpu_times()
            used = times.user + times.system
            if used > self._seen or process.status() != psutil.STATUS_SLEEPING:
                self._seen, self._since = used, now
            if self.ready and self.batch and used - self._cpu > SECONDS:
                return f"over {SECONDS:g} s"
        patience = self._clock if self.batch else _AT_END * self._clock
        return f"over {self._clock:g} s without an answer or work" if now - self._since > patience else None

    def end(self) -> deque[Case]:
        """Kill it; returns what it leaves undone."""
        self._process.kill()
        self._process.join()
        self.connection.close()
        left, self.batch = self.batch or deque(), None
        return left


def _serve(connection: Connection, make: Callable[[], Judging]) -> None:
    """Ctrl-C is the watcher's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"
    judge = make()
    limit = psutil.Process().memory_info().vms + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(EOFError, BrokenPipeError):
        connection.send((None, None, time.process_time()))
        while True:
            for case in connection.recv():
                connection.send((judge(case), None, time.process_time()))
            connection.send((None, judge.at_end(), time.process_time()))
