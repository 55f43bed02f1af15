"""Retry: calls to Redis are repeated until it answers, so an outage does not end a job."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

T = TypeVar("T")

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
_TRANSIENT: Final = (RedisConnectionError, RedisTimeoutError, BusyLoadingError, ConnectionError, TimeoutError)


class Retry:
    """Repeats a call until Redis answers it. An error that Redis answers is raised, because it would come again.

    Args:
        say: Called with a text for the user when Redis stops answering, and when it answers again.
        demand_patience: Called before each repetition; an exception that it raises ends the wait.
        sleep: Waits for a number of seconds.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        demand_patience: Callable[[], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._say = say
        self._demand_patience = demand_patience
        self._sleep = sleep

    def __call__(self, ask: Callable[[], T]) -> T:
        """Call `ask` until it returns. Raises redis.ResponseError, and what `ask` and `demand_patience` raise."""
        pause, away = _FIRST_PAUSE_S, False
        while True:
            try:
                answer = ask()
            except _TRANSIENT as exc:
                if not away:
                    self._say(f"the broker does not answer, trying again until it does: {exc}")
                away = True
            else:
                if away:
                    self._say("the broker is back")
                return answer
            self._demand_patience()
            self._sleep(pause)
            pause = min(_LONGEST_PAUSE_S, 2 * pause)
