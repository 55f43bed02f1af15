"""Micro-batches: rows of many messages share a forward.

Three questions are answered here: which messages may share one (`split`), how their rows go through the model (`run`),
and whether the result of a message can be written without Celery (`plain_result`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Final, Generic, Protocol, TypeVar

import orjson

from mlq.model.failure import RowFailure
from mlq.protocol.message import Message
from mlq.protocol.names import PREDICT
from mlq.protocol.packing import rows_in

_FOLLOWED: Final = ("callbacks", "errbacks", "chain", "chord")
_SPECIAL: Final = ("expires", "timelimit", "group", "stamped_headers", "replaced_task_nesting", "shadow")
"""Headers that ask for something that only Celery's tracer does."""


@dataclass(frozen=True)
class ModelRequest:
    """A message whose rows may share a forward with rows of other messages."""

    message: Message
    rows: Sequence[Any]
    single: bool
    """Whether its task takes one row instead of a list."""

    @property
    def is_plain(self) -> bool:
        """Whether its sender asked for the result and nothing else."""
        headers, embed = self.message.headers, self.message.embed
        return not any(embed.get(k) for k in _FOLLOWED) and not any(_asked(headers.get(k)) for k in _SPECIAL)


def rows_of(message: Message, tasks: Mapping[str, str], revoked: Collection[str] = ()) -> ModelRequest | None:
    """Return the rows of a message; None if Celery must run it alone.

    A suspect runs alone, and so does a message that was delayed, expires, has its own time limit, was revoked, or has
    arguments that its task refuses: then the client gets the error of the task.

    Args:
        message: The message.
        tasks: Maps each name under which the model is served to mlq.predict or mlq.batch_predict.
        revoked: Ids of revoked tasks.
    """
    task = tasks.get(message.task)
    if task is None or message.claim.is_suspect or message.eta is not None or message.task_id in revoked:
        return None
    if _asked(message.headers.get("expires")) or _asked(message.headers.get("timelimit")):
        return None
    found = _argument(message, "row" if task == PREDICT else "rows")
    if found is _NONE:
        return None
    if task == PREDICT:
        return ModelRequest(message, [found], single=True)
    try:
        return ModelRequest(message, rows_in(found), single=False)
    except (TypeError, ValueError):  # the task refuses the argument again, and tells its client why
        return None


def split(
    messages: Sequence[Message], tasks: Mapping[str, str], revoked: Collection[str]
) -> tuple[list[ModelRequest], list[Message]]:
    """Separate messages that may share a forward from those that run alone, such as the second of two equal ids."""
    together: dict[str, ModelRequest] = {}
    alone: list[Message] = []
    for message in messages:
        rows = rows_of(message, tasks, revoked)
        if rows is None or message.task_id in together:
            alone.append(message)
        else:
            together[message.task_id] = rows
    return list(together.values()), alone


_NONE: Final = object()


def _argument(message: Message, name: str) -> Any:
    """Return the only argument of a task, by position or by name; _NONE if there is another number of arguments."""
    if len(message.args) == 1 and not message.kwargs:
        return message.args[0]
    if not message.args and message.kwargs.keys() == {name}:
        return message.kwargs[name]
    return _NONE


def _asked(value: Any) -> bool:
    """Return whether a header asks for something; Celery writes [null, null] or 0 if it does not."""
    return any(value) if isinstance(value, (list, tuple)) else bool(value)


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


@dataclass
class BatchOutcome(Generic[M]):
    """The answers to the rows of a message: those so far, and all of them once it has ended."""

    message: M
    answers: list[Any | RowFailure] = field(default_factory=list)
    """One answer or failure for each row, in order."""

    failure: Exception | None = None
    """A failure of all rows: a transient one, or RowsUnwanted."""

    seconds: float = 0.0
    """Share of the message in the time of its forwards."""

    @property
    def left(self) -> int:
        """Number of rows that still have to go through the model."""
        return 0 if self.failure is not None else len(self.message.rows) - len(self.answers)


class RowsUnwanted(Exception):
    """The rest of the rows of a message is not wanted any more, because its job was cancelled."""


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
    line = deque(BatchOutcome(m) for m in messages)
    yield from _finished(line)
    while line:
        line.extendleft(BatchOutcome(m) for m in reversed(urgent(sum(p.left for p in line))))
        for outcome in line:
            if is_gone(outcome.message):
                outcome.failure = RowsUnwanted()
        _forward(model, line, spent)
        yield from _finished(line)


def _forward(model: BatchModel, line: deque[BatchOutcome[M]], spent: Callable[[M, float], None]) -> None:
    """Compute the next rows of the line, and give each message its answers."""
    shares: list[tuple[BatchOutcome[M], int]] = []
    room = model.max_batch_size
    for outcome in line:
        if not room:
            break
        share = min(outcome.left, room)
        if share == 0:  # it has no rows
            continue
        shares.append((outcome, share))
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
        for outcome, _ in shares:
            outcome.failure = exc
        return
    finally:
        a_row_s = (time.monotonic() - began) / len(rows)
        for outcome, share in shares:
            outcome.seconds += share * a_row_s
            spent(outcome.message, share * a_row_s)
    start = 0
    for outcome, share in shares:
        outcome.answers += answers[start : start + share]
        start += share


def _finished(line: deque[BatchOutcome[M]]) -> Iterator[BatchOutcome[M]]:
    """Remove messages from the line that have all their answers; a message without rows has them from the start."""
    while line and not line[0].left:
        yield line.popleft()


NO_ANSWER: Final = object()
"""Takes the place of a result that only Celery's tracer can end."""


def plain_result(outcome: BatchOutcome[ModelRequest]) -> Any:
    """Return the result of a task as Celery's tracer would store it, or NO_ANSWER if only the tracer can end it.

    A failed single row is a failed task, and a transient failure is a retry; the tracer does both.
    """
    if outcome.failure is not None or any(isinstance(a, RowFailure) and a.retryable for a in outcome.answers):
        return NO_ANSWER
    if outcome.message.single:
        (only,) = outcome.answers
        return NO_ANSWER if isinstance(only, RowFailure) else only
    attempts = int(outcome.message.message.headers.get("retries") or 0) + 1
    return [a.as_element(attempts) if isinstance(a, RowFailure) else a for a in outcome.answers]


def encode_success(message: Message, result: Any) -> bytes | None:
    """Encode what Celery's Redis backend stores of a task that succeeded; tests compare it with the tracer's.

    None for NO_ANSWER, and for a result that orjson cannot write (an integer of more than 64 bits, a lone surrogate):
    Celery's encoder can, or stores a failure.
    """
    if result is NO_ANSWER:
        return None
    meta = {
        "status": "SUCCESS",
        "result": result,
        "traceback": None,
        "children": [],
        "date_done": datetime.now(timezone.utc).isoformat(),
        "task_id": message.task_id,
    }
    parent = message.headers.get("parent_id")
    if parent:
        meta["parent_id"] = parent
    try:
        return orjson.dumps(meta)
    except TypeError:
        return None
