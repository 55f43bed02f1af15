"""Recovery: the thread that gives back the claims of dead workers at once, before their leases run out."""

from __future__ import annotations

import logging
import queue
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final

from mlq.errors import MlqError
from mlq.ipc.threads import StoppableThread
from mlq.store.claims.leases import Leases, Reaped
from mlq.store.messages.dead_letters import DeadLetters

if TYPE_CHECKING:
    from redis import Redis

    from mlq.supervisor.recovery.death import Death
    from mlq.supervisor.recovery.lost_results import LostResults

_AGAIN_S: Final = 0.5
"""Seconds between two attempts. It is less than the lease: if another host reaped the lease first, the blame for the
crash would be lost."""

log = logging.getLogger("mlq.recovery")


class Recovery(StoppableThread):
    """Fences dead workers and gives back their claims. A thread, because the event loop must not wait for Redis."""

    def __init__(self, open_broker: Callable[[], AbstractContextManager[Redis]], lost_results: LostResults) -> None:
        super().__init__("mlq-recovery")
        self._open_broker = open_broker
        self._lost_results = lost_results
        #: None wakes the thread at the end. It comes after the deaths that have to be recovered before.
        self._deaths: queue.Queue[Death | None] = queue.Queue()
        self._owed: deque[Death] = deque()
        self._all_answered = True

    def died(self, death: Death) -> None:
        """Recover the claims of this worker soon; return at once."""
        self._deaths.put(death)

    def _interrupt_wait(self) -> None:
        self._deaths.put(None)

    def run(self) -> None:
        """Recover one death after another until the end is asked for; retry without a limit, at the end once more.

        The first attempt needs no death: another supervisor may have left unanswered dead letters.
        """
        is_done, is_last = self._try(), False
        while not is_last:
            is_last = self._take(self._pause_s(is_done=is_done))
            is_done = self._try(was_done=is_done)

    def _pause_s(self, *, is_done: bool) -> float | None:
        """Return the seconds to wait for the next death: 0 while dead letters are unanswered, None: without a limit."""
        if not is_done:
            return _AGAIN_S
        return None if self._all_answered else 0.0

    def _take(self, seconds: float | None) -> bool:
        """Wait for the next death; return True if the end came instead, so no death follows."""
        try:
            death = self._deaths.get(timeout=seconds)
        except queue.Empty:
            return False
        if death is not None:
            self._owed.append(death)
        return death is None

    def _try(self, *, was_done: bool = True) -> bool:
        """Recover all owed deaths, and answer dead letters; return False if this has to be tried again."""
        try:
            with self._open_broker() as redis:
                while self._owed:
                    self._recover(redis, self._owed[0])
                    self._owed.popleft()
                self._all_answered = self._lost_results.of_letters(DeadLetters(redis))
        except MlqError as exc:
            if was_done:
                workers = ", ".join(death.wid for death in self._owed) or "dead workers"
                log.warning(
                    "the claims of %s are given back later: %s", workers, exc, extra={"action": "recovery_postponed"}
                )
            return False
        return True

    def _recover(self, redis: Redis, death: Death) -> None:
        """Give the claims back: after a crash to the tail of the queue, so that a message which kills workers waits."""
        crash = death.crash
        to_tail = crash is not None and death.overrun is None
        reaped = Leases(redis).reap(death.wid, to="tail" if to_tail else "head", crash=crash)
        if isinstance(reaped, Reaped) and reaped.released:
            log.warning(
                "%s died with %d messages, which are queued again",
                death.wid,
                reaped.released,
                extra={"action": "claims_given_back"},
            )
        if isinstance(reaped, Reaped) and reaped.dead_lettered:
            log.error(
                "dead letter %s: %s", reaped.dead_lettered, death.verdict, extra={"action": "message_dead_lettered"}
            )
        self._lost_results.of_acked(death)
