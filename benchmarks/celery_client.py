"""A stock Celery producer, for mlq and the plain setup alike: it knows only task names, queues and addresses."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from redis import Redis

from benchmarks.client import PATIENCE_S
from benchmarks.server import BACKSTAGE, Server
from chaos.stock_client import stock_client

URGENT: Final = "realtime"
BULK: Final = "batch"
_TOGETHER: Final = 500
_LOOK_S: Final = 0.25


@dataclass(frozen=True)
class Tasks:
    """The names of the tasks for one row and for a chunk of rows."""

    one: str
    chunk: str


@dataclass(frozen=True)
class Databases:
    """The databases of a contender's queues and results."""

    queues: int
    results: int


class CeleryBacklog:
    """Messages of a stock producer in a queue that is renamed to its worker's queue when the clock starts."""

    def __init__(self, ids: Sequence[str], queue: str, server: Server, at: Databases) -> None:
        self.ids = ids
        self._queue = queue
        self._at = at
        self._backstage = server.redis(BACKSTAGE)
        self._queues = server.redis(at.queues)
        self._results = server.redis(at.results)

    def release(self) -> None:
        """Rename the queue: one command, which wakes the waiting worker."""
        if not self._backstage.move(self._queue, self._at.queues):
            raise RuntimeError(f"queue {self._queue} was not empty when its backlog came")

    def wait(self, timeout_s: float = PATIENCE_S) -> bool:
        """Wait for the publication of the last answer like a stock client; then check all answers."""
        deadline = time.monotonic() + timeout_s
        last = _key(self.ids[-1])
        with self._results.pubsub() as published:  # type: ignore[no-untyped-call]
            published.subscribe(last)
            while not self._ready(last):
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                published.get_message(timeout=min(_LOOK_S, left))
        return True

    def check(self) -> None:
        """Check that every message was answered with success, and delete the answers."""
        keys = [_key(i) for i in self.ids]
        metas = [json.loads(value) if value else {} for value in self._results.mget(keys)]
        failed = [meta for meta in metas if meta.get("status") != "SUCCESS"]
        if failed:
            raise RuntimeError(f"{len(failed)} of {len(metas)} messages were not answered: {failed[0]}")
        self._results.unlink(*keys)

    def waiting(self) -> int:
        """Count the messages that no worker has claimed."""
        return int(self._queues.llen(self._queue))

    def drop(self) -> None:
        """Delete the messages that no worker has claimed."""
        self._backstage.unlink(self._queue)
        self._queues.unlink(self._queue)

    def _ready(self, key: str) -> bool:
        value = self._results.get(key)
        # A plain worker writes STARTED to the same key.
        return isinstance(value, bytes) and json.loads(value)["status"] in {"SUCCESS", "FAILURE", "REVOKED"}


class CeleryClient:
    """A client that sends single rows with a stock app, and fills queues in pipelined batches with the same code."""

    def __init__(self, server: Server, at: Databases, tasks: Tasks) -> None:
        self._server = server
        self._at = at
        self._tasks = tasks
        self._open = ExitStack()
        self._app = self._open.enter_context(stock_client(server.celery_url(at.queues), server.celery_url(at.results)))
        # Without a backend it does not subscribe: 10,000 subscriptions would be the producer's cost, not a worker's.
        self._publisher = self._open.enter_context(stock_client(server.celery_url(BACKSTAGE), "disabled://"))
        self._results: Redis = server.redis(at.results)

    def ask(self, row: Any) -> Any:
        """Submit one row to the urgent queue and wait for its answer."""
        return self._app.send_task(self._tasks.one, (row,), queue=URGENT).get(timeout=PATIENCE_S)

    def ask_chunk(self, rows: list[Any]) -> Any:
        """Submit a chunk to the bulk queue and wait for its answer."""
        return self._app.send_task(self._tasks.chunk, (rows,), queue=BULK).get(timeout=PATIENCE_S)

    def fill(self, rows: Sequence[Any]) -> CeleryBacklog:
        """Publish single rows for the urgent queue."""
        return self._fill(self._tasks.one, rows, URGENT)

    def fill_chunks(self, chunks: Sequence[list[Any]]) -> CeleryBacklog:
        """Publish chunks of rows for the bulk queue."""
        return self._fill(self._tasks.chunk, chunks, BULK)

    def close(self) -> None:
        """Close both apps."""
        self._open.close()

    def _fill(self, task: str, payloads: Sequence[Any], queue: str) -> CeleryBacklog:
        send: Any = self._publisher.send_task
        with self._publisher.producer_or_acquire() as producer, producer.batch(_TOGETHER):
            ids = [send(task, (payload,), queue=queue, producer=producer).id for payload in payloads]
        return CeleryBacklog(ids, queue, self._server, self._at)


def _key(task_id: str) -> str:
    return f"celery-task-meta-{task_id}"
