"""Batchable messages: their rows may share a forward, and a plain one needs nothing that only Celery does."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final

import orjson

from mlq.engine.strategy import BatchOutcome
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


def answer(outcome: BatchOutcome[ModelRequest]) -> Any:
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


NO_ANSWER: Final = object()


def success(message: Message, result: Any) -> bytes | None:
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
