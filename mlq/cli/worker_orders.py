"""The part that `worker stop`, `drain` and `restart` share: select workers, give an order, wait for its outcome."""

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
from mlq.cli.setting_help import describe
from mlq.cli.worker_selection import Followed
from mlq.errors import MlqError, OrderPending, UsageError, WorkersNotDone
from mlq.store.workers import heartbeats, orders
from mlq.store.workers.orders import Order

if TYPE_CHECKING:
    from redis import Redis

    from mlq.store.workers.heartbeats import Heartbeat

_POLL_EVERY_S: Final = 0.25

STOP_DRAIN_TIMEOUT_S: Final = 30.0
"""Default of `worker stop --drain-timeout`."""

Names = Annotated[
    list[str] | None, typer.Argument(help="Names of workers, such as cpu0 or cpu0@host.", metavar="[NAME]...")
]
AllWorkers = Annotated[bool, typer.Option("--all", help="Select all workers of all hosts.")]
Host = Annotated[
    str | None,
    typer.Option("--host", help="Select workers of this host only: all, or those named.", metavar="HOST"),
]


def _drain_timeout(default: str | None = None) -> Any:
    """Make --drain-timeout; its default is the setting's, unless given."""
    text = describe("worker.drain_timeout", default=default)
    return options.written_duration_option("--drain-timeout", text)


DrainTimeout = Annotated[float | None, _drain_timeout()]
StopDrainTimeout = Annotated[float | None, _drain_timeout(f"{STOP_DRAIN_TIMEOUT_S:g}")]
Timeout = Annotated[
    float | None,
    options.duration_option(
        "--timeout",
        "Seconds to wait for the outcome, then exit 7; the order stays in force",
        default="default: no limit",
        least_s=0.1,
    ),
]


@dataclass(frozen=True)
class WorkerSelector:
    """The workers that an order is for."""

    names: Sequence[str]
    """Names of workers; empty for all workers of `host`, or of every host."""
    every_worker: bool
    """Whether --all was given."""
    host: str | None
    """The host whose workers are selected, None for every host."""

    def check(self) -> None:
        """Raise UsageError if no worker was selected: an order without names must not reach all workers."""
        if not (self.names or self.every_worker or self.host) or (self.names and self.every_worker):
            raise UsageError(what="name workers, or give --host or --all", fix="`mlq worker` lists them")


def carry_out(
    call: Invocation, selector: WorkerSelector, order: Order, *, rolling: bool, timeout: float | None
) -> None:
    """Give an order to workers and wait until they have carried it out.

    Args:
        call: This call of mlq.
        selector: The workers.
        order: The order.
        rolling: Give the order to one worker after another; the next one gets it when the one before is ready.
        timeout: Seconds to wait, None for no limit.

    Raises UsageError, NoSuchWorker, NotSupervised, OrderPending (exit 7), WorkersNotDone.
    """
    selector.check()
    with state_store(call.settings) as store, explained(state_address(call.settings)):
        workers = worker_selection.pick(heartbeats.read(store), selector.names, selector.host)
        turns = [[w] for w in workers] if rolling else [workers]
        with recorded(call, f"worker {order.word}", ", ".join(map(_name, workers)), store) as record:
            done = _give_and_follow(call, store, turns, order, _Deadline(timeout), record)
            if call.terminal.json:
                call.terminal.emit(document(order, done))
            _check_outcomes(order, done)
            record.detail = ", ".join(f"{_name(f.worker)} {f.outcome}" for f in done)


def _check_outcomes(order: Order, done: Sequence[Followed]) -> None:
    """Raise WorkersNotDone if the outcome of a worker is not the one that was ordered."""
    wanted = "ready" if order.word == "restart" else "stopped"
    failed = [_name(f.worker) for f in done if f.outcome != wanted]
    if failed:
        raise WorkersNotDone(names=", ".join(failed))


def _give_and_follow(
    call: Invocation,
    store: Redis,
    turns: Sequence[Sequence[Heartbeat]],
    order: Order,
    wait: Callable[[], None],
    record: Record,
) -> list[Followed]:
    """Give the order in turns, and return the outcomes. Raises OrderPending when the wait is cut short."""
    done: list[Followed] = []
    number = sum(map(len, turns))
    try:
        for turn in turns:
            worker_selection.give(store, turn, order)
            # Recorded before the outcome is known: an embedded broker ends together with its last worker.
            record.end("pending", f"given to {', '.join(map(_name, turn))}")
            _announce(call, turn)
            for followed in worker_selection.follow(store, turn, order, wait):
                done.append(followed)
                call.terminal.say(f"{_name(followed.worker)}: {followed.outcome}")
            if any(f.outcome != "ready" for f in done) and order.word == "restart":
                break  # the next worker would fail in the same way
    except (KeyboardInterrupt, _DeadlinePassed):
        raise OrderPending(number=number - len(done), workers=number) from None
    return done


def _announce(call: Invocation, workers: Sequence[Heartbeat]) -> None:
    """Ask supervisors to fetch their orders at once; otherwise they fetch them with their next heartbeat."""
    with suppress(MlqError), connected(call.settings, broker_address(call.settings)) as connection:
        orders.announce(connection, map(_name, workers))


class _DeadlinePassed(Exception):
    """The seconds of --timeout have passed."""


class _Deadline:
    """Waits between two polls of the heartbeats; raises _DeadlinePassed when the time is up."""

    def __init__(self, seconds: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = None if seconds is None else clock() + seconds

    def __call__(self) -> None:
        if self._until is not None and self._clock() >= self._until:
            raise _DeadlinePassed
        time.sleep(_POLL_EVERY_S)


def document(order: Order, done: Sequence[Followed]) -> dict[str, Any]:
    """Describe an order and its outcome for each worker, as mlq.order/1."""
    outcomes = [{"name": f.worker.name, "host": f.worker.host, "outcome": f.outcome} for f in done]
    return {"schema": "mlq.order/1", "order": order.word, "workers": outcomes}


def _name(worker: Heartbeat) -> str:
    return f"{worker.name}@{worker.host}"
