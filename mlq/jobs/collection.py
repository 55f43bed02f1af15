"""Collect: the answers of a job, chunk by chunk as they come, read from the result store by key."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import orjson
from celery import Celery
from celery.backends.base import BaseKeyValueStoreBackend
from celery.states import READY_STATES

from mlq.config import Settings, masked
from mlq.errors import NoResults, UnreadableResults
from mlq.jobs.chunk import Chunk, failures, lines
from mlq.jobs.job import Job
from mlq.jobs.row import RowError
from mlq.tasks import BatchPredict, Predict

_WINDOW: Final = 256
"""Answers asked for in one round trip, the oldest first."""

_SHORTEST_POLL_S: Final = 0.002
_LONGEST_POLL_S: Final = 0.1

PASSING: Final = frozenset({"ConnectionError", "ConnectionResetError", "TimeoutError", "OutOfMemoryError"})
"""Names of failures after which the same row may well succeed."""


@dataclass(frozen=True)
class Answered:
    """A chunk has its answers: output lines, in the order of its rows."""

    chunk: Chunk
    lines: Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Waiting:
    """Nothing came for a moment; `idle_s` counts from the last answer, `waiting` the chunks without one."""

    idle_s: float
    waiting: int


class Answers:
    """The answers of a job. Iterate once; an endless wait is the caller's to end."""

    def __init__(
        self,
        app: Celery,
        job: Job,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._app = app
        self._job = job
        self._clock = clock
        self._sleep = sleep
        self._waiting = {job.task_id(c): c for c in job.chunks if not c.unanswerable}

    def __iter__(self) -> Iterator[Answered | Waiting]:
        """Yield each chunk once as its answer appears, and Waiting in between."""
        for chunk in self._job.chunks:
            if chunk.unanswerable:
                yield Answered(chunk, lines(chunk, []))
        last, pause = self._clock(), _SHORTEST_POLL_S
        while self._waiting:
            came = self._take()
            yield from came
            if came:
                last, pause = self._clock(), _SHORTEST_POLL_S
                continue
            yield Waiting(self._clock() - last, len(self._waiting))
            self._sleep(pause)
            pause = min(_LONGEST_POLL_S, 1.5 * pause)

    def _take(self) -> list[Answered]:
        """Ask for the oldest unanswered chunks, and take those that are."""
        ids = list(islice(self._waiting, _WINDOW))
        done = [(i, meta) for i, meta in zip(ids, metas(self._app, ids), strict=True) if meta is not None]
        chunks = [(self._waiting.pop(task_id), meta) for task_id, meta in done]
        return [Answered(chunk, _lines(self._job, chunk, meta)) for chunk, meta in chunks]


def metas(app: Celery, task_ids: Sequence[str]) -> list[dict[str, Any] | None]:
    """Read what the store says of tasks; None for one that is not finished.

    The stored exception stays text: to build it again would be to run what a message names.
    """
    backend: Any = app.backend
    values = backend.mget([backend.get_key_for_task(i) for i in task_ids]) if task_ids else []
    decoded = [None if v is None else orjson.loads(v) for v in values]
    return [m if m is not None and m["status"] in READY_STATES else None for m in decoded]


def demand_results(app: Celery, settings: Settings) -> None:
    """Check that answers are kept where they can be read.

    Raises NoResults, UnreadableResults.
    """
    origin = settings.origin("result_backend")
    if settings.result_backend == "none":
        raise NoResults(origin=origin)
    if not isinstance(app.backend, BaseKeyValueStoreBackend):
        raise UnreadableResults(url=masked(settings.result_backend or ""), origin=origin)


def error_of(meta: dict[str, Any], max_retries: int) -> RowError:
    """Make a row's error of a task that failed as a whole."""
    result = meta.get("result") or {}
    kind = str(result.get("exc_type") or meta["status"])
    said = result.get("exc_message", "")
    message = "; ".join(map(str, said)) if isinstance(said, (list, tuple)) else str(said)
    passing = kind in PASSING
    return RowError(kind, message, retryable=passing, attempts=1 + max_retries if passing else 1)


def _lines(job: Job, chunk: Chunk, meta: dict[str, Any]) -> list[dict[str, Any]]:
    if meta["status"] != "SUCCESS":
        task = Predict if job.single else BatchPredict
        return failures(chunk, error_of(meta, task.max_retries))
    answer = meta["result"]
    if job.single:
        return lines(chunk, [answer])
    if not isinstance(answer, list):
        return failures(chunk, RowError("BadAnswer", f"the worker answered {type(answer).__name__}, not a list"))
    return lines(chunk, answer)
