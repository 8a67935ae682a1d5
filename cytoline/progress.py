"""Progress with time left: a bar where someone watches, a line every tenth where a log is kept."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")

_STEPS = 10


class Bar:
    """``with Bar(total, "train") as bar: bar.advance(1, loss=0.3)``.  Writes to standard error."""

    def __init__(self, total: int, description: str) -> None:
        self.total = total
        self.done = 0
        self._description = description
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._rich: Progress | None = None
        self._started = time.monotonic()
        self._next_line = 1

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        if self._console.is_terminal and self.total > 0:
            self._rich = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[shown]}"),
                console=self._console,
                redirect_stdout=False,
            )
            self._task = self._rich.add_task(self._description, total=self.total, shown="")
            self._rich.start()
        return self

    def advance(self, n: int = 1, **shown: float | str) -> None:
        """``n`` more are done; ``shown`` are figures to show beside the bar."""
        self.done += n
        words = " ".join(f"{key} {_short(value)}" for key, value in shown.items())
        if self._rich is not None:
            self._rich.update(self._task, advance=n)
            if words:
                self._rich.update(self._task, shown=words)
        elif self.total > 0 and self.done * _STEPS >= self._next_line * self.total:
            self._next_line = self.done * _STEPS // self.total + 1
            self._line(words)

    def _line(self, words: str) -> None:
        spent = time.monotonic() - self._started
        left = spent / self.done * max(0, self.total - self.done)
        share = 100 * self.done // self.total
        text = f"{self._description}: {self.done}/{self.total} ({share} %), {_clock(spent)} so far, {_clock(left)} left"
        self._console.print(f"{text}  {words}".rstrip(), markup=False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rich is not None:
            self._rich.stop()
            self._rich = None


def track(items: Iterable[T], total: int, description: str) -> Iterator[T]:
    """Go through ``items`` and show how far."""
    with Bar(total, description) as bar:
        for item in items:
            yield item
            bar.advance(1)


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _clock(seconds: float) -> str:
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
