"""Reply size: ask for less while a server closes the connection instead of replying.

A server ends a client whose waiting reply is larger than its `client-output-buffer-limit normal`. The same question
would get the same end again, so half as much is asked for, until the reply fits.
"""

from __future__ import annotations

import logging
from typing import Final

_SURE: Final = 2
"""One connection that is closed under a question may be a restart or an operator; a second is the reply's size."""

_GROW_AFTER: Final = 256
"""Replies that fitted, after which twice as much is asked for: the limit may have been raised."""

log = logging.getLogger("mlq.broker")


class ReplySize:
    """How many things to ask for at once. `of` scales any number; `most` is the one that must not fall below one."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._cuts = 0
        self._halvings = 0
        self._fitted = 0
        self._has_warned = False

    @property
    def count(self) -> int:
        """How many to ask for now."""
        return self.of(self._most)

    @property
    def is_reduced(self) -> bool:
        """Whether less is asked for than would be elsewhere."""
        return self._halvings > 0

    def of(self, number: int) -> int:
        """Scale another measure of the same reply, such as its bytes."""
        return max(1, number >> self._halvings)

    def failed(self, exc: Exception) -> bool:
        """Note that a question had no reply; True if the reply cannot become smaller, and was too large for sure."""
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
                "less is asked for at once"
            )
        self._has_warned = True
        return False

    def fitted(self) -> None:
        """Note a reply that came."""
        self._cuts = 0
        if not self._halvings:
            return
        self._fitted += 1
        if self._fitted >= _GROW_AFTER:
            self._halvings, self._fitted = self._halvings - 1, 0


def _is_cut(exc: Exception) -> bool:
    """Tell a connection that was closed under a question from a server that is away, silent, or refuses."""
    from redis.exceptions import ConnectionError as RedisConnectionError

    if type(exc) is not RedisConnectionError or " connecting to " in str(exc):
        return False
    return "closed by server" in str(exc) or "reset by peer" in str(exc)
