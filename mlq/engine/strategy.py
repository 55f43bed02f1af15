"""The micro-batch strategy: rows of many messages in one forward, urgent ones between two. Knows nothing of Redis."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from mlq.model.failure import RowFailure


class BatchModel(Protocol):
    """What the strategy needs of a model."""

    max_batch_size: int
    transient: tuple[type[Exception], ...]
    interrupts: tuple[type[Exception], ...]

    def predict(self, rows: Sequence[Any]) -> list[Any | RowFailure]:
        """Answer each row, in order; raise what is transient, for all of them."""


class HasRows(Protocol):
    """A message that brings rows."""

    @property
    def rows(self) -> Sequence[Any]:
        """Its inputs, in order."""


M = TypeVar("M", bound=HasRows)


@dataclass(frozen=True)
class BatchOutcome(Generic[M]):
    """What became of a message's rows: an answer or a failure each, or one failure of them all.

    That is a transient one, or Gone. `seconds` is its share of the time that forwards took.
    """

    message: M
    answers: Sequence[Any | RowFailure]
    failure: Exception | None = None
    seconds: float = 0.0


class RowsUnwanted(Exception):
    """Nobody wants the rest of a message's rows any more."""


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
    """Answer messages, in forwards of up to the model's batch size; each is yielded once its last row is done.

    Greedy: a forward takes what is there, whoever's rows they are. Before every forward `urgent` is told how many
    rows are left, and gives messages that came meanwhile and cannot wait for them; they go next. Messages that
    `is_gone` tells of then are given up. After every forward `spent` is told each message's share of its seconds.
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
    """Compute the next rows of the line, and hand each message its own."""
    shares: list[tuple[_Progress[M], int]] = []
    room = model.max_batch_size
    for progress in line:
        if not room:
            break
        share = min(progress.left, room)
        if share == 0:  # it has no rows, and so needs no room
            continue
        shares.append((progress, share))
        room -= share
    parts = [p.message.rows[len(p.answers) : len(p.answers) + share] for p, share in shares]
    if not parts:
        return
    # A part that fills the forward alone stays as it is: packed rows are one array, and need not be taken apart.
    rows = parts[0] if len(parts) == 1 else [row for part in parts for row in part]
    began = time.monotonic()
    try:
        answers = model.predict(rows)
        if len(parts) > 1 and any(isinstance(a, RowFailure) and isinstance(a.error, model.interrupts) for a in answers):
            # Whose rows took so long? Each message is tried by itself, and nobody fails for another's.
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
    """Take the messages off the line that have all their answers; an empty one has them from the start."""
    while line and not line[0].left:
        done = line.popleft()
        yield BatchOutcome(done.message, done.answers, done.failure, done.seconds)
