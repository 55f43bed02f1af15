"""Log lines on bad messages, written once a minute at most: a client may send thousands of the same kind."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from mlq.security.escaping import escaped

_EVERY_S: Final = 60.0


class Complaints:
    """Logs a warning that `what` happened and why, once a minute at most, with the number of warnings left out."""

    def __init__(
        self, log: logging.Logger, what: str, action: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._what = what
        self._action = action
        self._clock = clock
        self._next_at = -float("inf")
        self._left_out = 0

    def add(self, why: object) -> None:
        """Log a warning, or only count it if the last one was less than a minute ago."""
        now = self._clock()
        if now < self._next_at:
            self._left_out += 1
            return
        others = f" (and {self._left_out} others since the last such warning)" if self._left_out else ""
        self._next_at, self._left_out = now + _EVERY_S, 0
        self._log.warning("%s: %s%s", self._what, escaped(str(why)), others, extra={"action": self._action})
