"""Sweeper: a thread that does what the lease thread finds to be done, so that nothing delays a renewal."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from mlq.broker import key_types
from mlq.security.escaping import escaped_line
from mlq.store.claims.leases import Leases
from mlq.store.messages.delays import Delays

if TYPE_CHECKING:
    from redis import Redis

_MOST_LINES: Final = 100
"""Log lines that may wait to be written: a terminal that is stopped takes none."""

log = logging.getLogger("mlq.lease")


class Sweeper(threading.Thread):
    """Reaps workers whose lease was lost, moves delayed messages that are due, and writes the lease thread's log.

    All of it takes as long as there is work: a dead worker may have held 10,000 messages, a million messages may be
    due at once, and a log line waits for as long as nothing reads stderr. Requests to the server are bounded portions,
    since a long script would delay the renewals of every worker, on the server instead of here.
    """

    def __init__(self, redis: Redis, leases: Leases) -> None:
        super().__init__(name="mlq-sweeper", daemon=True)
        self._leases = leases
        self._delays = Delays(redis)
        self._explain = partial(key_types.explain, redis)
        self._changed = threading.Condition()
        self._expired: dict[str, int] = {}
        self._is_due = False
        self._lines: deque[tuple[int, str]] = deque(maxlen=_MOST_LINES)
        self._ended = False
        self._away = False

    def hand_over(self, expired: Mapping[str, int], *, is_due: bool) -> None:
        """Add workers to be reaped, with the deadline of each, and say whether a delayed message is due.

        What cannot be done while Redis is away is found again by the next look.
        """
        if not expired and not is_due:
            return
        with self._changed:
            self._expired.update(expired)
            self._is_due = self._is_due or is_due
            self._changed.notify()

    def write(self, level: int, line: str) -> None:
        """Write a log line, soon: writing it at once may wait for a reader of stderr."""
        with self._changed:
            self._lines.append((level, line))
            self._changed.notify()

    def end(self) -> None:
        """Stop after the portion that is under way."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def run(self) -> None:
        """Do what was handed over, until `end`."""
        while self._wait():
            for level, line in self._taken_lines():
                log.log(level, "%s", escaped_line(line))
            try:
                self._reap_one()
                self._move_portion()
            except Exception as exc:  # noqa: BLE001 (a thread that ended would leave everything that is due where it is)
                self._forget()
                if not self._away and not self._ended:
                    log.warning("delayed messages and lost leases have to wait: %s", self._explain(exc))
                self._away = True
            else:
                self._away = False

    def _wait(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._lines or self._expired or self._is_due)
            return not self._ended

    def _taken_lines(self) -> Collection[tuple[int, str]]:
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
        log.warning("worker %s fell silent: %s", wid, reaped, extra={"action": "reaped"})

    def _move_portion(self) -> None:
        with self._changed:
            if not self._is_due:
                return
        due = self._delays.move_due()
        with self._changed:
            self._is_due = due.next_in_ms == 0
