"""Progress of a job: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from mlq.terminal.terminal import Terminal

if TYPE_CHECKING:
    from rich.progress import Progress

_LINE_EVERY_S: Final = 5.0

Advance = Callable[[int, int], None]
"""Called with the number of rows that are done and the number of those that failed."""


class Around(Protocol):
    """The state of a job's queue: messages that wait in it, workers that serve it."""

    @property
    def waiting(self) -> int: ...

    @property
    def workers(self) -> int: ...


Look = Callable[[], Around | None]
"""Reads the state of the queue; None if it cannot be read."""


@contextmanager
def progress(terminal: Terminal, rows: int | None, look: Look) -> Iterator[Advance]:
    """Show progress during the block; yield the function that updates it.

    Args:
        terminal: Where to show it.
        rows: Number of rows of the job, None if they come through a pipe.
        look: Reads the state of the queue.
    """
    if not terminal.animated:
        yield _Lines(terminal, rows, look)
        return
    with _bar(terminal) as bar:
        task = bar.add_task("rows", total=rows, failed="")

        def advance(done: int, failed: int) -> None:
            bar.update(task, completed=done, failed=f"{failed} failed" if failed else "")

        yield advance


def _bar(terminal: Terminal) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}"),
        console=terminal.console(),
        transient=False,
    )


class _Lines:
    """Prints a line of progress every _LINE_EVERY_S seconds, and at the end."""

    def __init__(
        self, terminal: Terminal, rows: int | None, look: Look, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._terminal = terminal
        self._rows = rows
        self._look = look
        self._clock = clock
        self._began = self._said_at = clock()
        self._said = 0
        self._first: int | None = None

    def __call__(self, done: int, failed: int) -> None:
        now = self._clock()
        if self._first is None:
            self._first = done
        is_last = done == self._rows and done != self._said
        if now - self._said_at < _LINE_EVERY_S and not is_last:
            return
        self._said, self._said_at = done, now
        rate = (done - self._first) / max(now - self._began, 1e-9)
        of = "" if self._rows is None else f" of {self._rows}"
        trouble = f", {failed} failed" if failed else ""
        self._terminal.say(f"{done}{of} rows{trouble}, {rate:.0f} rows/s{self._rest(done, rate)}")

    def _rest(self, done: int, rate: float) -> str:
        """Write the estimated time left and the state of the queue; "" when all rows are done."""
        if self._rows is None or done >= self._rows:
            return ""
        left = f", {_duration((self._rows - done) / rate)} left" if rate > 0 else ""
        around = self._look()
        return left if around is None else f"{left}; {around.waiting} messages queued, {around.workers} workers"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
