"""Retries: how a client handles a server that does not reply.

It waits, reports the outage once, and tries again. If replies are too large, it requests fewer elements at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
"""Seconds before the first retry, and the longest pause between two retries. Both are short: a user waits."""

_CUTS_THAT_PROVE: Final = 2
"""If the server closes this many connections in a row, the reply is too large.

A single closed connection may have another cause: the server was restarted, or an operator closed it.
"""

_GROW_AFTER: Final = 256
"""Successful replies after which twice as much is requested, because the server's limit may have been raised."""

log = logging.getLogger("mlq.broker")


class Outage:
    """Tracks whether one server is failing.

    Says how long to wait before the next try, and reports the first failure and the recovery.
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
        self.is_ongoing = False

    def failed(self, exc: Exception) -> float:
        """Record a failed try, report it if it is the first one, and return the seconds to wait before the next."""
        if not self.is_ongoing:
            self._began(exc)
        self.is_ongoing = True
        self._pause_s = min(self._longest_pause_s, 2 * self._pause_s or self._first_pause_s)
        return self._pause_s

    def succeeded(self) -> None:
        """Record a successful try, and report it if it ends an outage."""
        if self.is_ongoing and self._ended is not None:
            self._ended()
        self.is_ongoing, self._pause_s = False, 0.0


class Retry:
    """Repeats a call to Redis until Redis replies, so that an outage does not end a job.

    If Redis replies with an error, the error is raised, because a retry would fail again. The exception is the error
    that Redis is still loading its data: then the call is repeated.

    Args:
        say: Called with one line when Redis is away, and with one when it is back.
        check_stop: Called before each retry. It raises an exception to end the waiting, for example after a signal.
        sleep: Waits for a number of seconds.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        check_stop: Callable[[], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._say = say
        self._check_stop = check_stop
        self._sleep = sleep

    def __call__(self, ask: Callable[[], T]) -> T:
        """Call `ask` until it returns. Raises redis.ResponseError, and exceptions of `ask` and `check_stop`."""
        outage: Outage | None = None
        while True:
            try:
                answer = ask()
            except Exception as exc:
                if not _is_transient(exc):
                    raise
                outage = outage or self._new_outage()
                pause_s = outage.failed(exc)
            else:
                if outage is not None:
                    outage.succeeded()
                return answer
            self._check_stop()
            self._sleep(pause_s)

    def _new_outage(self) -> Outage:
        return Outage(
            lambda exc: self._say(f"the broker does not answer, trying again until it does: {exc}"),
            lambda: self._say("the broker is back"),
            first_pause_s=_FIRST_PAUSE_S,
            longest_pause_s=_LONGEST_PAUSE_S,
        )


def _is_transient(exc: Exception) -> bool:
    """Return True if a server is away or starting."""
    from redis.exceptions import BusyLoadingError
    from redis.exceptions import ConnectionError as RedisConnectionError
    from redis.exceptions import TimeoutError as RedisTimeoutError

    return isinstance(exc, RedisConnectionError | RedisTimeoutError | BusyLoadingError | ConnectionError | TimeoutError)


class ReplySize:
    """The number of elements to request at once, from `most` down to one.

    A server disconnects a client whose reply is larger than its `client-output-buffer-limit normal`. The same request
    would fail again. So from the second closed connection in a row on, each failure halves the number of elements,
    until the reply fits.
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
        return self.scaled(self._most)

    @property
    def is_reduced(self) -> bool:
        """True if less than `most` is requested."""
        return self._halvings > 0

    def scaled(self, number: int) -> int:
        """Scale another measure of the same reply, such as its bytes, by the same factor."""
        return max(1, number >> self._halvings)

    def failed(self, exc: Exception) -> bool:
        """Record a failed request; True if the reply is certainly too large and cannot become smaller."""
        if not _is_cut(exc):
            self._cuts = 0
            return False
        self._cuts += 1
        if self._cuts < _CUTS_THAT_PROVE:
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
    """Return True if the server closed an open connection during a request.

    Return False if no connection could be made, if the server did not reply in time, or if it replied with an error.
    """
    from redis.exceptions import ConnectionError as RedisConnectionError

    if type(exc) is not RedisConnectionError or " connecting to " in str(exc):
        return False
    return "closed by server" in str(exc) or "reset by peer" in str(exc)
