"""Producers for rq and dramatiq, which name the code that answers and do not import it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import ResultTimeout
from dramatiq.results.backends import RedisBackend
from rq import Queue
from rq.job import Job
from rq.results import Result

from benchmarks.client import PATIENCE_S
from benchmarks.process import Process
from benchmarks.server import DRAMATIQ, RQ, Server

QUEUE: Final = "realtime"
_RQ_JOB: Final = "benchmarks.rivals.rq_jobs.predict"
_ACTOR: Final = "predict"
_TOGETHER: Final = 500


class RqBacklog:
    """Jobs for a frozen worker."""

    def __init__(self, last: Job, worker: Process) -> None:
        self._last = last
        self._worker = worker

    def release(self) -> None:
        """Let the worker continue."""
        self._worker.thaw()

    def wait(self, timeout_s: float = PATIENCE_S) -> bool:
        """Wait for the last answer like rq's users."""
        return _succeeded(self._last.latest_result(timeout=int(timeout_s)))


class RqClient:
    """A client that enqueues jobs by name."""

    def __init__(self, server: Server, worker: Process) -> None:
        self._redis = server.redis(RQ)
        self._queue = Queue(QUEUE, connection=self._redis)
        self._worker = worker

    def ask(self, row: Any) -> Any:
        """Submit one row and wait for its answer."""
        result = self._queue.enqueue(_RQ_JOB, row).latest_result(timeout=int(PATIENCE_S))
        if result is None or not _succeeded(result):
            raise RuntimeError(f"rq gave no answer: {result and result.exc_string}")
        return result.return_value

    def fill(self, rows: Sequence[Any]) -> RqBacklog:
        """Publish single rows to a worker that is frozen in the meantime."""
        self._worker.freeze()
        prepared = [Queue.prepare_data(_RQ_JOB, (row,)) for row in rows]
        parts = [prepared[i : i + _TOGETHER] for i in range(0, len(prepared), _TOGETHER)]
        jobs = [job for part in parts for job in self._queue.enqueue_many(part)]
        return RqBacklog(jobs[-1], self._worker)

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()


class DramatiqBacklog:
    """Messages for a frozen worker."""

    def __init__(self, last: dramatiq.Message[Any], results: RedisBackend, worker: Process) -> None:
        self._last = last
        self._results = results
        self._worker = worker

    def release(self) -> None:
        """Let the worker continue."""
        self._worker.thaw()

    def wait(self, timeout_s: float = PATIENCE_S) -> bool:
        """Wait for the last answer like dramatiq's users."""
        try:
            self._last.get_result(backend=self._results, block=True, timeout=int(timeout_s * 1000))
        except ResultTimeout:
            return False
        return True


class DramatiqClient:
    """A client that enqueues messages for an actor by its name."""

    def __init__(self, server: Server, worker: Process) -> None:
        url = server.redis_url(DRAMATIQ)
        self._broker = RedisBroker(url=url)  # type: ignore[no-untyped-call]
        self._broker.declare_queue(QUEUE)
        self._results = RedisBackend(url=url)
        self._worker = worker

    def ask(self, row: Any) -> Any:
        """Submit one row and wait for its answer."""
        return self._send(row).get_result(backend=self._results, block=True, timeout=int(PATIENCE_S * 1000))

    def fill(self, rows: Sequence[Any]) -> DramatiqBacklog:
        """Publish single rows to a worker that is frozen in the meantime."""
        self._worker.freeze()
        return DramatiqBacklog([self._send(row) for row in rows][-1], self._results, self._worker)

    def close(self) -> None:
        """Close the connections."""
        self._broker.close()

    def _send(self, row: Any) -> dramatiq.Message[Any]:
        message = dramatiq.Message[Any](queue_name=QUEUE, actor_name=_ACTOR, args=(row,), kwargs={}, options={})
        return self._broker.enqueue(message)


def _succeeded(result: Result | None) -> bool:
    return result is not None and result.type is Result.Type.SUCCESSFUL
