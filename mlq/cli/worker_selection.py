"""The selection of workers on any host, the orders to them, and the outcomes of orders."""

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

_FAILED_READS: Final = 40
"""Failed reads of the heartbeats in a row after which the error is raised."""


@dataclass(frozen=True)
class Followed:
    """The outcome of an order to one worker.

    The worker has stopped, its successor is ready or has failed, or its host no longer sends heartbeats (lost).
    """

    worker: Heartbeat
    outcome: OrderOutcome


def pick(found: Sequence[Heartbeat], names: Collection[str], host: str | None) -> list[Heartbeat]:
    """Select workers by `name` or `name@host`; without names, all of them or all of one host.

    Raises NoSuchWorker, and UsageError for a name without a host that workers of several hosts have.
    """
    candidates = [w for w in found if host in {None, w.host}]
    if not names:
        if not candidates:
            raise NoSuchWorker(name=f"on host {host}" if host else "at all", known=_names(found))
        return candidates
    picked: list[Heartbeat] = []
    for name in names:
        matching = [w for w in candidates if name in {w.name, f"{w.name}@{w.host}"}]
        if not matching:
            raise NoSuchWorker(name=name, known=_names(found))
        if len({w.host for w in matching}) > 1:
            fix = "one of: " + ", ".join(f"{w.name}@{w.host}" for w in matching)
            raise UsageError(what=f"several hosts have a worker {name}", fix=fix)
        picked += [w for w in matching if w not in picked]
    return picked


def _names(found: Sequence[Heartbeat]) -> str:
    return ", ".join(f"{w.name}@{w.host}" for w in found) or "none"


def give(redis: Redis, workers: Sequence[Heartbeat], order: Order) -> None:
    """Store an order for each worker; its supervisor fetches the order with its next heartbeat.

    Raises NotSupervised for a restart of a worker that has no supervisor; then no worker gets the order.
    """
    for worker in workers:
        if order.word == "restart" and worker.supervisor is None:
            raise NotSupervised(name=f"{worker.name}@{worker.host}")
    for worker in workers:
        orders.give(redis, worker.id, order)


def follow(redis: Redis, workers: Sequence[Heartbeat], order: Order, wait: Callable[[], None]) -> Iterator[Followed]:
    """Poll the heartbeats and yield the outcome for each worker, until every worker has one.

    The orders stay in force if the caller abandons the iterator.

    Args:
        redis: The state store.
        workers: The workers that got the order.
        order: The order.
        wait: Called between two polls.
    """
    waiting = {w.id: w for w in workers}
    failed_reads = 0
    while waiting:
        found: Sequence[Heartbeat] | None = None
        try:
            found, failed_reads = heartbeats.read(redis), 0
        except (RedisError, OSError):
            failed_reads += 1
            if failed_reads > _FAILED_READS:
                raise
        for worker in list(waiting.values()):
            outcome = _outcome_without_broker(worker) if found is None else outcome_of(worker, order, found)
            if outcome is not None:
                del waiting[worker.id]
                yield Followed(worker, outcome)
        if waiting:
            wait()


def _outcome_without_broker(worker: Heartbeat) -> OrderOutcome | None:
    """Return "stopped" if the worker's supervisor, which is on this host, has ended together with the embedded broker.

    The embedded broker ends with its last worker, so the heartbeats cannot be read after that.
    """
    if worker.host != socket.gethostname() or worker.supervisor is None:
        return None
    try:
        ended = psutil.Process(worker.supervisor).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        ended = True
    return "stopped" if ended else None


def outcome_of(worker: Heartbeat, order: Order, found: Sequence[Heartbeat]) -> OrderOutcome | None:
    """Return the outcome of an order, given all heartbeats; None while the order is being carried out."""
    current = next((w for w in found if w.id == worker.id), None)
    if current is not None:
        return "lost" if current.state == "lost" else None
    if order.word != "restart":
        return "stopped"
    successor = next((w for w in found if (w.host, w.name) == (worker.host, worker.name)), None)
    if successor is None:  # a supervisor that runs would list the slot, so it has ended
        return "stopped"
    return "ready" if successor.state in _SERVING else "failed" if successor.state == "failed" else None
