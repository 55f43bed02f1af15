"""The lease thread renews leases and does nothing else, in a supervisor or in a worker that has none.

It belongs into the supervisor: a call that holds the GIL for longer than a lease stops every thread of its process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Final

from mlq.broker import key_types
from mlq.broker.connection import with_timeout
from mlq.liveness.sweeper import Sweeper
from mlq.store.claims.leases import Leases, Silence

if TYPE_CHECKING:
    from redis import Redis

RENEWALS_IN_A_LEASE: Final = 3

_PARTING_S: Final = 1.0
"""How long the end waits for a request that is under way: longer only if the server does not answer."""

_LATER_S: Final = 0.005
"""A lease has run out after its deadline, not at it."""

_SHORTEST_S: Final = 0.05


class LeaseThread(threading.Thread):
    """Renews the leases that `wids` names, three times in a lease's length, and calls `lost` with those it lost.

    A worker that lost its lease was taken for dead: its messages run elsewhere, and what it answers is void. The same
    request also finds leases of others that have run out and delayed messages that are due; the Sweeper acts on these.
    Nothing here may take longer than a request: `lost` only passes the names on, and even log lines are written by the
    sweeper, because a stderr that nothing reads blocks the thread that writes.
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
        # On connections of its own, which a server must answer before the next renewal is due: a connection that was
        # broken without a word would otherwise hold a renewal for longer than the lease lasts.
        self._leases = Leases(with_timeout(redis, leases.lease_ms / 1000 / RENEWALS_IN_A_LEASE), leases.lease_ms)
        self._wids = wids
        self._lost = lost
        self._every_s = leases.lease_ms / 1000 / RENEWALS_IN_A_LEASE
        self._silence = Silence(1.5 * self._every_s)
        self._sweeper = Sweeper(redis, leases)
        self._explain = partial(key_types.explain, redis)
        self._clock = clock
        self._pause_s = 0.0  # the first look opens the connection, before the first lease depends on it
        self._ended = threading.Event()
        self._away = False
        self._again_s = _SHORTEST_S

    def run(self) -> None:
        """Renew and look, until `end`. While Redis is away no lease can be taken, either: nothing is given up."""
        self._sweeper.start()
        while not self._ended.wait(self._pause_s):
            self._pause_s = self._every_s
            try:
                self._look()
            except Exception as exc:  # noqa: BLE001 (a thread that ended would let every lease run out)
                if not self._away and not self._ended.is_set():
                    why = self._explain(exc)
                    self._sweeper.write(logging.WARNING, f"leases cannot be renewed, trying until they can: {why}")
                self._away = True
                self._pause_s = self._again_s
                self._again_s = min(2 * self._again_s, self._every_s)
            else:
                self._away = False
                self._again_s = _SHORTEST_S

    def end(self) -> None:
        """Stop renewing; wait a moment for a renewal that runs, since the caller closes its connection next."""
        self._ended.set()
        self._sweeper.end()
        for thread in (self, self._sweeper):
            if thread.is_alive():
                thread.join(_PARTING_S)

    def _look(self) -> None:
        look = self._leases.look(self._wids())
        if look.fenced:
            self._lost(look.fenced)
            names = ", ".join(sorted(look.fenced))
            self._sweeper.write(logging.ERROR, f"taken for dead, what they hold runs elsewhere: {names}")
        self._sweeper.hand_over(dict(self._silence.confirm(look.expired, self._clock())), is_due=look.due)
        # A host that has died is seen the moment that its lease runs out, and confirmed the moment that it may be:
        # 3.5 to 4.5 s after its end, not up to 6. Of the living no lease is ever that near its end.
        soonest_s = min(look.next_s, self._silence.next_s(self._clock()))
        self._pause_s = max(_SHORTEST_S, min(self._every_s, soonest_s + _LATER_S))
