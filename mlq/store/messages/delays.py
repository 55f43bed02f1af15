"""Delays: messages that wait for their time (ETA, a retry's countdown) outside of every worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mlq.broker.script import Script
from mlq.protocol import keys
from mlq.protocol.claim import Claim, ClaimLost

if TYPE_CHECKING:
    from redis import Redis

_AT_ONCE: Final = 256
_BYTES_AT_ONCE: Final = 4 * 2**20
"""Messages, and bytes, moved in one step: the server does nothing else meanwhile, not even renew a lease."""

MOST: Final = 5_000_000
MOST_BYTES: Final = 4 * 2**30
"""Messages, and their bytes, that may wait for their time: any client can send one that waits for months."""

LONGEST_S: Final = 400 * 24 * 3600
"""How far ahead the time of a message may be: more than a year."""

_delay: Final = Script("messages/delay")
_due: Final = Script("messages/due")


@dataclass(frozen=True)
class Delayed:
    """The message waits in the delay list."""


@dataclass(frozen=True)
class Full:
    """The delay list holds as much as it may: the message is still claimed."""


@dataclass(frozen=True)
class Due:
    """How many messages went back to their queues, and when the next will be due.

    `next_in_ms` is None where no message waits, and 0 where more are due than one step moves.
    """

    moved: int
    next_in_ms: int | None


class Delays:
    """The delay list of all queues, which holds so many messages and bytes at most."""

    def __init__(self, redis: Redis, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._redis = redis
        self.most = most
        self.most_bytes = most_bytes

    def delay(self, wid: str, claim: Claim, until_ms: int) -> Delayed | Full | ClaimLost:
        """Move a worker's claim to the delay list until a time of the server's clock (ms since 1970)."""
        ours = [keys.claims(wid), keys.DELAYS, keys.DELAYED, keys.DELAYED_BYTES]
        moved = _delay(self._redis, ours, [claim.id, until_ms, self.most, self.most_bytes])
        return Full() if moved < 0 else Delayed() if moved else ClaimLost()

    def move_due(self) -> Due:
        """Put a portion of what is due at the head of its queue, what has been due for longest in front.

        Any number of callers may do so at once: each message is moved by one of them.
        """
        moved, next_in_ms = _due(
            self._redis, [keys.DELAYS, keys.DELAYED, keys.DELAYED_BYTES], [_AT_ONCE, _BYTES_AT_ONCE]
        )
        return Due(moved, None if next_in_ms < 0 else next_in_ms)
