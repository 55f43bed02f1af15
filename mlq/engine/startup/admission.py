"""Admission: one model a queue. A worker with another model than those that serve a queue is refused, unless told.

Heartbeats tell of all workers, but are a moment old. Where the broker keeps leases, the look at the others and the
worker's own entry are one script (register.lua), so of two models that are started at the same moment one is refused.
With another broker, and with a prefork pool, which has no lease, two that start within that moment are not told apart.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

from mlq.broker.connection import state_store
from mlq.errors import ModelDiffers
from mlq.store.workers import heartbeats

if TYPE_CHECKING:
    from mlq.settings.config import Settings
    from mlq.store.claims.leases import Leases
    from mlq.store.workers.heartbeats import Heartbeat

_SERVING: Final = frozenset({"idle", "busy", "draining", "hung"})


def register(leases: Leases, wid: str, queues: Sequence[str], fingerprint: str, *, rollout: bool) -> None:
    """Give a worker its lease, if its model is the one of its queues. Raises ModelDiffers."""
    differing = leases.register(wid, queues, fingerprint, rollout=rollout)
    if differing is not None:
        raise ModelDiffers(
            queue=differing.queue, theirs=differing.fingerprint, worker=_name(differing.wid), ours=fingerprint
        )


def check_others(settings: Settings, wid: str, fingerprint: str) -> None:
    """Look whether others serve our queues with another model, those without a lease, too. Raises ModelDiffers."""
    with state_store(settings) as store:
        check(heartbeats.read(store), wid, settings.served_queues, fingerprint)


def check(workers: Collection[Heartbeat], wid: str, queues: Sequence[str], fingerprint: str) -> None:
    """Look at heartbeats. Raises ModelDiffers."""
    for queue in queues:
        others = [w for w in workers if queue in w.queues and w.state in _SERVING and w.id != wid and w.fingerprint]
        if others and all(w.fingerprint != fingerprint for w in others):
            one = others[0]
            raise ModelDiffers(queue=queue, theirs=one.fingerprint, worker=_name(one.id), ours=fingerprint)


def _name(wid: str) -> str:
    """Name a worker as people do: gpu0@node7."""
    host, name, _ = wid.rsplit(":", 2)
    return f"{name}@{host}"
