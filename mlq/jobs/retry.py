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
_PASSING: Final = (RedisConnectionError, RedisTimeoutError, BusyLoadingError, ConnectionError, TimeoutError)

Said = Callable[[str], None]


class Retry:
    """Calls until a call comes back. `say` is told once that Redis is away, and once that it is there again.

    `patient` is called before each new try; what it raises ends the waiting. Refusals are raised: they do not pass.
    """

    def __init__(self, say: Said, sleep: Callable[[float], None] = time.sleep) -> None:
        self._say = say
        self.patient: Callable[[], None] = _for_ever
        self._sleep = sleep

    def __call__(self, ask: Callable[[], T]) -> T:
        """Call until it comes back. Raises redis.ResponseError, and what `ask` and `patient` raise."""
        pause, away = _FIRST_PAUSE_S, False
        while True:
            try:
                answer = ask()
            except _PASSING as exc:
                if not away:
                    self._say(f"the broker does not answer, trying again until it does: {exc}")
                away = True
            else:
                if away:
                    self._say("the broker is back")
                return answer
            self.patient()
            self._sleep(pause)
            pause = min(_LONGEST_PAUSE_S, 2 * pause)


def _for_ever() -> None:
    """Never end the waiting."""
