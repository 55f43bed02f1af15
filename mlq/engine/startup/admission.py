"""Admission: all workers of a queue serve the same model; a worker with another one is refused, except in a rollout.

Heartbeats show all workers, but are a moment old. With leases, one script (register.lua) checks the other workers and
registers this one, so if two models start at the same moment, one of them is refused. With RabbitMQ, or with a prefork
pool, there is no lease, and two models that start within a moment are both admitted.
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
    """Register the lease of a worker, if its queues are served with the same model. Raises ModelDiffers."""
    differing = leases.register(wid, queues, fingerprint, rollout=rollout)
    if differing is not None:
        raise ModelDiffers(
            queue=differing.queue, theirs=differing.fingerprint, worker=_name(differing.wid), ours=fingerprint
        )


def check_others(settings: Settings, wid: str, fingerprint: str) -> None:
    """Check by heartbeats that no other worker serves these queues with another model. Raises ModelDiffers."""
    with state_store(settings) as store:
        check(heartbeats.read(store), wid, settings.served_queues, fingerprint)


def check(workers: Collection[Heartbeat], wid: str, queues: Sequence[str], fingerprint: str) -> None:
    """Check these heartbeats. Raises ModelDiffers."""
    for queue in queues:
        others = [w for w in workers if queue in w.queues and w.state in _SERVING and w.id != wid and w.fingerprint]
        if others and all(w.fingerprint != fingerprint for w in others):
            one = others[0]
            raise ModelDiffers(queue=queue, theirs=one.fingerprint, worker=_name(one.id), ours=fingerprint)


def _name(wid: str) -> str:
    """Format a worker id as name@host, as in gpu0@node7."""
    host, name, _ = wid.rsplit(":", 2)
    return f"{name}@{host}"
