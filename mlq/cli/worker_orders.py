"""What `worker stop`, `drain` and `restart` share: pick workers, give an order, tell what becomes of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mlq.broker.connection import broker_address, connected, explained, state_address, state_store
from mlq.cli import options, worker_selection
from mlq.cli.invocation import Invocation
from mlq.cli.order_record import Record, recorded
from mlq.cli.worker_selection import Followed
from mlq.errors import MlqError, OrderPending, UsageError, WorkersNotDone
from mlq.store.workers import heartbeats, orders
from mlq.store.workers.orders import Order

if TYPE_CHECKING:
    from redis import Redis

    from mlq.store.workers.heartbeats import Heartbeat

_LOOK_EVERY_S: Final = 0.25

Names = Annotated[list[str] | None, typer.Argument(help="Workers: cpu0, or cpu0@host.", metavar="[NAME]...")]
AllWorkers = Annotated[bool, typer.Option("--all", help="All workers of all hosts.")]
Host = Annotated[str | None, typer.Option("--host", help="Workers of this host: all, or those named.", metavar="HOST")]
Deadline = Annotated[
    float | None,
    typer.Option(
        "--drain-timeout",
        help="Give back what still runs after so long.",
        metavar="SECONDS",
        min=0,
        callback=options.finite,
    ),
]
Patience = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        help="Wait no longer than this; the order stands (exit 7).",
        metavar="SECONDS",
        min=0.1,
        callback=options.finite,
    ),
]


@dataclass(frozen=True)
class WorkerSelector:
    """Whom an operator means: by name, or everyone, on one host or on all."""

    names: Sequence[str]
    everyone: bool
    host: str | None

    def check(self) -> None:
        """Raise UsageError where nobody was named: silence must not mean everybody."""
        if not (self.names or self.everyone or self.host) or (self.names and self.everyone):
            raise UsageError(what="name workers or a --host, or say --all", fix="`mlq worker` lists them")


def carry_out(call: Invocation, whom: WorkerSelector, order: Order, *, rolling: bool, patience: float | None) -> None:
    """Give the order and wait until it is done; with `rolling` to one worker after the other.

    Raises UsageError, NoSuchWorker, NotSupervised, OrderPending (exit 7), WorkersNotDone.
    """
    whom.check()
    with state_store(call.settings) as store, explained(state_address(call.settings)):
        workers = worker_selection.pick(heartbeats.read(store), whom.names, whom.host)
        turns = [[w] for w in workers] if rolling else [workers]
        with recorded(call, f"worker {order.word}", ", ".join(map(_name, workers)), store) as record:
            done = _followed(call, store, turns, order, _Patience(patience), record)
            if call.terminal.json:
                call.terminal.emit(document(order, done))
            _demand_done(order, done)
            record.detail = ", ".join(f"{_name(f.worker)} {f.outcome}" for f in done)


def _demand_done(order: Order, done: Sequence[Followed]) -> None:
    """Raise WorkersNotDone that names the workers that did not do as ordered."""
    wanted = "ready" if order.word == "restart" else "stopped"
    failed = [_name(f.worker) for f in done if f.outcome != wanted]
    if failed:
        raise WorkersNotDone(names=", ".join(failed))


def _followed(
    call: Invocation,
    store: Redis,
    turns: Sequence[Sequence[Heartbeat]],
    order: Order,
    wait: Callable[[], None],
    record: Record,
) -> list[Followed]:
    done: list[Followed] = []
    number = sum(map(len, turns))
    try:
        for turn in turns:
            worker_selection.give(store, turn, order)
            # An embedded broker ends with its last worker, before the result can be recorded.
            record.end("pending", f"given to {', '.join(map(_name, turn))}")
            _announce(call, turn)
            for followed in worker_selection.follow(store, turn, order, wait):
                done.append(followed)
                call.terminal.say(f"{_name(followed.worker)}: {followed.outcome}")
            if any(f.outcome != "ready" for f in done) and order.word == "restart":
                break  # a rolling restart that goes on would take the next one down, too
    except (KeyboardInterrupt, _OutOfPatience):
        raise OrderPending(number=number - len(done), workers=number) from None
    return done


def _announce(call: Invocation, workers: Sequence[Heartbeat]) -> None:
    """Have the orders fetched at once; without it supervisors fetch them with their next heartbeat."""
    with suppress(MlqError), connected(call.settings, broker_address(call.settings)) as connection:
        orders.announce(connection, map(_name, workers))


class _OutOfPatience(Exception):
    """The time that the user gave has passed."""


class _Patience:
    """Passes the time between two looks, until there is none left."""

    def __init__(self, seconds: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = None if seconds is None else clock() + seconds

    def __call__(self) -> None:
        if self._until is not None and self._clock() >= self._until:
            raise _OutOfPatience
        time.sleep(_LOOK_EVERY_S)


def document(order: Order, done: Sequence[Followed]) -> dict[str, Any]:
    """mlq.order/1: what was ordered, and what became of it."""
    outcomes = [{"name": f.worker.name, "host": f.worker.host, "outcome": f.outcome} for f in done]
    return {"schema": "mlq.order/1", "order": order.word, "workers": outcomes}


def _name(worker: Heartbeat) -> str:
    return f"{worker.name}@{worker.host}"
