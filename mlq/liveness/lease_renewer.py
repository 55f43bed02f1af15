"""The lease thread: it renews leases and does nothing else, in a supervisor or in a worker that has none.

It belongs in the supervisor: a call that holds the GIL for longer than a lease stops all threads of its process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Final

from mlq.broker import key_types
from mlq.broker.connection import with_timeout
from mlq.broker.retries import Outage
from mlq.ipc.threads import PARTING_S, StoppableThread
from mlq.liveness.sweeper import Sweeper
from mlq.store.claims.leases import ExpiryConfirmation, Leases

if TYPE_CHECKING:
    from redis import Redis

RENEWALS_IN_A_LEASE: Final = 3

_LATER_S: Final = 0.005
"""Seconds added to a deadline: a lease has run out after its deadline, not at it."""

_SHORTEST_S: Final = 0.05
"""Fewest seconds between two requests."""


class LeaseThread(StoppableThread):
    """Renews leases three times in the length of a lease, and calls `lost` with the workers that lost theirs.

    A worker that lost its lease counts as dead: its messages run on other workers, and its results are void. The same
    request also finds expired leases of other workers, and delayed messages that are due; the Sweeper acts on these.

    Nothing in this thread may take longer than a request. So `lost` only passes the ids on, and the Sweeper writes the
    log lines, because a stderr that no process reads blocks the thread that writes.
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
        super().__init__("mlq-lease")
        # This thread has its own connections, with a timeout before the next renewal is due. Otherwise a connection
        # that broke silently would delay a renewal for longer than the lease lasts.
        self._leases = Leases(with_timeout(redis, leases.lease_ms / 1000 / RENEWALS_IN_A_LEASE), leases.lease_ms)
        self._wids = wids
        self._lost = lost
        self._every_s = leases.lease_ms / 1000 / RENEWALS_IN_A_LEASE
        self._confirmation = ExpiryConfirmation(1.5 * self._every_s)
        self._sweeper = Sweeper(redis, leases)
        self._explain = partial(key_types.explain, redis)
        self._clock = clock
        self._pause_s = 0.0  # the first request opens the connection, before a lease depends on it
        self._outage = Outage(self._report, first_pause_s=_SHORTEST_S, longest_pause_s=self._every_s)

    def run(self) -> None:
        """Renew leases until `end`. While Redis is away, no other worker can take a lease, so nothing is given up."""
        self._sweeper.start()
        while not self._ended.wait(self._pause_s):
            self._pause_s = self._every_s
            try:
                self._look()
            except Exception as exc:  # noqa: BLE001 (without this thread, every lease would run out)
                self._pause_s = self._outage.failed(exc)
            else:
                self._outage.succeeded()

    def end(self, timeout: float | None = PARTING_S) -> None:
        """Stop renewing and sweeping; wait for each, because the caller closes the connection of both next."""
        self._sweeper.ask_to_end()
        super().end(timeout)
        self._sweeper.end(timeout)

    def _report(self, exc: Exception) -> None:
        if not self.is_ending:  # at the end the connection is closed
            why = self._explain(exc)
            self._sweeper.write(
                logging.WARNING, f"leases cannot be renewed, trying again until they can: {why}", "renewal_failed"
            )

    def _look(self) -> None:
        look = self._leases.look(self._wids())
        if look.fenced:
            self._lost(look.fenced)
            names = ", ".join(sorted(look.fenced))
            self._sweeper.write(
                logging.ERROR, f"lost their leases, so their messages run on other workers: {names}", "lease_lost"
            )
        self._sweeper.hand_over(dict(self._confirmation.confirm(look.expired, self._clock())), is_due=look.due)
        # The next request is sent at the moment when a lease runs out, or when its expiry may be confirmed. So a dead
        # host is confirmed 3.5 to 4.5 s after its end, instead of up to 6 s. The lease of a live worker is never that
        # close to its end.
        soonest_s = min(look.next_s, self._confirmation.next_s(self._clock()))
        self._pause_s = max(_SHORTEST_S, min(self._every_s, soonest_s + _LATER_S))
