"""Connection losses: Celery's consumer, but one whose connections break again and again waits, and says so once.

Stock reconnects at once, with a traceback each time, where a connection is accepted and then broken: by a right that
was taken away, by a server that closes what is idle.
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
"""A connection that held for this long was a good one: the next loss is the first again."""

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 10.0
_LOOK_EVERY_S: Final = 0.1

_STOCK: Any = stock  # whose stubs know less than there is

log = logging.getLogger("mlq.reconnecting")


@dataclass
class Losses:
    """Counts connections that were lost soon after they were made. `clock` gives seconds."""

    clock: Callable[[], float] = time.monotonic
    _pause_s: float = 0.0
    _again_at: float = field(default=float("-inf"))

    def add(self) -> float:
        """Give the seconds to wait before the next connection: none at first, then ever more."""
        soon = self.clock() - self._again_at < _STEADY_S
        self._pause_s = min(_LONGEST_PAUSE_S, 2 * self._pause_s or _FIRST_PAUSE_S) if soon else 0.0
        self._again_at = self.clock() + self._pause_s
        return self._pause_s


class SteadyConsumer(stock.Consumer):
    """Celery's consumer, which says in one line why its connection was lost, and once where it is lost repeatedly."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._losses = Losses()
        self._said = ""

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Do as Celery does, then wait; a signal that ends the worker ends the wait."""
        pause_s = self._losses.add()
        reason = f"{type(exc).__name__}: {exc}"
        if not pause_s or reason != self._said:
            log.warning("the connection to the broker was lost, connecting again: %s", reason)
        self._said = reason
        with warnings.catch_warnings():  # of a setting that we have chosen
            warnings.simplefilter("ignore")
            super().on_connection_error_after_connected(exc)
        until = time.monotonic() + pause_s
        while time.monotonic() < until:
            state.maybe_shutdown()
            time.sleep(_LOOK_EVERY_S)


def _is_news(record: logging.LogRecord) -> bool:
    """Leave out what Celery says with a traceback, and what SteadyConsumer has said in a line."""
    return bool(record.msg != _STOCK.CONNECTION_RETRY)


logging.getLogger(stock.__name__).addFilter(_is_news)
