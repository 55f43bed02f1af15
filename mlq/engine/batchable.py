"""Plain messages: rows for the model, and nothing that Celery would have to do before or after."""

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
"""Headers that ask for something which the tracer does."""


@dataclass(frozen=True)
class ModelRequest:
    """A message whose rows may share a forward with others'. `single`: the task takes one row, not a list."""

    message: Message
    rows: Sequence[Any]
    single: bool

    @property
    def is_plain(self) -> bool:
        """Whether the answer is all that its sender asked for."""
        headers, embed = self.message.headers, self.message.embed
        return not any(embed.get(k) for k in _FOLLOWED) and not any(_asked(headers.get(k)) for k in _SPECIAL)


def rows_of(message: Message, tasks: Mapping[str, str], revoked: Collection[str] = ()) -> ModelRequest | None:
    """Read the rows of a message; None if it must run by itself, as Celery runs any task.

    `tasks` maps each name under which the model is served to mlq.predict or mlq.batch_predict. A suspect runs by
    itself, and so does what had to wait for its time, expires, has a limit of its own, was revoked, or has arguments
    that the task would refuse: in its own voice, which is the tracer's.
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
    except (TypeError, ValueError):  # the task refuses the argument again, and its client reads why
        return None


def split(
    messages: Sequence[Message], tasks: Mapping[str, str], revoked: Collection[str]
) -> tuple[list[ModelRequest], list[Message]]:
    """Part what may share a forward from what runs by itself; an id that is there twice shares once."""
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
    """Give the task's only argument, however it was passed."""
    if len(message.args) == 1 and not message.kwargs:
        return message.args[0]
    if not message.args and message.kwargs.keys() == {name}:
        return message.kwargs[name]
    return _NONE


def _asked(value: Any) -> bool:
    """Tell a header that asks for something from one that Celery always writes, such as [null, null] or 0."""
    return any(value) if isinstance(value, (list, tuple)) else bool(value)


def answer(outcome: BatchOutcome[ModelRequest]) -> Any:
    """Give the task's result as the tracer would store it, or NO_ANSWER if only the tracer can end it.

    A failed single row is a failed task; one that can pass is a retry: both are the tracer's business.
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
    """Write what Celery's Redis backend stores of a task that succeeded; tests hold it equal to the tracer's.

    None for NO_ANSWER, and for what orjson does not write (a whole number of more than 64 bits, half a character):
    Celery's own writer can, or says in the result why not.
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
