"""Recovery: what a dead worker held is given back at once, by the supervisor that saw it die."""

from __future__ import annotations

import logging
import queue
import socket
import threading
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from mlq.broker import filing
from mlq.broker.answer import Answer, store
from mlq.broker.dead_letters import DeadLetter, DeadLetters
from mlq.broker.leases import Crash, Leases, Reaped
from mlq.consumer import envelope
from mlq.errors import MlqError, NoResults, UnreadableResults

if TYPE_CHECKING:
    from redis import Redis

BLAMELESS: Final = frozenset({0, 3, 4, 70, 75, 76})
"""Exit codes that no message is to blame for: drained, misconfigured, no broker, device lost, recycled, fenced."""

_OVERRUN: Final = "hard-time-limit"

MAX_CRASHES: Final = 3
"""Workers that a message may take down before it is a dead letter."""

log = logging.getLogger("mlq.recovery")


@dataclass(frozen=True)
class Overrun:
    """A hard time limit (seconds) that had passed, and the claims that it was for."""

    limit_s: float
    claims: Collection[str]


@dataclass(frozen=True)
class Death:
    """A worker's end: who it was, how it ended, whether we had asked it to, and which time limit had passed."""

    wid: str
    code: int
    asked: bool
    overrun: Overrun | None = None

    @property
    def crash(self) -> Crash | None:
        """Who is to blame: what the worker held, unless it ended as it should or as we wanted."""
        if self.asked or self.code in BLAMELESS:
            return None
        about = {"worker": self.wid, "host": socket.gethostname()}
        if self.overrun is not None:
            why = f"it took longer than {self.overrun.limit_s:g} s"
            about |= {"reason": _OVERRUN, "why": why, "limit_s": str(self.overrun.limit_s)}
            # Alone it is to blame for certain, and would take as long once more. In company it is only a suspect.
            return Crash(1, about, self.overrun.claims)
        ended = f"exit code {self.code}" if self.code >= 0 else f"signal {-self.code}"
        return Crash(MAX_CRASHES, {**about, "reason": "crash", "why": f"its worker ended with {ended}"})


class Recovery(threading.Thread):
    """Fences dead workers and releases their claims, in a thread: Redis may be away, and the fleet must not wait.

    Then their leases run out, and whoever looks next releases what they held. `answer_key` gives the key of a
    task's result and the seconds to keep it; `open_results` opens the store of results, which is the broker's own
    database if `answers_here`.
    """

    def __init__(
        self,
        open_broker: Callable[[], AbstractContextManager[Redis]],
        answer_key: Callable[[str], tuple[str, int]],
        open_results: Callable[[], AbstractContextManager[Redis]],
        *,
        answers_here: bool = True,
    ) -> None:
        super().__init__(name="mlq-recovery", daemon=True)
        self._open_broker = open_broker
        self._answer_key = answer_key
        self._open_results = open_results
        self._answers_here = answers_here
        self._deaths: queue.Queue[Death | None] = queue.Queue()

    def died(self, death: Death) -> None:
        """Recover what this worker held, soon."""
        self._deaths.put(death)

    def end(self, timeout: float) -> None:
        """Finish what was handed in, if it can be finished in time."""
        self._deaths.put(None)
        if self.is_alive():
            self.join(timeout)

    def run(self) -> None:
        """Answer what another supervisor could not any more; then recover death after death, until `end`."""
        with suppress(MlqError), self._open_broker() as redis:
            self._answer_all(DeadLetters(redis))
        while (death := self._deaths.get()) is not None:
            try:
                with self._open_broker() as redis:
                    self._recover(redis, death)
            except MlqError as exc:
                log.warning("what %s held is given back when its lease runs out: %s", death.wid, exc)

    def _recover(self, redis: Redis, death: Death) -> None:
        """Give back: to the tail after a crash, so that a message which kills does not meet the next worker first."""
        crash = death.crash
        to_tail = crash is not None and death.overrun is None
        reaped = Leases(redis).reap(death.wid, to="tail" if to_tail else "head", crash=crash)
        if isinstance(reaped, Reaped) and reaped.released:
            log.warning("%s died with %d messages, which are queued again", death.wid, reaped.released)
        if isinstance(reaped, Reaped) and reaped.buried:
            log.error("dead letter %s: %s", reaped.buried, _why(death), extra={"action": "buried"})
            self._answer_all(DeadLetters(redis))

    def _answer_all(self, letters: DeadLetters) -> None:
        """Answer all that reapers have buried. A letter is buried and noted in one step, so none is ever forgotten."""
        for letter_id in letters.unanswered():
            letter = letters.read(letter_id)
            if letter is not None:  # retried or dropped meanwhile
                try:
                    self._answer(letters, letter)
                except (NoResults, UnreadableResults) as exc:  # nobody waits there, or it cannot be written from here
                    log.warning("nobody is told of dead letter %s: %s", letter_id, exc.message)
            letters.settle(letter_id)

    def _answer(self, letters: DeadLetters, letter: DeadLetter) -> None:
        """Tell whoever waits for a buried task that it will not come."""
        overran = letter.reason == _OVERRUN
        kind = "TimeLimitExceeded" if overran else "WorkerLostError"
        gone = f"its worker died {MAX_CRASHES} times while it ran; dead letter {letter.id}"
        told = [float(letter.circumstances["limit_s"])] if overran else [gone]
        result = {"exc_type": kind, "exc_message": told, "exc_module": "billiard.exceptions"}
        place = envelope.place_in(letter.raw)
        if place is not None:
            with self._open_results() as results:
                filing.file(results, filing.answer_of(place, filing.end_of(place, "FAILURE", result)))
            return
        task_id = envelope.task_id_of(letter.raw)
        if task_id is None:
            return
        key, keep_s = self._answer_key(task_id)
        meta: dict[str, Any] = {
            "status": "FAILURE",
            "result": result,
            "traceback": None,
            "children": [],
            "task_id": task_id,
        }
        answer = Answer(key, orjson.dumps(meta), keep_s)
        if self._answers_here:
            letters.answer(letter.id, answer)
            return
        with self._open_results() as results:
            store(results, answer)


def _why(death: Death) -> str:
    if death.overrun is not None:
        return f"it took longer than {death.overrun.limit_s:g} s"
    return f"its worker died {MAX_CRASHES} times while it ran"
