"""Connection losses: a Celery consumer that waits before it reconnects after repeated losses, and logs them once.

Stock Celery reconnects at once and logs a traceback each time, if a connection is accepted and then closed: because a
right was revoked, or by a server that closes idle connections.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from celery.worker import state
from celery.worker.consumer import consumer as stock

_STEADY_S: Final = 15.0
"""Seconds after which a connection counts as good, so that its loss costs no pause."""

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 10.0
_LOOK_EVERY_S: Final = 0.1
"""Seconds between two looks, during a pause, whether the worker should end."""

_STOCK: Any = stock  # the stubs lack these names

log = logging.getLogger("mlq.connection_losses")


@dataclass
class Losses:
    """Counts connections that were lost soon after they were made. `clock` returns seconds."""

    clock: Callable[[], float] = time.monotonic
    _pause_s: float = 0.0
    _again_at: float = field(default=float("-inf"))

    def add(self) -> float:
        """Return the seconds to wait before the next connection: 0 at first, then growing."""
        soon = self.clock() - self._again_at < _STEADY_S
        self._pause_s = min(_LONGEST_PAUSE_S, 2 * self._pause_s or _FIRST_PAUSE_S) if soon else 0.0
        self._again_at = self.clock() + self._pause_s
        return self._pause_s


class SteadyConsumer(stock.Consumer):
    """Celery's consumer, but it logs a lost connection in one line, and repeated losses for one reason once."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._losses = Losses()
        self._logged = ""

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Handle the loss as Celery does, then wait; a signal that ends the worker ends the wait."""
        pause_s = self._losses.add()
        reason = f"{type(exc).__name__}: {exc}"
        if not pause_s or reason != self._logged:
            log.warning(
                "the connection to the broker was lost, connecting again: %s",
                reason,
                extra={"action": "connection_lost"},
            )
        self._logged = reason
        with warnings.catch_warnings():  # it warns of a setting that mlq sets on purpose
            warnings.simplefilter("ignore")
            super().on_connection_error_after_connected(exc)
        until = time.monotonic() + pause_s
        while time.monotonic() < until:
            state.maybe_shutdown()
            time.sleep(_LOOK_EVERY_S)


def _is_news(record: logging.LogRecord) -> bool:
    """Drop Celery's line with a traceback, which SteadyConsumer has replaced by a shorter one."""
    return bool(record.msg != _STOCK.CONNECTION_RETRY)


logging.getLogger(stock.__name__).addFilter(_is_news)
