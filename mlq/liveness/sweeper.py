"""The sweeper: a thread that does the work which the lease thread finds, so that no renewal is delayed."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from mlq.broker import key_types
from mlq.broker.retries import Outage
from mlq.ipc.threads import StoppableThread
from mlq.security.escaping import escaped_line
from mlq.store.claims.leases import Leases, Reaped
from mlq.store.messages.delays import Delays

if TYPE_CHECKING:
    from redis import Redis

_MOST_LINES: Final = 100
"""Most log lines that wait to be written; a terminal that is stopped reads none."""

log = logging.getLogger("mlq.lease")


class Sweeper(StoppableThread):
    """Reaps expired leases, moves delayed messages that are due, and writes the log lines of the lease thread.

    Any of this may take long: a dead worker may have held 10,000 messages, a million messages may be due at once, and a
    log line waits until a process reads stderr. Each request to the server is a bounded portion, because a long script
    would delay the renewals of all workers there.
    """

    def __init__(self, redis: Redis, leases: Leases) -> None:
        super().__init__("mlq-sweeper")
        self._leases = leases
        self._delays = Delays(redis)
        self._explain = partial(key_types.explain, redis)
        self._changed = threading.Condition()
        self._expired: dict[str, int] = {}
        self._is_due = False
        self._lines: deque[tuple[int, str, str]] = deque(maxlen=_MOST_LINES)
        self._outage = Outage(self._report)  # without pauses: after a failure, it waits for the next work

    def hand_over(self, expired: Mapping[str, int], *, is_due: bool) -> None:
        """Add expired leases with their deadlines, and whether a delayed message is due.

        Work that fails while Redis is away is dropped here; the lease thread finds it again.
        """
        if not expired and not is_due:
            return
        with self._changed:
            self._expired.update(expired)
            self._is_due = self._is_due or is_due
            self._changed.notify()

    def write(self, level: int, line: str, action: str) -> None:
        """Write a log line from this thread, because writing it may wait for a reader of stderr."""
        with self._changed:
            self._lines.append((level, line, action))
            self._changed.notify()

    def _interrupt_wait(self) -> None:
        with self._changed:
            self._changed.notify()

    def run(self) -> None:
        """Do the work that was handed over, in portions. When asked to end, finish the present portion."""
        while self._wait():
            for level, line, action in self._taken_lines():
                log.log(level, "%s", escaped_line(line), extra={"action": action})
            try:
                self._reap_one()
                self._move_portion()
            except Exception as exc:  # noqa: BLE001 (without this thread, no lease is reaped)
                self._forget()
                self._outage.failed(exc)
            else:
                self._outage.succeeded()

    def _report(self, exc: Exception) -> None:
        if not self.is_ending:  # at the end the connection is closed
            log.warning(
                "delayed messages and expired leases have to wait: %s",
                self._explain(exc),
                extra={"action": "sweep_failed"},
            )

    def _wait(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self.is_ending or self._lines or self._expired or self._is_due)
            return not self.is_ending

    def _taken_lines(self) -> Collection[tuple[int, str, str]]:
        with self._changed:
            lines = list(self._lines)
            self._lines.clear()
            return lines

    def _forget(self) -> None:
        with self._changed:
            self._expired.clear()
            self._is_due = False

    def _reap_one(self) -> None:
        with self._changed:
            if not self._expired:
                return
            wid, deadline = self._expired.popitem()
        reaped = self._leases.reap_expired(wid, deadline)
        if isinstance(reaped, Reaped):  # otherwise another supervisor was first, or the worker has renewed its lease
            log.warning(
                "worker %s lost its lease; %d messages went back to their queues",
                wid,
                reaped.released,
                extra={"action": "lease_reaped"},
            )

    def _move_portion(self) -> None:
        with self._changed:
            if not self._is_due:
                return
        due = self._delays.move_due()
        with self._changed:
            self._is_due = due.next_in_ms == 0
