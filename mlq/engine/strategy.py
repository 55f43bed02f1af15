"""The micro-batch strategy: rows of many messages share a forward, and urgent rows go between two."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from mlq.model.failure import RowFailure


class BatchModel(Protocol):
    """The part of a model that the strategy uses."""

    max_batch_size: int
    transient: tuple[type[Exception], ...]
    interrupts: tuple[type[Exception], ...]

    def predict(self, rows: Sequence[Any]) -> list[Any | RowFailure]:
        """Answer each row, in order; raise a transient failure of all rows."""


class HasRows(Protocol):
    """A message that brings rows."""

    @property
    def rows(self) -> Sequence[Any]:
        """Its inputs, in order."""


M = TypeVar("M", bound=HasRows)


@dataclass(frozen=True)
class BatchOutcome(Generic[M]):
    """The answers to the rows of a message."""

    message: M
    answers: Sequence[Any | RowFailure]
    """One answer or failure for each row, in order."""

    failure: Exception | None = None
    """A failure of all rows: a transient one, or RowsUnwanted."""

    seconds: float = 0.0
    """Share of the message in the time of its forwards."""


class RowsUnwanted(Exception):
    """The rest of the rows of a message is not wanted any more, because its job was cancelled."""


@dataclass
class _Progress(Generic[M]):
    message: M
    answers: list[Any] = field(default_factory=list)
    failure: Exception | None = None
    seconds: float = 0.0

    @property
    def left(self) -> int:
        return 0 if self.failure is not None else len(self.message.rows) - len(self.answers)


def run(
    model: BatchModel,
    messages: Sequence[M],
    urgent: Callable[[int], Sequence[M]],
    is_gone: Callable[[M], bool] = lambda _: False,
    spent: Callable[[M, float], None] = lambda *_: None,
) -> Iterator[BatchOutcome[M]]:
    """Answer messages, in forwards of up to the batch size of the model; yield each when its last row is done.

    The strategy is greedy: a forward takes the next rows, no matter which messages they belong to.

    Args:
        model: The model.
        messages: The messages of a batch, in order.
        urgent: Called before each forward with the number of rows that are left; returns messages that go next.
        is_gone: Called before each forward; True for a message whose other rows are not wanted any more.
        spent: Called after each forward with each message and its share of the seconds.
    """
    line = deque(_Progress(m) for m in messages)
    yield from _finished(line)
    while line:
        line.extendleft(_Progress(m) for m in reversed(urgent(sum(p.left for p in line))))
        for progress in line:
            if is_gone(progress.message):
                progress.failure = RowsUnwanted()
        _forward(model, line, spent)
        yield from _finished(line)


def _forward(model: BatchModel, line: deque[_Progress[M]], spent: Callable[[M, float], None]) -> None:
    """Compute the next rows of the line, and give each message its answers."""
    shares: list[tuple[_Progress[M], int]] = []
    room = model.max_batch_size
    for progress in line:
        if not room:
            break
        share = min(progress.left, room)
        if share == 0:  # it has no rows
            continue
        shares.append((progress, share))
        room -= share
    parts = [p.message.rows[len(p.answers) : len(p.answers) + share] for p, share in shares]
    if not parts:
        return
    # A part that fills the forward alone is passed on unchanged: packed rows are one array, and stay one.
    rows = parts[0] if len(parts) == 1 else [row for part in parts for row in part]
    began = time.monotonic()
    try:
        answers = model.predict(rows)
        if len(parts) > 1 and any(isinstance(a, RowFailure) and isinstance(a.error, model.interrupts) for a in answers):
            # The rows of one message exceeded the time limit. Each message is tried alone, so that only that one fails.
            answers = [answer for part in parts for answer in model.predict(part)]
    except model.transient as exc:
        for progress, _ in shares:
            progress.failure = exc
        return
    finally:
        a_row_s = (time.monotonic() - began) / len(rows)
        for progress, share in shares:
            progress.seconds += share * a_row_s
            spent(progress.message, share * a_row_s)
    start = 0
    for progress, share in shares:
        progress.answers += answers[start : start + share]
        start += share


def _finished(line: deque[_Progress[M]]) -> Iterator[BatchOutcome[M]]:
    """Remove messages from the line that have all their answers; a message without rows has them from the start."""
    while line and not line[0].left:
        done = line.popleft()
        yield BatchOutcome(done.message, done.answers, done.failure, done.seconds)
