"""Delays: messages that wait in Redis, not in a worker, until they are due (ETA, a retry's countdown)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mlq.broker.script import Script
from mlq.protocol import keys
from mlq.protocol.message import Claim, ClaimLost

if TYPE_CHECKING:
    from redis import Redis

_AT_ONCE: Final = 256
_BYTES_AT_ONCE: Final = 4 * 2**20
"""Messages, and bytes, moved in one step. The step blocks the server, and meanwhile no lease can be renewed."""

MOST: Final = 5_000_000
MOST_BYTES: Final = 4 * 2**30
"""Messages, and their bytes, in the delay list: any client can send a message that waits for months."""

LONGEST_S: Final = 400 * 24 * 3600
"""Longest delay of a message in seconds: more than a year."""

_delay: Final = Script("messages/delay")
_due: Final = Script("messages/due")


def _run_delay(redis: Redis, *, claims: str, claim_id: str, until_ms: int, most: int, most_bytes: int) -> int:
    script_keys = [claims, keys.DELAYS, keys.DELAYED, keys.DELAYED_BYTES]
    return int(_delay(redis, script_keys, [claim_id, until_ms, most, most_bytes]))


def _run_due(redis: Redis, *, most: int, most_bytes: int) -> tuple[int, int]:
    moved, next_in_ms = _due(redis, [keys.DELAYS, keys.DELAYED, keys.DELAYED_BYTES], [most, most_bytes])
    return moved, next_in_ms


@dataclass(frozen=True)
class Delayed:
    """The message waits in the delay list."""


@dataclass(frozen=True)
class Full:
    """The delay list has reached its limit; the worker still has the claim."""


@dataclass(frozen=True)
class Due:
    """The result of one step of `Delays.move_due`."""

    moved: int
    """Messages that went back to their queues."""

    next_in_ms: int | None
    """When the next message is due: None if none waits, 0 if more are due than one step moves."""


class Delays:
    """The delay list of all queues; `most` and `most_bytes` limit its messages and their bytes."""

    def __init__(self, redis: Redis, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._redis = redis
        self.most = most
        self.most_bytes = most_bytes

    def delay(self, wid: str, claim: Claim, until_ms: int) -> Delayed | Full | ClaimLost:
        """Move a worker's claim to the delay list until a time of the server's clock (ms since 1970)."""
        moved = _run_delay(
            self._redis,
            claims=keys.claims(wid),
            claim_id=claim.id,
            until_ms=until_ms,
            most=self.most,
            most_bytes=self.most_bytes,
        )
        return Full() if moved < 0 else Delayed() if moved else ClaimLost()

    def move_due(self) -> Due:
        """Move a portion of the due messages to the heads of their queues, the longest due in front.

        Any number of callers may do so at once; each message is moved once.
        """
        moved, next_in_ms = _run_due(self._redis, most=_AT_ONCE, most_bytes=_BYTES_AT_ONCE)
        return Due(moved, None if next_in_ms < 0 else next_in_ms)
