"""Sender: sends the chunks of a job while there is room for them, and records each, so that none is sent twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from redis.exceptions import ResponseError

from mlq.broker.retries import Retry
from mlq.broker.script import Call as ScriptCall
from mlq.broker.script import Script, Word, is_full
from mlq.jobs.chunk import Chunk, ChunkFeed, placed, refuse
from mlq.jobs.errors import JobTaken
from mlq.jobs.flow_control import Pressure
from mlq.jobs.row import RowError
from mlq.jobs.send.chunk_message import ChunkMessage, encode_body, message_of
from mlq.protocol import keys
from mlq.protocol.keys import queue_key
from mlq.store.jobs.record import RECORD_KEPT_S, Job

if TYPE_CHECKING:
    from celery import Celery
    from redis import Redis

HasRoom: TypeAlias = Callable[[int, int], bool]
"""Called with the number of chunks that are made but not sent yet, and their total size in bytes.

Returns True if one more chunk may be made.
"""

_PIPELINE: Final = 16
"""Chunks that are sent in one request."""

_PIPELINE_BYTES: Final = 4 * 2**20
"""Bytes after which a request takes no more chunks."""

_send: Final = Script("jobs/send")


class EarlierRefused(Exception):
    """The server has refused an earlier chunk: the chunks from there on must be sent again, in order."""


class ChunkSender(Protocol):
    """Sends chunk messages, and records each in the job's record."""

    def send(self, messages: Sequence[ChunkMessage]) -> None:
        """Send messages in order, except those that were sent before.

        Raises redis.RedisError, EarlierRefused, JobTaken.
        """


class ScriptSender:
    """The ChunkSender for the case that one server holds the job's record and the queues.

    One script sends and records a chunk in one step.
    """

    def __init__(self, store: Redis, job: Job, sender_token: str) -> None:
        self._store = store
        self._job = job
        self._sender_token = sender_token

    def send(self, messages: Sequence[ChunkMessage]) -> None:
        """Send messages as ChunkSender says."""
        replies = _send.batch(self._store, [_script_call(self._job, self._sender_token, m, m.raw) for m in messages])
        if b"TAKEN" in replies:
            raise JobTaken(id=self._job.id)
        if b"EARLY" in replies:
            raise EarlierRefused


class CelerySender:
    """The ChunkSender for the case that the job's record and the queues are on two servers.

    It records a chunk first, and then publishes it with Celery.
    If this process dies in between, the record names a chunk without a message. The next sender of the job sends the
    rows of the last recorded chunk again, as another chunk, and drops that record.

    Args:
        store: The server of the records.
        job: The job.
        sender_token: The token of the sending process.
        app: The app that publishes.
        prepare: Called with the name of a queue before its first message.
    """

    def __init__(self, store: Redis, job: Job, sender_token: str, app: Celery, prepare: Callable[[str], None]) -> None:
        self._store = store
        self._job = job
        self._sender_token = sender_token
        self._app = app
        self._prepare = prepare
        self._published = -1
        self._prepared: set[str] = set()

    def send(self, messages: Sequence[ChunkMessage]) -> None:
        """Send messages as ChunkSender says. A repeated call does not publish again what an earlier call published."""
        for message in messages:
            if message.chunk.number <= self._published:
                continue
            keyed, words = _script_call(self._job, self._sender_token, message, b"")
            if _send(self._store, keyed, words) == b"TAKEN":
                raise JobTaken(id=self._job.id)
            if message.task is not None:
                self._publish(message.task, message)
            self._published = message.chunk.number

    def _publish(self, task: str, message: ChunkMessage) -> None:
        from kombu.exceptions import OperationalError

        if message.queue not in self._prepared:
            self._prepare(message.queue)
            self._prepared.add(message.queue)
        app: Any = self._app
        task_message = app.amqp.as_task_v2(message.id, task, message.args, message.kwargs, argsrepr=message.shown)
        options: dict[str, Any] = {} if message.priority is None else {"priority": message.priority}
        # Do not declare the queue: another client may have declared it with other arguments, and the server refuses a
        # second declaration that differs. Celery sends to the default exchange, which leads to the queue of that name.
        options |= {"queue": message.queue, "declare": [], "headers": message.headers()}
        try:
            with app.producer_or_acquire() as producer:
                app.amqp.send_task_message(producer, task, task_message, **options)
        except (OperationalError, *app.connection_for_write().recoverable_connection_errors) as exc:
            raise ConnectionError(str(exc)) from exc  # Retry takes it for an outage, and repeats the call


def _script_call(job: Job, sender_token: str, message: ChunkMessage, raw: bytes) -> ScriptCall:
    """Return the keys and the arguments of send.lua."""
    chunk = message.chunk
    queue = queue_key(message.queue, message.priority or 0) if message.task is not None else job.queue
    words: list[Word] = [
        sender_token,
        chunk.number,
        chunk.encode(),
        message.taken,
        len(chunk.errors),
        RECORD_KEPT_S,
        raw,
    ]
    return [keys.job(job.id), keys.chunks(job.id), queue], words


class RowSender:
    """Sends the rows of a job.

    Args:
        job: The job.
        feed: Its chunks.
        chunk_sender: Sends their messages.
        pressure: Says whether the broker's memory is nearly full; nothing is sent while it is.
        retry: Repeats a call while the broker is away.
        now: Returns the time of sending, in Unix seconds by the server's clock.
        priority: The priority of the messages.
        keep_results: True if workers store the results of the chunks for the job; False if there is no result backend.
    """

    def __init__(  # noqa: PLR0913 (each is an independent part of sending)
        self,
        job: Job,
        feed: ChunkFeed,
        chunk_sender: ChunkSender,
        pressure: Pressure,
        retry: Retry,
        now: Callable[[], float],
        *,
        priority: int | None,
        keep_results: bool,
    ) -> None:
        self._job = job
        self._feed = feed
        self._chunk_sender = chunk_sender
        self._pressure = pressure
        self._retry = retry
        self._now = now
        self._priority = priority
        self._keep_results = keep_results
        self._outbox: list[ChunkMessage] = []
        self._is_stopped = False
        self._has_sent_all = False
        self.has_read_all = False

    @property
    def is_done(self) -> bool:
        """Whether nothing more will be sent: all was sent, or `stop` was called."""
        return self._is_stopped or self._has_sent_all

    @property
    def taken(self) -> int:
        """Rows of the input that were read."""
        return self._feed.taken

    def stop(self) -> None:
        """Send nothing more. Chunks that a full server has refused are dropped: they were never sent."""
        self._is_stopped = True

    def step(self, rows: int, has_room: HasRoom, sent: Callable[[Chunk, int], None]) -> bool:
        """Send the chunks for which there is room, and return whether any was sent.

        Args:
            rows: Rows per chunk.
            has_room: Asked before each chunk.
            sent: Called with each chunk that was sent, and the bytes of its message.

        Raises JobTaken. Raises NotJson if the input is a JSON array from a pipe, and the array is broken or ends too
        early.
        """
        if self.is_done or self._retry(self._pressure.is_high):
            return False
        if self._is_stopped:  # while the broker was away
            return False
        if not self._outbox:
            self._fill(rows, has_room)
        if not self._outbox:
            return False
        try:
            self._retry(lambda: self._chunk_sender.send(self._outbox))
        except EarlierRefused:
            return False
        except ResponseError as exc:
            if not is_full(exc):
                raise
            self._pressure.refused()
            return False
        # Report the chunks only after the server has accepted them. `stop` drops chunks that the server has refused,
        # and the caller would wait forever for the result of such a chunk.
        for message in self._outbox:
            sent(message.chunk, len(message.raw))
        self._outbox = []
        self._has_sent_all = self.has_read_all
        return True

    def _fill(self, rows: int, has_room: HasRoom) -> None:
        size = 0
        while has_room(len(self._outbox), size) and len(self._outbox) < _PIPELINE and size < _PIPELINE_BYTES:
            chunk = self._feed.next(rows)
            if chunk is None:
                self.has_read_all = True
                self._has_sent_all = not self._outbox
                return
            message = self._message(chunk)
            size += len(message.raw)
            self._outbox.append(message)

    def _message(self, chunk: Chunk) -> ChunkMessage:
        """Return the message of a chunk; rows that JSON cannot hold become rows with errors."""
        try:
            message = self._message_of(chunk)
        except TypeError:
            message = self._message_of(refuse(chunk, dict(self._unwritable(chunk))))
        message.chunk.inputs = []  # the message holds them
        return message

    def _message_of(self, chunk: Chunk) -> ChunkMessage:
        return message_of(
            self._job,
            chunk,
            taken=self._feed.taken,
            priority=self._priority,
            sent_at=self._now(),
            keep_result=self._keep_results,
        )

    @staticmethod
    def _unwritable(chunk: Chunk) -> list[tuple[int, RowError]]:
        """Find the rows that JSON cannot hold."""
        found = []
        for place, given in placed(chunk):
            try:
                encode_body([[given]], {})  # at the depth that it has in a message, because the depth is limited
            except TypeError as exc:
                found.append((place, RowError("TypeError", str(exc))))
        return found
