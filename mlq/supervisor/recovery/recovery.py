"""Recovery: what a dead worker held is given back at once, by the supervisor that saw it die."""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final

from mlq.errors import MlqError
from mlq.store.claims.leases import Leases, Reaped
from mlq.store.messages.dead_letters import DeadLetters

if TYPE_CHECKING:
    from redis import Redis

    from mlq.supervisor.recovery.death import Death
    from mlq.supervisor.recovery.lost_results import LostResults

_AGAIN_S: Final = 0.5
"""Between two tries: sooner than other hosts may take the dead worker's lease for lost, and so forget the blame."""

log = logging.getLogger("mlq.recovery")


class Recovery(threading.Thread):
    """Fences dead workers and releases their claims, in a thread: Redis may be away, and the fleet must not wait."""

    def __init__(self, open_broker: Callable[[], AbstractContextManager[Redis]], obituaries: LostResults) -> None:
        super().__init__(name="mlq-recovery", daemon=True)
        self._open_broker = open_broker
        self._obituaries = obituaries
        self._deaths: queue.Queue[Death | None] = queue.Queue()
        self._owed: deque[Death] = deque()
        self._ended = False
        self._all_answered = True

    def died(self, death: Death) -> None:
        """Recover what this worker held, soon."""
        self._deaths.put(death)

    def end(self, timeout: float) -> None:
        """Finish what was handed in, if it can be finished in time."""
        self._deaths.put(None)
        if self.is_alive():
            self.join(timeout)

    def run(self) -> None:
        """Answer what another supervisor could not any more; then recover death after death, until `end`.

        What fails is tried again for as long as it takes; at the end once more.
        """
        is_done = self._try()
        while not self._ended:
            self._listen(self._pause_s(is_done=is_done))
            is_done = self._try(was_done=is_done)

    def _pause_s(self, *, is_done: bool) -> float | None:
        """Say how long to wait for a death: not at all while letters are unanswered, a moment before another try."""
        if not is_done:
            return _AGAIN_S
        return None if self._all_answered else 0.0

    def _listen(self, seconds: float | None) -> None:
        try:
            death = self._deaths.get(timeout=seconds)
        except queue.Empty:
            return
        if death is None:
            self._ended = True
        else:
            self._owed.append(death)

    def _try(self, *, was_done: bool = True) -> bool:
        """Do all that is owed; False if it has to be tried again."""
        try:
            with self._open_broker() as redis:
                while self._owed:
                    self._recover(redis, self._owed[0])
                    self._owed.popleft()
                self._all_answered = self._obituaries.of_letters(DeadLetters(redis))
        except MlqError as exc:
            if was_done:
                held = ", ".join(death.wid for death in self._owed) or "dead workers"
                log.warning("what %s held is given back later: %s", held, exc)
            return False
        return True

    def _recover(self, redis: Redis, death: Death) -> None:
        """Give back: to the tail after a crash, so that a message which kills does not meet the next worker first."""
        crash = death.crash
        to_tail = crash is not None and death.overrun is None
        reaped = Leases(redis).reap(death.wid, to="tail" if to_tail else "head", crash=crash)
        if isinstance(reaped, Reaped) and reaped.released:
            log.warning("%s died with %d messages, which are queued again", death.wid, reaped.released)
        if isinstance(reaped, Reaped) and reaped.buried:
            log.error("dead letter %s: %s", reaped.buried, death.verdict, extra={"action": "buried"})
        self._obituaries.of_acked(death)
