"""Retries: what a client does while a server does not reply: it waits, reports that once, and may ask for less."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
"""Seconds that a command waits before its first retry, and at most; a user waits for the command."""

_SURE: Final = 2
"""Closed connections that prove a reply too large: the cause of a single one may be a restart or an operator."""

_GROW_AFTER: Final = 256
"""Successful replies after which twice as much is requested, because the server's limit may have been raised."""

log = logging.getLogger("mlq.broker")


class Outage:
    """Counts the failures of one server: how long to wait before each next try, and what to report.

    Threads that use a server in a loop call `failed` or `succeeded` after each try, and wait in their own way.
    """

    def __init__(
        self,
        began: Callable[[Exception], None],
        ended: Callable[[], None] | None = None,
        *,
        first_pause_s: float = 0.0,
        longest_pause_s: float | None = None,
    ) -> None:
        """Create the state before the first try.

        Args:
            began: Reports the first failure of each outage.
            ended: Reports the first success after an outage.
            first_pause_s: Seconds to wait after the first failure; doubled with each further one.
            longest_pause_s: Seconds to wait at most; by default as long as after the first failure.
        """
        self._began = began
        self._ended = ended
        self._first_pause_s = first_pause_s
        self._longest_pause_s = first_pause_s if longest_pause_s is None else longest_pause_s
        self._pause_s = 0.0
        self.lasts = False

    def failed(self, exc: Exception) -> float:
        """Record a failed try, report it if it is the first one, and return the seconds to wait before the next."""
        if not self.lasts:
            self._began(exc)
        self.lasts = True
        self._pause_s = min(self._longest_pause_s, 2 * self._pause_s or self._first_pause_s)
        return self._pause_s

    def succeeded(self) -> None:
        """Record a successful try, and report it if it ends an outage."""
        if self.lasts and self._ended is not None:
            self._ended()
        self.lasts, self._pause_s = False, 0.0


class Retry:
    """Repeats a call to Redis until Redis replies, so that an outage does not end a job.

    Errors that Redis replies are raised, because a retry does not help against them.

    Args:
        say: Called with one line when Redis is away, and with one when it is back.
        demand_patience: Called before each retry; an exception that it raises ends the waiting.
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
        """Call `ask` until it returns. Raises redis.ResponseError, and exceptions of `ask` and `demand_patience`."""
        outage: Outage | None = None
        while True:
            try:
                answer = ask()
            except Exception as exc:
                if not _is_passing(exc):
                    raise
                outage = outage or self._new_outage()
                pause_s = outage.failed(exc)
            else:
                if outage is not None:
                    outage.succeeded()
                return answer
            self._demand_patience()
            self._sleep(pause_s)

    def _new_outage(self) -> Outage:
        return Outage(
            lambda exc: self._say(f"the broker does not answer, trying again until it does: {exc}"),
            lambda: self._say("the broker is back"),
            first_pause_s=_FIRST_PAUSE_S,
            longest_pause_s=_LONGEST_PAUSE_S,
        )


def _is_passing(exc: Exception) -> bool:
    """Return True if a server is away or starting."""
    from redis.exceptions import BusyLoadingError
    from redis.exceptions import ConnectionError as RedisConnectionError
    from redis.exceptions import TimeoutError as RedisTimeoutError

    return isinstance(exc, RedisConnectionError | RedisTimeoutError | BusyLoadingError | ConnectionError | TimeoutError)


class ReplySize:
    """The number of elements to request at once, from `most` down to one; `of` scales other numbers accordingly.

    A server disconnects a client whose reply is larger than its `client-output-buffer-limit normal`. The same request
    would fail again, so each next request asks for half as much, until the reply fits.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._cuts = 0
        self._halvings = 0
        self._fitted = 0
        self._has_warned = False

    @property
    def count(self) -> int:
        """The number of elements to request now."""
        return self.of(self._most)

    @property
    def is_reduced(self) -> bool:
        """True if less than `most` is requested."""
        return self._halvings > 0

    def of(self, number: int) -> int:
        """Scale another measure of the same reply, such as its bytes, by the same factor."""
        return max(1, number >> self._halvings)

    def failed(self, exc: Exception) -> bool:
        """Record a failed request; True if the reply is certainly too large and cannot become smaller."""
        if not _is_cut(exc):
            self._cuts = 0
            return False
        self._cuts += 1
        if self._cuts < _SURE:
            return False
        if self.count == 1:
            self._cuts = 0
            return True
        self._halvings += 1
        self._fitted = 0
        if not self._has_warned:
            log.warning(
                "the server closes connections instead of sending large replies (client-output-buffer-limit normal): "
                "requesting less at once",
                extra={"action": "reply_size_reduced"},
            )
        self._has_warned = True
        return False

    def fitted(self) -> None:
        """Record a successful reply."""
        self._cuts = 0
        if not self._halvings:
            return
        self._fitted += 1
        if self._fitted >= _GROW_AFTER:
            self._halvings, self._fitted = self._halvings - 1, 0


def _is_cut(exc: Exception) -> bool:
    """Return True if the server closed the connection during a request, and is not unreachable, silent or refusing."""
    from redis.exceptions import ConnectionError as RedisConnectionError

    if type(exc) is not RedisConnectionError or " connecting to " in str(exc):
        return False
    return "closed by server" in str(exc) or "reset by peer" in str(exc)
