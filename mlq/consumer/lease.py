"""The lease of a worker without a supervisor that renews it: it renews its own, and reaps the dead."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from redis.exceptions import RedisError

from mlq.broker.leases import LEASE_MS, Leases, Silence

RENEWALS_IN_A_LEASE: Final = 3

log = logging.getLogger("mlq.lease")


class LeaseThread(threading.Thread):
    """Renews the lease of `wid` and looks for others' that have run out, three times in a lease's length.

    A call that holds the GIL for longer than a lease stops this thread: the worker is then taken for dead and its
    messages run elsewhere, and what it answers afterwards is void. Nothing is lost or recorded twice.
    """

    def __init__(
        self,
        leases: Leases,
        wid: str,
        lost: Callable[[], None],
        *,
        due: Callable[[], object],
        lease_ms: int = LEASE_MS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="mlq-lease", daemon=True)
        self._leases = leases
        self._wid = wid
        self._lost = lost
        self._due = due
        self._every_s = lease_ms / 1000 / RENEWALS_IN_A_LEASE
        self._silence = Silence(1.5 * self._every_s)
        self._clock = clock
        self._ended = threading.Event()

    def run(self) -> None:
        """Renew and look, until `end` or until the lease is another's to give back."""
        while not self._ended.wait(self._every_s):
            try:
                look = self._leases.look([self._wid])
                if self._wid in look.fenced:
                    log.error("this worker was taken for dead: what it holds runs elsewhere")
                    self._lost()
                    return
                self._reap(look.expired)
                if look.due:
                    self._due()
            except (RedisError, OSError) as exc:
                log.warning("the lease cannot be renewed: %s", exc)

    def end(self) -> None:
        """Stop renewing."""
        self._ended.set()

    def _reap(self, expired: Mapping[str, int]) -> None:
        for wid, deadline in self._silence.confirm(expired, self._clock()):
            reaped = self._leases.reap_expired(wid, deadline)
            log.warning("worker %s fell silent: %s", wid, reaped, extra={"action": "reaped"})
