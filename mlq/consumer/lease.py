"""The lease thread: renews leases, reaps the dead. A supervisor runs it for its children, a worker without for itself.

It belongs into the supervisor: a call that holds the GIL for longer than a lease stops every thread of its process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Final

from redis.exceptions import RedisError

from mlq.broker.delays import Delays
from mlq.broker.leases import Leases, Silence

if TYPE_CHECKING:
    from redis import Redis

RENEWALS_IN_A_LEASE: Final = 3

_LATER_S: Final = 0.005
"""A lease has run out after its deadline, not at it."""

_SHORTEST_S: Final = 0.05

log = logging.getLogger("mlq.lease")


class LeaseThread(threading.Thread):
    """Renews the leases that `wids` names, three times in a lease's length, and calls `lost` with those it lost.

    A worker that lost its lease was taken for dead: its messages run elsewhere, and what it answers is void. With
    the same request it looks for others' leases that have run out, and for delayed messages that nobody put back.
    """

    def __init__(
        self,
        redis: Redis,
        leases: Leases,
        wids: Callable[[], Collection[str]],
        lost: Callable[[Collection[str]], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="mlq-lease", daemon=True)
        self._leases = leases
        self._delays = Delays(redis)
        self._wids = wids
        self._lost = lost
        self._every_s = leases.lease_ms / 1000 / RENEWALS_IN_A_LEASE
        self._silence = Silence(1.5 * self._every_s)
        self._clock = clock
        self._pause_s = self._every_s
        self._ended = threading.Event()
        self._away = False

    def run(self) -> None:
        """Renew and look, until `end`. While Redis is away nobody can take a lease, either: nothing is given up."""
        while not self._ended.wait(self._pause_s):
            self._pause_s = self._every_s
            try:
                self._look()
            except (RedisError, OSError) as exc:
                if not self._away:
                    log.warning("leases cannot be renewed, trying again until they can: %s", exc)
                self._away = True
            else:
                self._away = False

    def end(self) -> None:
        """Stop renewing."""
        self._ended.set()

    def _look(self) -> None:
        look = self._leases.look(self._wids())
        if look.fenced:
            log.error("taken for dead, what they hold runs elsewhere: %s", ", ".join(sorted(look.fenced)))
            self._lost(look.fenced)
        self._reap(look.expired)
        if look.due:
            self._delays.due()
        # A host that has died is seen the moment that its lease runs out, and confirmed the moment that it may be:
        # 3.5 to 4.5 s after its end, not up to 6. Of the living no lease is ever that near its end.
        soonest_s = min(look.next_s, self._silence.next_s(self._clock()))
        self._pause_s = max(_SHORTEST_S, min(self._every_s, soonest_s + _LATER_S))

    def _reap(self, expired: Mapping[str, int]) -> None:
        for wid, deadline in self._silence.confirm(expired, self._clock()):
            reaped = self._leases.reap_expired(wid, deadline)
            log.warning("worker %s fell silent: %s", wid, reaped, extra={"action": "reaped"})
