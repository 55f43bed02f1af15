"""Rejection: what becomes of claimed messages that cannot, must not or may not yet run on this worker.

Malformed messages go to the dead letters, messages whose time has not come to the delay list, and rows of cancelled
jobs are not computed. Messages of a task with a rate limit wait in this process.
"""

from __future__ import annotations

import logging
import math
import socket
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisError, ResponseError

from mlq.broker import key_types
from mlq.broker.server_time import ServerClock
from mlq.engine.ledger import Ledger
from mlq.engine.startup.unknown_tasks import UnknownTaskLog
from mlq.protocol import json_text
from mlq.protocol.job_result import JobChunkRef
from mlq.protocol.message import Claim, Malformed, Message, job_chunk_in, task_id_of
from mlq.protocol.result import Answer
from mlq.store.claims.claims import Claims, Side
from mlq.store.jobs import record
from mlq.store.messages.dead_letters import DeadLettered, DeadLetters
from mlq.store.messages.delays import LONGEST_S, Delays, Full

if TYPE_CHECKING:
    from redis import Redis

    from mlq.engine.micro_batches import ModelRequest

MakeAnswer = Callable[[str, dict[str, Any], JobChunkRef | None], Answer | None]
"""Makes a stored result of a task id, Celery's fields and the job of the task; None if results are stored elsewhere."""

_DAY_S: Final = 24 * 3600

_REPAIRED_IN_S: Final = 10.0
"""Seconds after which the delay list is read again, if its key has a wrong type."""

log = logging.getLogger("mlq.dead")


class Rejection:
    """Moves claims to the dead letters, to the delay list, or back to their queue.

    Each method raises redis.RedisError if it fails. The claim leaves the ledger in any case: Redis hands out again what
    it still files under this worker, so the message does not wait until the worker ends.
    """

    def __init__(
        self,
        redis: Redis,
        wid: str,
        claims: Claims,
        ledger: Ledger,
        make_answer: MakeAnswer,
        belongs_to_job: Callable[[JobChunkRef], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._wid = wid
        self._claims = claims
        self._ledger = ledger
        self._letters = DeadLetters(redis)
        self._delays = Delays(redis)
        self._make_answer = make_answer
        self.belongs_to_job = belongs_to_job
        self._clock = clock
        self._look_at = 0.0
        self.server_clock = ServerClock(redis)
        self._unknown = UnknownTaskLog()

    def dead_letter(self, malformed: Malformed) -> None:
        """Move a message to the dead letters; its client gets a FAILURE, if its id or its job can be read."""
        log.warning("dead letter %s: %s", malformed.claim.id, malformed.why, extra={"action": "message_dead_lettered"})
        self._dead_letter(malformed)

    def _dead_letter(self, malformed: Malformed) -> None:
        task_id, place, failure = malformed.task_id or "", job_chunk_in(malformed.claim.raw), None
        if task_id or place:
            failure = self._make_answer(task_id, failure_of(malformed), place)
        circumstances = {
            "reason": malformed.reason,
            "why": malformed.why,
            "worker": self._wid,
            "host": socket.gethostname(),
        }
        with self._dropped([malformed.claim]):
            moved = self._letters.dead_letter(self._wid, malformed.claim, circumstances, failure)
        if isinstance(moved, DeadLettered) and moved.dropped:
            log.warning(
                "%d of the oldest dead letters were dropped, because there are too many",
                moved.dropped,
                extra={"action": "dead_letters_dropped"},
            )

    def dead_letter_claim(self, claim: Claim, reason: str, why: str) -> None:
        """Dead-letter a message by its claim, without decoding it."""
        self.dead_letter(Malformed(claim, reason, why, task_id_of(claim.raw)))

    def dead_letter_unsendable(self, holding: Collection[str]) -> None:
        """Dead-letter a message that no reply of the server can hold; it would be claimed again without end."""
        found = self._claims.find_unsendable(holding)
        if found is None:
            return
        why = f"its {found.bytes:,} bytes are more than the server sends in a reply (client-output-buffer-limit normal)"
        self.dead_letter(Malformed(found.claim, "too-large", why, task_id_of(found.claim.raw)))

    def dead_letter_unknown(self, message: Message) -> None:
        """Dead-letter a message of a task that this worker does not know. Its client gets Celery's NotRegistered.

        `mlq dead retry` deletes that result again, after a worker that knows the task was started.
        """
        self._unknown.add(message.task)
        why = f"no task {message.task!r} is known here"
        self._dead_letter(Malformed(message.claim, "unknown-task", why, message.task_id, "NotRegistered"))

    def delay(self, message: Message, until: float, seconds: float) -> None:
        """Move a message to the delay list. Dead-letter it if it would wait too long, or if the list is full.

        Args:
            message: The message.
            until: Unix time of the server's clock, in seconds.
            seconds: The same time, from now.
        """
        if seconds > LONGEST_S:
            days = f"it may run in {seconds / _DAY_S:,.0f} days at the earliest, the limit is {LONGEST_S // _DAY_S}"
            self.dead_letter(Malformed(message.claim, "not-delayed", days, message.task_id))
            return
        with self._dropped([message.claim]):
            delayed = self._delays.delay(self._wid, message.claim, math.ceil(1000 * until))
            if isinstance(delayed, Full):
                full = (
                    f"{self._delays.most:,} messages or {self._delays.most_bytes:,} bytes wait for their time already"
                )
                self.dead_letter(Malformed(message.claim, "not-delayed", full, message.task_id))
                return
        self._look_at = min(self._look_at, self._clock() + seconds)

    def give_back(self, claims: Sequence[Claim], to: Side = "head") -> None:
        """Put claims back on their queues, by default at the head, where the next worker claims them."""
        with self._dropped(claims):
            self._claims.release_many(claims, to)

    @contextmanager
    def _dropped(self, claims: Collection[Claim]) -> Iterator[None]:
        try:
            yield
        finally:
            self._ledger.drop(claims)

    def move_due(self) -> None:
        """Put a portion of the delayed messages that are due back on their queues, if this worker knows of one.

        The worker that delayed a message moves it in time; the sweeper moves messages that a busy or dead worker left.
        Each call moves one portion, because a million messages may be due at once, and the worker claims in between.
        """
        if self._clock() < self._look_at:
            return
        try:
            next_in_ms = self._delays.move_due().next_in_ms
        except ResponseError as exc:
            if not key_types.is_wrong_type(exc):
                raise
            log.error(  # noqa: TRY400 (a traceback would not help: the key has a wrong type)
                "delayed messages have to wait: %s",
                key_types.explain(self._redis, exc),
                extra={"action": "delays_unreadable"},
            )
            self._look_at = self._clock() + _REPAIRED_IN_S
            return
        self._look_at = self._clock() + (math.inf if next_in_ms is None else next_in_ms / 1000)

    def next_due_s(self) -> float:
        """Return the seconds until the next known message is due."""
        return max(0.001, self._look_at - self._clock())


def failure_of(malformed: Malformed) -> dict[str, Any]:
    """Return Celery's result fields of a task that failed without having run."""
    text = f"{malformed.reason}: {malformed.why}"
    result = {"exc_type": malformed.kind, "exc_message": [text], "exc_module": "celery.exceptions"}
    return {"status": "FAILURE", "result": result, "traceback": None}


def encode(meta: dict[str, Any]) -> bytes:
    """Encode the value of a result key."""
    return json_text.dumps(meta)


_CANCELLED_EVERY_S: Final = 0.1
"""Seconds between two reads of the list; rows of a cancelled job may be computed for this long."""


class CancelledJobs:
    """The cancelled jobs, asked for each chunk and before each forward; reads their list in Redis now and then."""

    def __init__(self, redis: Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._clock = clock
        self._jobs: frozenset[str] = frozenset()
        self._look_at = 0.0

    def are_unwanted(self, rows: ModelRequest) -> bool:
        """Return whether the rows of a message belong to a cancelled job; False while Redis is away."""
        try:
            return self.has_job_of(rows.message.place)
        except (RedisError, OSError):
            return False

    def has_job_of(self, place: JobChunkRef | None) -> bool:
        """Return whether the job of a chunk was cancelled. Raises redis.RedisError."""
        if place is None:
            return False
        if self._clock() >= self._look_at:
            self._jobs = record.cancelled_jobs(self._redis)
            self._look_at = self._clock() + _CANCELLED_EVERY_S
        return place.job in self._jobs


_MOST_WAITING: Final = 4
"""Most messages that wait here while the worker still claims; a stock worker prefetches as many."""

_RATE_EVERY_S: Final = 1.0
"""Most seconds between two looks: a limit may be lifted at any time."""


class RateLimits:
    """The messages of each task with a rate limit, in their order, until they may run. Only the main thread may use it.

    Celery would put them into a bucket in memory, and rely on the prefetch count to deliver only a few. Claims have no
    prefetch count, so a worker would claim all waiting messages of such a task. Also, early-ack tasks would be
    acknowledged while they are still queued in the bucket.

    Args:
        wait_s: Returns the seconds that a task has to wait from now on; 0.0 if it may run.
        run: Runs a message.
        alive: Called with each look, as a sign of life: a worker that is full does not ask for work.
    """

    def __init__(
        self, wait_s: Callable[[str], float], run: Callable[[Message], None], alive: Callable[[], None]
    ) -> None:
        self._wait_s = wait_s
        self._run = run
        self._alive = alive
        self._lines: dict[str, deque[Message]] = {}
        self._hub: Any = None

    def use_timers(self, hub: Any) -> None:
        """Use the timers of this event loop. Celery drops them with each lost connection."""
        self._hub = hub
        for task in self._lines:
            self._look_later(task)

    @property
    def is_full(self) -> bool:
        """Whether no more messages should be claimed, because as many as a stock worker prefetches wait here."""
        return sum(map(len, self._lines.values())) >= _MOST_WAITING

    def keep_if_limited(self, message: Message) -> bool:
        """Keep a message whose task has to wait, or has waiting messages already; False if it may run."""
        line = self._lines.get(message.task)
        if line is not None:
            line.append(message)
            return True
        if not self._wait_s(message.task):
            return False
        self._lines[message.task] = deque([message])
        self._look_later(message.task)
        return True

    def _look_later(self, task: str) -> None:
        self._hub.call_later(min(self._wait_s(task), _RATE_EVERY_S), self._look, task)

    def _look(self, task: str) -> None:
        """Run the first waiting message of a task, if the rate limit allows."""
        self._alive()
        line = self._lines.get(task)
        if not line:  # a new connection added a second timer
            return
        first = None if self._wait_s(task) else line.popleft()
        if line:
            self._look_later(task)
        else:
            del self._lines[task]
        if first is not None:
            self._run(first)
