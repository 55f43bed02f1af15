"""Progress of a job: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from mlq.console.terminal import Terminal

if TYPE_CHECKING:
    from rich.progress import Progress

_LINE_EVERY_S: Final = 5.0

Advance = Callable[[int, int], None]
"""Told the rows that are done and how many of them failed."""


@contextmanager
def progress(terminal: Terminal, rows: int) -> Iterator[Advance]:
    """Give the function that shows how far a job of so many rows is."""
    if not terminal.animated:
        yield _Lines(terminal, rows)
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
    """Says how far it is when something has changed, no more often than every _LINE_EVERY_S."""

    def __init__(self, terminal: Terminal, rows: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._terminal = terminal
        self._rows = rows
        self._clock = clock
        self._began = self._said_at = clock()
        self._said = 0

    def __call__(self, done: int, failed: int) -> None:
        now = self._clock()
        if done == self._said or (now - self._said_at < _LINE_EVERY_S and done < self._rows):
            return
        self._said, self._said_at = done, now
        rate = done / max(now - self._began, 1e-9)
        trouble = f", {failed} failed" if failed else ""
        self._terminal.say(f"{done} of {self._rows} rows{trouble}, {rate:.0f} rows/s")
