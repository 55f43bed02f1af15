"""Posting: sends chunks as messages and records them, each once, even if a call is repeated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from mlq.broker.script import Call as ScriptCall
from mlq.broker.script import Script, Word
from mlq.jobs.chunk import Chunk
from mlq.jobs.errors import JobTaken
from mlq.jobs.send.chunk_message import ChunkCall, raw
from mlq.protocol import keys
from mlq.protocol.keys import queue_key
from mlq.store.jobs.record import RECORDED_S, Job

if TYPE_CHECKING:
    from celery import Celery
    from redis import Redis

_send: Final = Script("jobs/send")


@dataclass(frozen=True)
class ChunkMessage:
    """A chunk with its message (None where no row of it can be sent). `taken`: rows of the input up to its end."""

    chunk: Chunk
    call: ChunkCall | None
    message: bytes
    taken: int


class Early(Exception):
    """An earlier chunk was refused: the chunks from there on must be sent again, in order."""


class ChunkSender(Protocol):
    """Sends chunk messages in order."""

    def send(self, parcels: Sequence[ChunkMessage]) -> None:
        """Send and record chunks, but none that was sent before. Raises redis.RedisError, Early, JobTaken."""


class ScriptPost:
    """Sender for records and queues on one server: a chunk is sent and recorded in one step."""

    def __init__(self, store: Redis, job: Job, sender: str) -> None:
        self._store = store
        self._job = job
        self._sender = sender

    def send(self, parcels: Sequence[ChunkMessage]) -> None:
        """See Post."""
        said = _send.batch(self._store, map(self._call, parcels))
        if b"TAKEN" in said:
            raise JobTaken(id=self._job.id)
        if b"EARLY" in said:
            raise Early

    def _call(self, parcel: ChunkMessage) -> ScriptCall:
        return record_call(self._job, self._sender, parcel, parcel.message)


class CeleryPost:
    """Where they are on two: recorded, then published.

    A death in between leaves a record without a message: whoever goes on sends the last chunk's rows again, as another
    chunk, and nobody waits for the old one.
    """

    def __init__(
        self, store: Redis, job: Job, sender: str, app: Celery, prepare: Callable[[str], None], *, answered: bool
    ) -> None:
        self._store = store
        self._job = job
        self._sender = sender
        self._app = app
        self._prepare = prepare
        self._answered = answered
        self._published = -1
        self._prepared: set[str] = set()

    def send(self, parcels: Sequence[ChunkMessage]) -> None:
        """See Post. What this process has published is not published again when the store fails further on."""
        for parcel in parcels:
            if parcel.chunk.number <= self._published:
                continue
            keyed, words = record_call(self._job, self._sender, parcel, b"")
            if _send(self._store, keyed, words) == b"TAKEN":
                raise JobTaken(id=self._job.id)
            if parcel.call is not None:
                self._publish(parcel.call)
            self._published = parcel.chunk.number

    def _publish(self, call: ChunkCall) -> None:
        from kombu.exceptions import OperationalError

        if call.queue not in self._prepared:
            self._prepare(call.queue)
            self._prepared.add(call.queue)
        app: Any = self._app
        message = app.amqp.as_task_v2(call.id, call.task, call.args, call.kwargs, argsrepr=call.shown)
        options: dict[str, Any] = {} if call.priority is None else {"priority": call.priority}
        headers = call.headers(answered=self._answered)
        # Publishing declares nothing: it cannot contradict the arguments with which another client has declared the
        # queue. Celery sends to the default exchange, which leads to the queue of that name.
        options |= {"queue": call.queue, "declare": [], "headers": headers}
        try:
            with app.producer_or_acquire() as producer:
                app.amqp.send_task_message(producer, call.task, message, **options)
        except (OperationalError, *app.connection_for_write().recoverable_connection_errors) as exc:
            raise ConnectionError(str(exc)) from exc  # which the sender takes for an outage, and tries again


def parcel_of(chunk: Chunk, call: ChunkCall | None, taken: int, *, answered: bool) -> ChunkMessage:
    """Return a chunk with its message. Raises TypeError for inputs that JSON cannot hold."""
    return ChunkMessage(chunk, call, b"" if call is None else raw(call, answered=answered), taken)


def record_call(job: Job, sender: str, parcel: ChunkMessage, message: bytes) -> ScriptCall:
    """Return the keys and the arguments of send.lua."""
    chunk, call = parcel.chunk, parcel.call
    queue = queue_key(call.queue, call.priority or 0) if call else job.queue
    words: list[Word] = [sender, chunk.number, chunk.encode(), parcel.taken, len(chunk.errors), RECORDED_S, message]
    return [keys.job(job.id), keys.chunks(job.id), queue], words
