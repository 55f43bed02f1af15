"""Reply size: request less while a server closes the connection instead of replying.

A server disconnects a client whose reply is larger than its `client-output-buffer-limit normal`. The same request would
fail again, so each next request asks for half as much, until the reply fits.
"""

from __future__ import annotations

import logging
from typing import Final

_SURE: Final = 2
"""Closed connections that prove a reply too large: the cause of a single one may be a restart or an operator."""

_GROW_AFTER: Final = 256
"""Successful replies after which twice as much is requested, because the server's limit may have been raised."""

log = logging.getLogger("mlq.broker")


class ReplySize:
    """The number of elements to request at once, from `most` down to one; `of` scales other numbers accordingly."""

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
