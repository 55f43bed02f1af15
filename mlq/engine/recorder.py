"""Answering: completions go to Redis in one trip for each batch, and are tried again for as long as it takes."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from redis.exceptions import RedisError

from mlq.engine.ledger import Ledger
from mlq.engine.startup.result_probe import is_lasting
from mlq.protocol.claim import Claim, ClaimLost
from mlq.store.claims.claims import Claims, Ended
from mlq.store.claims.completion import BodyDue, Completed, Completion
from mlq.store.memory import MemoryAllowance

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 2.0
_GIVE_UP_S: Final = 600.0
"""After so long a batch is forgotten here. It is still claimed, so it is handed out and run again."""

_UNUSABLE_S: Final = 10.0
"""How long answers may be refused for a reason that no waiting changes: an operator may be about to correct it."""

_LASTING: Final = ("WRONGTYPE", "RESERVED")
"""Begin what complete.lua says of a successor that is to go to a key that is no queue: it always will."""

_BEHIND: Final = 4
MOST_BYTES: Final = 64 * 2**20
"""Batches, and bytes of messages and answers, that may wait to be recorded; then the worker waits, too: its memory is
bounded (docs/limits.md). A single batch that is larger waits alone."""

log = logging.getLogger("mlq.answering")


@dataclass(frozen=True)
class _End:
    """Nothing comes after this."""


class Recorder(threading.Thread):
    """Records how claims end. While Redis is away or full the answers wait here, in order.

    What it would refuse whenever it were asked waits for nothing: `refused` is told,
    a word and a sentence, and must end the claim.
    """

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
        super().__init__(name="mlq-answering", daemon=True)
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
        self._waiting: queue.Queue[Sequence[Completion] | _End] = queue.Queue(_BEHIND)
        self._unrecorded: deque[tuple[int, Sequence[Completion]]] = deque()
        self._bytes = 0
        self._room = threading.Condition()

    def record(self, completions: Sequence[Completion], *, behind: bool) -> None:
        """Record a batch: `behind` the caller's back while it goes on, or at once, when nothing else waits.

        At once is a thread's hop sooner; it is only done when no earlier batch would be overtaken.
        """
        if not completions:
            return
        if behind or self._waiting.unfinished_tasks or not self._recorded(completions):
            self._put(completions)

    def _put(self, completions: Sequence[Completion]) -> None:
        """Hand a batch to the thread, once there is room for it."""
        size = sum(c.size for c in completions)
        with self._room:
            self._room.wait_for(lambda: not self._bytes or self._bytes + size <= MOST_BYTES)
            self._bytes += size
        self._unrecorded.append((size, completions))
        self._waiting.put(completions)

    @property
    def unrecorded(self) -> frozenset[str]:
        """Ids of the claims whose end was handed in and is not recorded yet: nobody may run them again."""
        return frozenset(completion.claim.id for _, batch in list(self._unrecorded) for completion in batch)

    def record_first(self, completion: Completion) -> bool:
        """Record before anything else is done, however long that takes; False if the claim was gone by then."""
        pause = _FIRST_PAUSE_S
        while True:
            try:
                end = self._settled(completion, self._claims.complete(completion))
            except (RedisError, OSError) as exc:
                log.warning("an acknowledgement cannot be recorded, trying again until it can: %s", exc)
                self._sleep(pause)
                pause = min(_LONGEST_PAUSE_S, 2 * pause)
            else:
                self._ledger.drop([completion.claim])
                return isinstance(end, Completed)

    def run(self) -> None:
        """Record what comes, until `end`."""
        while True:
            batch = self._waiting.get()
            if isinstance(batch, _End):
                return
            self._insist(batch)
            size, _ = self._unrecorded.popleft()
            with self._room:
                self._bytes -= size  # as counted when it was handed in
                self._room.notify()
            del batch  # it may be large, and the next one may be long in coming
            self._waiting.task_done()

    def end(self, timeout: float) -> None:
        """Let everything be recorded that was handed in; what cannot be within `timeout` is run again elsewhere."""
        try:
            self._waiting.put(_End(), timeout=timeout)
        except queue.Full:  # Redis has been away for long: there is no use in waiting on
            return
        if self.is_alive():
            self.join(timeout)

    def _insist(self, batch: Sequence[Completion]) -> None:
        pause, give_up_at = _FIRST_PAUSE_S, self._clock() + _GIVE_UP_S
        while not self._recorded(batch):
            if self._is_unusable:  # still claimed: it goes back when this worker gives up its lease
                self._ledger.drop([c.claim for c in batch])
                return
            if self._clock() > give_up_at:
                log.error("%d answers could not be recorded in %g s: their tasks run again", len(batch), _GIVE_UP_S)
                self._ledger.drop([c.claim for c in batch])
                return
            self._sleep(pause)
            pause = min(_LONGEST_PAUSE_S, 2 * pause)

    def _recorded(self, batch: Sequence[Completion]) -> bool:
        """Try once. What was recorded by a try whose reply got lost comes back as Gone, which is as good."""
        brings_answers = any(c.answer is not None for c in batch)
        try:
            if brings_answers and self._overshoot.is_spent:
                self._overshoot.look()
                if self._overshoot.is_spent:
                    return False
            ends = self._claims.complete_all(batch)
            for completion, first in zip(batch, ends, strict=True):
                end = self._settled(completion, first)
                # Not if the claim is gone: the worker that has it now still needs what would be tidied away.
                for tidy in completion.afterwards if isinstance(end, Completed) else ():
                    tidy()
            if brings_answers:
                self._overshoot.look()  # afterwards: nobody waits for it
        except (RedisError, OSError) as exc:
            if str(exc).startswith(_LASTING):
                return self._sorted_out(batch, str(exc))
            if not self._away:
                log.warning("answers cannot be recorded, trying again until they can: %s", exc)
            self._away = True
            self._judge(exc)
            return False
        self._away, self._refused_since = False, None
        self._ledger.drop([c.claim for c in batch])
        return True

    def _settled(self, completion: Completion, end: Ended) -> Completed | ClaimLost:
        """Compose the bodies of the chords of which the completion holds the last part, until all of it is recorded.

        Which part is the last is known only when it is counted: others are counted at the same time.
        """
        while not isinstance(end, Completed | ClaimLost):
            part = end.part
            part.body = part.compose(part, completion) if isinstance(end, BodyDue) else None
            end = self._claims.complete(completion)
        return end

    def _judge(self, exc: Exception) -> None:
        """Let this worker end if answers are refused for good, because a right was lost, say."""
        if not is_lasting(exc):
            self._refused_since = None
            return
        if self._refused_since is None:
            self._refused_since = self._clock()
        if self._clock() - self._refused_since >= _UNUSABLE_S and not self._is_unusable:
            log.error("no answer can be kept any more, so this worker ends and its messages go back: %s", exc)
            self._is_unusable = True
            self._unusable(exc)

    def _sorted_out(self, batch: Sequence[Completion], why: str) -> bool:
        """Find the one of a batch that is refused: those around it are recorded, and it is handed on."""
        if len(batch) > 1:
            return not [c for c in batch if not self._recorded([c])]
        try:
            self._refused(batch[0].claim, "not-recorded", why)
        except (RedisError, OSError) as exc:
            log.warning("what cannot be recorded cannot be buried either: %s", exc)
            return False
        return True
