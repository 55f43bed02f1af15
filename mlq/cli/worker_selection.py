"""Operating: orders to workers on any host, and what becomes of them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import psutil
from redis.exceptions import RedisError

from mlq.errors import NoSuchWorker, NotSupervised, UsageError
from mlq.store.workers import heartbeats, orders

if TYPE_CHECKING:
    from redis import Redis

    from mlq.store.workers.heartbeats import Heartbeat
    from mlq.store.workers.orders import Order

OrderOutcome = Literal["stopped", "ready", "failed", "lost"]

_SERVING: Final = frozenset({"idle", "busy"})

_LOOKS_IN_VAIN: Final = 40
"""So often a store that is away is asked again, before it is an error."""


@dataclass(frozen=True)
class Followed:
    """What became of an order: the worker has stopped, its successor is ready or has failed, or its host is silent."""

    worker: Heartbeat
    outcome: OrderOutcome


def pick(found: Sequence[Heartbeat], names: Collection[str], host: str | None) -> list[Heartbeat]:
    """Pick workers by `name` or `name@host`; without names all of them, or all of one host.

    Raises NoSuchWorker; UsageError for a bare name that workers of several hosts have.
    """
    there = [w for w in found if host in {None, w.host}]
    if not names:
        if not there:
            raise NoSuchWorker(name=f"on host {host}" if host else "at all", known=_names(found))
        return there
    picked: list[Heartbeat] = []
    for name in names:
        meant = [w for w in there if name in {w.name, f"{w.name}@{w.host}"}]
        if not meant:
            raise NoSuchWorker(name=name, known=_names(found))
        if len({w.host for w in meant}) > 1:
            fix = "one of: " + ", ".join(f"{w.name}@{w.host}" for w in meant)
            raise UsageError(what=f"several hosts have a worker {name}", fix=fix)
        picked += [w for w in meant if w not in picked]
    return picked


def _names(found: Sequence[Heartbeat]) -> str:
    return ", ".join(f"{w.name}@{w.host}" for w in found) or "none"


def give(redis: Redis, workers: Sequence[Heartbeat], order: Order) -> None:
    """Leave an order for each worker; its supervisor takes it with its next heartbeat.

    Raises NotSupervised, before any is given, for a worker that nobody could start anew.
    """
    for worker in workers:
        if order.word == "restart" and worker.supervisor is None:
            raise NotSupervised(name=f"{worker.name}@{worker.host}")
    for worker in workers:
        orders.give(redis, worker.id, order)


def follow(redis: Redis, workers: Sequence[Heartbeat], order: Order, wait: Callable[[], None]) -> Iterator[Followed]:
    """Watch until each worker has done as ordered, or cannot any more; `wait` passes the time between two looks.

    Abandoning the iterator takes no order back.
    """
    waiting = {w.id: w for w in workers}
    looks_in_vain = 0
    while waiting:
        found: Sequence[Heartbeat] | None = None
        try:
            found, looks_in_vain = heartbeats.read(redis), 0
        except (RedisError, OSError):
            looks_in_vain += 1
            if looks_in_vain > _LOOKS_IN_VAIN:
                raise
        for worker in list(waiting.values()):
            outcome = _left_with_its_broker(worker) if found is None else outcome_of(worker, order, found)
            if outcome is not None:
                del waiting[worker.id]
                yield Followed(worker, outcome)
        if waiting:
            wait()


def _left_with_its_broker(worker: Heartbeat) -> OrderOutcome | None:
    """Tell whether a worker's supervisor has ended: with its last worker the embedded broker goes, too."""
    if worker.host != socket.gethostname() or worker.supervisor is None:
        return None
    try:
        ended = psutil.Process(worker.supervisor).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        ended = True
    return "stopped" if ended else None


def outcome_of(worker: Heartbeat, order: Order, found: Sequence[Heartbeat]) -> OrderOutcome | None:
    """Judge by one look at all heartbeats; None while it is not decided."""
    itself = next((w for w in found if w.id == worker.id), None)
    if itself is not None:
        return "lost" if itself.state == "lost" else None
    if order.word != "restart":
        return "stopped"
    successor = next((w for w in found if (w.host, w.name) == (worker.host, worker.name)), None)
    if successor is None:  # its slot would be listed: its supervisor has ended
        return "stopped"
    return "ready" if successor.state in _SERVING else "failed" if successor.state == "failed" else None
