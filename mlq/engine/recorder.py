"""The recorder: it records the completions of each batch in Redis in one request, and retries until that works."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from redis.exceptions import RedisError

from mlq.broker.script import MemoryAllowance
from mlq.engine.ledger import Ledger
from mlq.engine.startup.result_probe import is_lasting
from mlq.ipc.stoppable_thread import StoppableThread
from mlq.protocol.message import Claim, ClaimLost
from mlq.store.claims.claims import Claims, Ended
from mlq.store.claims.completion import BodyDue, Completed, Completion

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 2.0
_GIVE_UP_S: Final = 600.0
"""Seconds after which a batch is dropped here. Its messages are still claimed, so they are handed out and run again."""

_UNUSABLE_S: Final = 10.0
"""Seconds that Redis may refuse results for a reason that waiting does not change: an operator may correct it."""

_LASTING: Final = ("WRONGTYPE", "RESERVED")
"""Errors of complete.lua that begin so are permanent: a successor is addressed to a key that is not a queue."""

_MOST_BATCHES: Final = 4
"""Batches that may wait to be recorded; then the worker waits, too."""

MOST_BYTES: Final = 64 * 2**20
"""Bytes of messages and results that may wait to be recorded; then the worker waits, too, because its memory is bounded
(docs/limits.md). A single batch that is larger waits alone."""

log = logging.getLogger("mlq.recorder")


class Recorder(StoppableThread):
    """Records how claims end, in a thread of its own. While Redis is away or full, completions wait here in order."""

    def __init__(
        self,
        claims: Claims,
        ledger: Ledger,
        refused: Callable[[Claim, str, str], None],
        overshoot: MemoryAllowance,
        *,
        unusable: Callable[[Exception], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Create the thread.

        Args:
            claims: The claims of this worker.
            ledger: Where recorded claims are dropped.
            refused: Called with a claim whose completion Redis always refuses, a reason and a sentence; it must
                end the claim.
            overshoot: How far results may exceed a full memory.
            unusable: Called once if Redis refuses all results for a lasting reason.
            clock: Returns seconds.
            sleep: Waits for seconds.
        """
        super().__init__("mlq-recorder")
        self._claims = claims
        self._ledger = ledger
        self._refused = refused
        self._overshoot = overshoot
        self._clock = clock
        self._sleep = sleep
        self._away = False
        self._unusable = unusable
        self._refused_since: float | None = None
        self._is_unusable = False
        #: An empty batch wakes the thread at the end.
        self._waiting: queue.Queue[Sequence[Completion]] = queue.Queue(_MOST_BATCHES)
        self._unrecorded: deque[tuple[int, Sequence[Completion]]] = deque()
        self._bytes = 0
        self._room = threading.Condition()

    def record(self, completions: Sequence[Completion], *, behind: bool) -> None:
        """Record a batch: in the recorder's thread with `behind`, otherwise in the caller's, if nothing else waits.

        The caller's thread saves the switch to another one; it is only used when no earlier batch is overtaken.
        """
        if not completions:
            return
        if behind or self._waiting.unfinished_tasks or not self._recorded(completions):
            self._put(completions)

    def _put(self, completions: Sequence[Completion]) -> None:
        """Hand a batch to the thread, as soon as there is room for it."""
        size = sum(c.size for c in completions)
        with self._room:
            self._room.wait_for(lambda: not self._bytes or self._bytes + size <= MOST_BYTES)
            self._bytes += size
        self._unrecorded.append((size, completions))
        self._waiting.put(completions)

    @property
    def unrecorded(self) -> frozenset[str]:
        """Ids of the claims whose end was handed in and is not recorded yet: they must not run again."""
        return frozenset(completion.claim.id for _, batch in list(self._unrecorded) for completion in batch)

    def record_first(self, completion: Completion) -> bool:
        """Record a completion before its task runs, and wait as long as that takes; False if the claim was lost."""
        pause = _FIRST_PAUSE_S
        while True:
            try:
                end = self._settled(completion, self._claims.complete(completion))
            except (RedisError, OSError) as exc:
                log.warning(
                    "an acknowledgement cannot be recorded, trying again until it can: %s",
                    exc,
                    extra={"action": "acknowledgement_failed"},
                )
                self._sleep(pause)
                pause = min(_LONGEST_PAUSE_S, 2 * pause)
            else:
                self._ledger.drop([completion.claim])
                return isinstance(end, Completed)

    def run(self) -> None:
        """Record batches in their order, until the end is asked for and all of them are recorded.

        Tasks whose results are not recorded within the timeout of `end` run again.
        """
        while not (self.is_ending and self._waiting.empty()):
            batch = self._waiting.get()
            if batch:
                self._record_until_done(batch)
                size, _ = self._unrecorded.popleft()
                with self._room:
                    self._bytes -= size  # as counted when it was handed in
                    self._room.notify()
            del batch  # it may be large, and the next one may come much later
            self._waiting.task_done()

    def _interrupt_wait(self) -> None:
        with suppress(queue.Full):  # then the thread does not wait for a batch
            self._waiting.put_nowait(())

    def _record_until_done(self, batch: Sequence[Completion]) -> None:
        pause, give_up_at = _FIRST_PAUSE_S, self._clock() + _GIVE_UP_S
        while not self._recorded(batch):
            if self._is_unusable:  # its claims go back when this worker gives up its lease
                self._ledger.drop([c.claim for c in batch])
                return
            if self._clock() > give_up_at:
                log.error(
                    "%d results could not be recorded in %g s: their tasks run again",
                    len(batch),
                    _GIVE_UP_S,
                    extra={"action": "results_dropped"},
                )
                self._ledger.drop([c.claim for c in batch])
                return
            self._sleep(pause)
            pause = min(_LONGEST_PAUSE_S, 2 * pause)

    def _recorded(self, batch: Sequence[Completion]) -> bool:
        """Try once to record a batch. ClaimLost is as good: an earlier try may have worked, and its reply was lost."""
        brings_answers = any(c.answer is not None for c in batch)
        try:
            if brings_answers and self._overshoot.is_spent:
                self._overshoot.look()
                if self._overshoot.is_spent:
                    return False
            ends = self._claims.complete_all(batch)
            for completion, first in zip(batch, ends, strict=True):
                end = self._settled(completion, first)
                # Not if the claim was lost: the worker that holds it now still needs what `tidy` would delete.
                for tidy in completion.afterwards if isinstance(end, Completed) else ():
                    tidy()
            if brings_answers:
                self._overshoot.look()  # only now, when no client waits for it
        except (RedisError, OSError) as exc:
            if str(exc).startswith(_LASTING):
                return self._refuse_one(batch, str(exc))
            if not self._away:
                log.warning(
                    "results cannot be recorded, trying again until they can: %s",
                    exc,
                    extra={"action": "recording_failed"},
                )
            self._away = True
            self._end_if_lasting(exc)
            return False
        self._away, self._refused_since = False, None
        self._ledger.drop([c.claim for c in batch])
        return True

    def _settled(self, completion: Completion, end: Ended) -> Completed | ClaimLost:
        """Compose the bodies of the chords that the completion ends, until all of it is recorded.

        Which part of a chord is the last is known only when it is counted, because other workers count parts, too.
        """
        while not isinstance(end, Completed | ClaimLost):
            part = end.part
            part.body = part.compose(part, completion) if isinstance(end, BodyDue) else None
            end = self._claims.complete(completion)
        return end

    def _end_if_lasting(self, exc: Exception) -> None:
        """Let this worker end if Redis refuses results permanently, for example because a right was revoked."""
        if not is_lasting(exc):
            self._refused_since = None
            return
        if self._refused_since is None:
            self._refused_since = self._clock()
        if self._clock() - self._refused_since >= _UNUSABLE_S and not self._is_unusable:
            log.error(
                "results cannot be stored any more, so this worker ends and its messages go back: %s",
                exc,
                extra={"action": "results_lost"},
            )
            self._is_unusable = True
            self._unusable(exc)

    def _refuse_one(self, batch: Sequence[Completion], why: str) -> bool:
        """Find the completion that Redis refuses: record the others one by one, and call `refused` with its claim."""
        if len(batch) > 1:
            return not [c for c in batch if not self._recorded([c])]
        try:
            self._refused(batch[0].claim, "not-recorded", why)
        except (RedisError, OSError) as exc:
            log.warning(
                "a completion that Redis refuses cannot be dead-lettered either: %s",
                exc,
                extra={"action": "dead_letter_failed"},
            )
            return False
        return True
