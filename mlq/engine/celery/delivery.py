"""Delivery: the engine hands messages to Celery here, and composes the results that Celery would store."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final

from celery import signals
from celery.worker import state

from mlq.engine import micro_batches
from mlq.engine.celery.backend import ClaimBackend, FilingBackend
from mlq.engine.ledger import Ledger
from mlq.engine.micro_batches import BatchOutcome, ModelRequest, RowsUnwanted
from mlq.engine.rejection import encode
from mlq.ipc.shared_pages import NoticeReader, RunningTask
from mlq.protocol import job_result, json_text
from mlq.protocol.job_result import JobChunkRef
from mlq.protocol.keys import queue_of
from mlq.protocol.message import Message
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
    """Celery's side of a worker. `transport` and `consumer` are set anew with each connection of Celery."""

    def __init__(
        self, app: Celery, ledger: Ledger, counted: Callable[[str, str], None], fingerprint: str | None = None
    ) -> None:
        """Deliver to the tasks of this app.

        Receivers of signals that are connected before this call are mlq's, so they do not count as the user's.

        Args:
            app: The app.
            ledger: Where the claims of late-ack tasks are opened.
            counted: Called with name and queue of each task that Celery does not run.
            fingerprint: The fingerprint of the model.
        """
        self._app = app
        self._ledger = ledger
        self._counted = counted
        self._fingerprint = fingerprint
        self._listeners = _count_listeners()
        self.transport: Any = None
        self.consumer: Any = None

    def watch(self, consumer: Any, notices: NoticeReader | None) -> None:
        """Ask this consumer from now on whether a monitor listens; never answer a control message twice."""
        self.consumer = consumer
        consumer.on_decode_error = _undecodable  # for the next connections; the next line is for this one
        consumer.task_consumer.on_decode_error = _undecodable
        node = getattr(getattr(consumer, "pidbox", None), "node", None)
        if node is None or notices is None:
            return
        reply = node.reply

        def reply_once(data: Any, exchange: str, routing_key: str, ticket: str | None, **kwargs: Any) -> None:
            """Skip replies that the supervisor has sent while this worker was busy."""
            if not notices.is_answered(ticket):
                reply(data, exchange, routing_key, ticket, **kwargs)

        node.reply = reply_once

    def apply_revocations(self, notices: NoticeReader | None) -> None:
        """Read which tasks were revoked while this worker was busy, before it runs its claims."""
        revoked = notices.revoked() if notices is not None else None
        if revoked is not None:
            state.revoked.update(revoked)

    @property
    def knows(self) -> Callable[[str], bool]:
        """Whether a task of this name is registered here."""
        return self._app.tasks.__contains__

    def wait_s(self, task: str) -> float:
        """Return the seconds that the rate limit of a task lets it wait from now on; 0.0 if it may run or has none."""
        bucket = self._bucket(task)
        return float(bucket.expected_time()) if bucket is not None else 0.0

    def is_limited(self, task: str) -> bool:
        """Whether a task has a rate limit, its own or by `celery control rate_limit`."""
        return self._bucket(task) is not None

    def _bucket(self, task: str) -> Any:
        if self.consumer is None or self.consumer.disable_rate_limits:
            return None
        return self.consumer.task_buckets.get(task)

    @property
    def revoked(self) -> Collection[str]:
        """Ids of revoked tasks."""
        return state.revoked

    @property
    def keeps_answers(self) -> bool:
        """Whether results are on the broker's server, so that they can be recorded with the end of the claim."""
        return isinstance(self._app.backend, ClaimBackend)

    def is_watched(self) -> bool:
        """Whether more than the result is wanted: by a monitor of task events, or by a user's signal receiver."""
        groups = getattr(getattr(self.consumer, "event_dispatcher", None), "groups", None) or ()
        return "task" in groups or _count_listeners() != self._listeners

    def make_answer(self, task_id: str, meta: dict[str, Any], place: JobChunkRef | None = None) -> Answer | None:
        """Return the result of a task with its key; None if the results are not on the broker's server.

        In that case the end of a job's task is stored at once, because the client that collects the job waits for it.
        """
        backend = self._app.backend
        if place is not None and self.belongs_to_job(place):
            end = job_result.chunk_result(place, meta["status"], meta["result"])
            if isinstance(backend, ClaimBackend):
                return job_result.answer_of(place, end, backend.db)
            if isinstance(backend, FilingBackend):
                backend.file(place, meta["status"], meta["result"])
            return None
        if not isinstance(backend, ClaimBackend) or not task_id:
            return None
        return backend.answer(task_id, encode({"children": [], **meta, "task_id": task_id}))

    def belongs_to_job(self, place: JobChunkRef) -> bool:
        """Return whether the message that names this place is a chunk of that job. Raises redis.RedisError."""
        backend = self._app.backend
        return not isinstance(backend, FilingBackend) or backend.belongs_to_job(place)

    def end_plainly(self, outcome: BatchOutcome[ModelRequest]) -> Completion | None:
        """End and count a message whose sender wants nothing but the result; None if only Celery can end it."""
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
        result = micro_batches.plain_result(outcome)
        if message.place is None or result is micro_batches.NO_ANSWER:
            payload = micro_batches.encode_success(message, result)
            return Completion(message.claim, self.make_payload_answer(message, payload)) if payload else None
        place = message.place
        end = job_result.chunk_result(place, "SUCCESS", result, seconds=outcome.seconds, model=self._fingerprint)
        backend: Any = self._app.backend
        return Completion(message.claim, job_result.answer_of(place, end, backend.db))

    def revoke(self, message: Message) -> Completion:
        """Return the end of a message whose job was cancelled."""
        meta = {"status": "REVOKED", "result": {"exc_type": "Cancelled", "exc_message": "the job was cancelled"}}
        return Completion(message.claim, self.make_answer(message.task_id, meta, message.place))

    def make_payload_answer(self, message: Message, payload: bytes) -> Answer | None:
        """Return an encoded result with its key; None if its sender wants no result."""
        backend = self._app.backend
        if message.headers.get("ignore_result") or not isinstance(backend, ClaimBackend):
            return None
        return backend.answer(message.task_id, payload)

    def deliver(self, message: Message) -> None:
        """Let Celery run a message, with its strategy, tracer and acknowledgement."""
        task = self._app.tasks[message.task]
        if task.acks_late:
            self._ledger.open(message.claim, message.task_id)
        # A header may hold an integer of any length, and a user's task can read it.
        raw = message.claim.raw
        payload = json_text.loads(raw) if json_text.may_hold_long_integer(raw) else message.payload
        payload["properties"]["delivery_tag"] = message.claim.id
        payload["headers"]["eta"] = None  # it is due; with an eta Celery would hold it in memory for a moment
        self.transport._deliver(payload, self.queue_of(message))  # noqa: SLF001 (kombu's channels call it, too)

    @staticmethod
    def queue_of(message: Message) -> str:
        """Return the name of the queue that a message was claimed from."""
        return queue_of(message.claim.queue_key)

    def running(self, message: Message) -> RunningTask:
        """Return the report entry of a message that is about to run."""
        return RunningTask(message.task_id, message.task, self.queue_of(message), time.time())

    def acks_early(self, message: Message) -> bool:
        """Whether the task of a message is acknowledged before it runs, so that it runs at most once."""
        return not self._app.tasks[message.task].acks_late

    def count(self, message: Message) -> None:
        """Count a task that Celery did not run, also in the totals of `celery inspect stats`."""
        state.total_count[message.task] += 1
        state.all_total_count[0] += 1
        self._counted(message.task, self.queue_of(message))


def _undecodable(message: Any, exc: Exception) -> None:
    """Dead-letter a message that mlq can decode and Celery cannot. Celery would acknowledge it, and so lose it."""
    log.warning("a message cannot be decoded: %s", type(exc).__name__, extra={"action": "message_undecodable"})
    message.reject(requeue=False)


def _count_listeners() -> int:
    return sum(len(signal.receivers or ()) for signal in _SIGNALS)
