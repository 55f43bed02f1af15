"""Setting aside: claimed messages that cannot or must not run here and now."""

from __future__ import annotations

import logging
import math
import socket
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from mlq.broker import key_types
from mlq.broker.server_time import ServerClock
from mlq.engine.ledger import Ledger
from mlq.engine.startup.unknown_tasks import UnknownTaskLog
from mlq.protocol import exact_json
from mlq.protocol.claim import Claim
from mlq.protocol.job_result import JobChunkRef
from mlq.protocol.message import Malformed, Message, place_in, task_id_of
from mlq.protocol.result import Answer
from mlq.store.claims.claims import Claims, Side
from mlq.store.messages.dead_letters import DeadLettered, DeadLetters
from mlq.store.messages.delays import LONGEST_S, Delays, Full

if TYPE_CHECKING:
    from redis import Redis

MakeAnswer = Callable[[str, dict[str, Any], JobChunkRef | None], Answer | None]
"""Makes what is kept of a task (its id, Celery's fields, the job that it is of); None where nothing is kept here."""

_DAY_S: Final = 24 * 3600

_REPAIRED_IN_S: Final = 10.0
"""After so long the delay list is looked at again, where its key is of another type."""

log = logging.getLogger("mlq.dead")


class Rejection:
    """Moves claims to where they belong instead: the dead letters, the delay list, their queue.

    Each method raises redis.RedisError when it cannot. The claim leaves the ledger in any case: what is still filed
    under this worker is then handed out again, instead of being held by nobody for as long as the worker lives.
    """

    def __init__(
        self,
        redis: Redis,
        wid: str,
        claims: Claims,
        ledger: Ledger,
        make_answer: MakeAnswer,
        vouches: Callable[[JobChunkRef], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._wid = wid
        self._claims = claims
        self._ledger = ledger
        self._letters = DeadLetters(redis)
        self._delays = Delays(redis)
        self._make_answer = make_answer
        self.vouches = vouches
        self._clock = clock
        self._look_at = 0.0
        self.server_clock = ServerClock(redis)
        self._unknown = UnknownTaskLog()

    def dead_letter(self, malformed: Malformed) -> None:
        """Move a message to the dead letters; where its id or its job can be read, its client gets a FAILURE."""
        log.warning("dead letter %s: %s", malformed.claim.id, malformed.why, extra={"action": "buried"})
        self._dead_letter(malformed)

    def _dead_letter(self, malformed: Malformed) -> None:
        task_id, place, failure = malformed.task_id or "", place_in(malformed.claim.raw), None
        if task_id or place:
            failure = self._make_answer(task_id, failure_of(malformed), place)
        circumstances = {
            "reason": malformed.reason,
            "why": malformed.why,
            "worker": self._wid,
            "host": socket.gethostname(),
        }
        with self._dropped([malformed.claim]):
            buried = self._letters.dead_letter(self._wid, malformed.claim, circumstances, failure)
        if isinstance(buried, DeadLettered) and buried.dropped:
            log.warning("%d of the oldest dead letters were dropped: there are too many", buried.dropped)

    def dead_letter_claim(self, claim: Claim, reason: str, why: str) -> None:
        """Bury a message of which no more than its claim is at hand."""
        self.dead_letter(Malformed(claim, reason, why, task_id_of(claim.raw)))

    def dead_letter_unsendable(self, holding: Collection[str]) -> None:
        """Bury the message that no reply of the server can hold; it would be asked for without end."""
        found = self._claims.find_unsendable(holding)
        if found is None:
            return
        why = f"its {found.bytes:,} bytes are more than the server sends in a reply (client-output-buffer-limit normal)"
        self.dead_letter(Malformed(found.claim, "too-large", why, task_id_of(found.claim.raw)))

    def dead_letter_unknown(self, message: Message) -> None:
        """Bury a message whose task is unknown here. Its client gets Celery's own NotRegistered.

        `mlq dead retry` takes that answer away again, once a worker is there that knows the task.
        """
        self._unknown.add(message.task)
        why = f"no task {message.task!r} is known here"
        self._dead_letter(Malformed(message.claim, "unknown-task", why, message.task_id, "NotRegistered"))

    def delay(self, message: Message, until: float, seconds: float) -> None:
        """Move a message to the delay list until a time of the server's clock, which is so many seconds from now.

        What would wait for too long, or finds the list full, becomes a dead letter, and its client gets a FAILURE.
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
        """Put claims back on their queues: at the head, where the next worker takes them, unless told otherwise."""
        with self._dropped(claims):
            self._claims.release_many(claims, to)

    @contextmanager
    def _dropped(self, claims: Collection[Claim]) -> Iterator[None]:
        try:
            yield
        finally:
            self._ledger.drop(claims)

    def move_due(self) -> None:
        """Put a portion of the delayed messages back whose time has come, if any did of which this worker knows.

        The worker that delays a message looks in time; the sweeper moves what a busy or dead worker leaves behind.
        One portion a call: a million may be due at once, and this worker claims in between.
        """
        if self._clock() < self._look_at:
            return
        try:
            next_in_ms = self._delays.move_due().next_in_ms
        except ResponseError as exc:
            if not key_types.is_wrong_type(exc):
                raise
            log.error("delayed messages have to wait: %s", key_types.explain(self._redis, exc))  # noqa: TRY400 (no fault of ours)
            self._look_at = self._clock() + _REPAIRED_IN_S
            return
        self._look_at = self._clock() + (math.inf if next_in_ms is None else next_in_ms / 1000)

    def next_due_s(self) -> float:
        """Give the seconds until `move_due` is worth calling."""
        return max(0.001, self._look_at - self._clock())


def failure_of(malformed: Malformed) -> dict[str, Any]:
    """Make Celery's fields of a task that failed without having run."""
    said = f"{malformed.reason}: {malformed.why}"
    result = {"exc_type": malformed.kind, "exc_message": [said], "exc_module": "celery.exceptions"}
    return {"status": "FAILURE", "result": result, "traceback": None}


def encode(meta: dict[str, Any]) -> bytes:
    """Write the value of a result key."""
    return exact_json.dumps(meta)
