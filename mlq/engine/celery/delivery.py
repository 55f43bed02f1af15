"""Delivery: what the engine asks of Celery: run a message as it runs any, and say what it would store of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final

from celery import signals
from celery.worker import state

from mlq.engine import batchable
from mlq.engine.batchable import ModelRequest
from mlq.engine.celery.backend import ClaimBackend, FilingBackend
from mlq.engine.ledger import Ledger
from mlq.engine.rejection import encode
from mlq.engine.strategy import BatchOutcome, RowsUnwanted
from mlq.ipc.supervisor_notices import NoticeReader
from mlq.ipc.worker_report import RunningTask
from mlq.protocol import exact_json, job_result
from mlq.protocol.job_result import JobChunkRef
from mlq.protocol.message import Message
from mlq.protocol.priorities import queue_of
from mlq.protocol.result import Answer
from mlq.store.claims.completion import Completion

if TYPE_CHECKING:
    from celery import Celery

log = logging.getLogger("mlq.engine")

_SIGNALS: Final = (
    signals.task_received,
    signals.task_prerun,
    signals.task_postrun,
    signals.task_success,
    signals.before_task_publish,
)


class Delivery:
    """Celery's side of a worker. `transport` and `consumer` are set with every connection of Celery's."""

    def __init__(self, ledger: Ledger, fingerprint: str | None = None) -> None:
        self._ledger = ledger
        self._fingerprint = fingerprint
        self.transport: Any = None
        self.consumer: Any = None

    def begin(self, app: Celery, counted: Callable[[str, str], None]) -> None:
        """Deliver to this app's tasks; call `counted` with name and queue of each task that Celery never sees.

        Receivers of signals that are connected by now are our own, and say nothing of a user's wishes.
        """
        self._app = app
        self._counted = counted
        self._listeners = _count_listeners()

    def watch(self, consumer: Any, notices: NoticeReader | None) -> None:
        """Ask this consumer of Celery's from now on whether anybody listens; answer no control message twice."""
        self.consumer = consumer
        consumer.on_decode_error = _undecodable  # of the next connections, and of this one
        consumer.task_consumer.on_decode_error = _undecodable
        node = getattr(getattr(consumer, "pidbox", None), "node", None)
        if node is None or notices is None:
            return
        reply = node.reply

        def reply_once(data: Any, exchange: str, routing_key: str, ticket: str | None, **kwargs: Any) -> None:
            """Stay silent where the supervisor has answered: this worker was busy then."""
            if not notices.is_answered(ticket):
                reply(data, exchange, routing_key, ticket, **kwargs)

        node.reply = reply_once

    def heed(self, notices: NoticeReader | None) -> None:
        """Learn what was revoked while this worker was busy, before it runs what it has claimed."""
        revoked = notices.revoked() if notices is not None else None
        if revoked is not None:
            state.revoked.update(revoked)

    @property
    def knows(self) -> Callable[[str], bool]:
        """Whether a task of this name is registered here."""
        return self._app.tasks.__contains__

    def wait_s(self, task: str) -> float:
        """Tell how many seconds a task's rate limit lets it wait from now on; 0.0 if it may run, or has none."""
        bucket = self._bucket(task)
        return float(bucket.expected_time()) if bucket is not None else 0.0

    def is_limited(self, task: str) -> bool:
        """Whether a task has a rate limit: of its own, or by `celery control rate_limit`."""
        return self._bucket(task) is not None

    def _bucket(self, task: str) -> Any:
        if self.consumer is None or self.consumer.disable_rate_limits:
            return None
        return self.consumer.task_buckets.get(task)

    @property
    def revoked(self) -> Collection[str]:
        """Ids of tasks that somebody revoked."""
        return state.revoked

    @property
    def keeps_answers(self) -> bool:
        """Whether results are on the broker's server, so that they can be recorded with the claim's end."""
        return isinstance(self._app.backend, ClaimBackend)

    def is_watched(self) -> bool:
        """Whether anybody asked for more than the result: task events, or a signal's receiver of the user's own."""
        groups = getattr(getattr(self.consumer, "event_dispatcher", None), "groups", None) or ()
        return "task" in groups or _count_listeners() != self._listeners

    def make_answer(self, task_id: str, meta: dict[str, Any], place: JobChunkRef | None = None) -> Answer | None:
        """Write what the result store keeps of a task; None where it is not the broker's server.

        The end of a job's task is then filed at once, by itself: whoever collects the job must learn of it.
        """
        backend = self._app.backend
        if place is not None and self.vouches(place):
            end = job_result.end_of(place, meta["status"], meta["result"])
            if isinstance(backend, ClaimBackend):
                return job_result.answer_of(place, end, backend.db)
            if isinstance(backend, FilingBackend):
                backend.file(place, meta["status"], meta["result"])
            return None
        if not isinstance(backend, ClaimBackend) or not task_id:
            return None
        return backend.answer(task_id, encode({"children": [], **meta, "task_id": task_id}))

    def vouches(self, place: JobChunkRef) -> bool:
        """Tell whether the message that names this place is a chunk of that job. Raises redis.RedisError."""
        backend = self._app.backend
        return not isinstance(backend, FilingBackend) or backend.vouches(place)

    def end_plainly(self, outcome: BatchOutcome[ModelRequest]) -> Completion | None:
        """End and count a message whose answers are all that its sender asked for; None if only Celery can end it."""
        completion = self._plainly(outcome)
        if completion is not None:
            self.count(outcome.message.message)
        return completion

    def _plainly(self, outcome: BatchOutcome[ModelRequest]) -> Completion | None:
        message = outcome.message.message
        if message.place is not None and isinstance(outcome.failure, RowsUnwanted):
            return self.revoke(message)
        if not outcome.message.is_plain or not self.keeps_answers or self.is_watched():
            return None
        result = batchable.answer(outcome)
        if message.place is None or result is batchable.NO_ANSWER:
            payload = batchable.success(message, result)
            return Completion(message.claim, self.make_payload_answer(message, payload)) if payload else None
        place = message.place
        end = job_result.end_of(place, "SUCCESS", result, seconds=outcome.seconds, model=self._fingerprint)
        backend: Any = self._app.backend
        return Completion(message.claim, job_result.answer_of(place, end, backend.db))

    def revoke(self, message: Message) -> Completion:
        """End a message of a job that was cancelled."""
        meta = {"status": "REVOKED", "result": {"exc_type": "Cancelled", "exc_message": "the job was cancelled"}}
        return Completion(message.claim, self.make_answer(message.task_id, meta, message.place))

    def make_payload_answer(self, message: Message, payload: bytes) -> Answer | None:
        """Say where a payload goes that is a whole result already; None if its sender wants none."""
        backend = self._app.backend
        if message.headers.get("ignore_result") or not isinstance(backend, ClaimBackend):
            return None
        return backend.answer(message.task_id, payload)

    def deliver(self, message: Message) -> None:
        """Let Celery run a message: its strategy, its tracer, its acknowledgement."""
        task = self._app.tasks[message.task]
        if task.acks_late:
            self._ledger.open(message.claim, message.task_id)
        # A header may hold a number of any length; tasks of the user's own can read it.
        raw = message.claim.raw
        payload = exact_json.loads(raw) if exact_json.has_long_number(raw) else message.payload
        payload["properties"]["delivery_tag"] = message.claim.id
        payload["headers"]["eta"] = None  # its time has come; Celery would keep it in memory for a moment
        self.transport._deliver(payload, self.queue_of(message))  # noqa: SLF001 (what kombu's own channels call)

    @staticmethod
    def queue_of(message: Message) -> str:
        """Name the queue that a message was claimed from."""
        return queue_of(message.claim.queue_key)

    def running(self, message: Message) -> RunningTask:
        """Describe a message that is about to run."""
        return RunningTask(message.task_id, message.task, self.queue_of(message), time.time())

    def acks_early(self, message: Message) -> bool:
        """Whether a message's task wants to be acknowledged before it runs: then it runs once at the most."""
        return not self._app.tasks[message.task].acks_late

    def count(self, message: Message) -> None:
        """Count a task that Celery never saw, also in the totals that `celery inspect stats` shows."""
        state.total_count[message.task] += 1
        state.all_total_count[0] += 1
        self._counted(message.task, self.queue_of(message))


def _undecodable(message: Any, exc: Exception) -> None:
    """Bury what we could read and Celery cannot. Celery itself would acknowledge it, and nobody would ever know."""
    log.warning("a message cannot be decoded: %s", type(exc).__name__)
    message.reject(requeue=False)


def _count_listeners() -> int:
    return sum(len(signal.receivers or ()) for signal in _SIGNALS)
