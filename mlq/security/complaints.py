"""Complaints: log lines of what strangers sent, once in a minute: they may send thousands of a kind."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from mlq.security.escaping import escaped

_EVERY_S: Final = 60.0


class Complaints:
    """Warns in a log that `what` happened and why, once in a minute, with the number of those not told."""

    def __init__(
        self, log: logging.Logger, what: str, action: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._what = what
        self._action = action
        self._clock = clock
        self._next_at = -float("inf")
        self._silent = 0

    def add(self, why: object) -> None:
        """Warn, or count."""
        now = self._clock()
        if now < self._next_at:
            self._silent += 1
            return
        others = f" (and {self._silent} others since the last such warning)" if self._silent else ""
        self._next_at, self._silent = now + _EVERY_S, 0
        self._log.warning("%s: %s%s", self._what, escaped(str(why)), others, extra={"action": self._action})
