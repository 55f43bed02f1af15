"""One run of a supervisor from start to end: the broker, the workers, and the threads beside the event loop."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from mlq.broker import embedded, rabbitmq, safety, schema
from mlq.broker.connection import (
    Address,
    broker_address,
    connected,
    is_redis,
    redis_client,
    result_store,
    results_beside_queues,
    state_store,
)
from mlq.broker.errors import BrokerUnreachable
from mlq.errors import MlqError
from mlq.ipc.private_files import private_umask
from mlq.ipc.shared_pages import SupervisorNotices
from mlq.liveness.heartbeat_writer import HeartbeatThread
from mlq.liveness.lease_renewer import LeaseThread
from mlq.settings.config import Settings, make_state_directory
from mlq.store.claims.leases import Leases
from mlq.store.jobs.job_tokens import JobTokens
from mlq.store.messages import revocations
from mlq.supervisor import signals
from mlq.supervisor.control.inspection import addressed
from mlq.supervisor.control.mailbox import MailboxThread
from mlq.supervisor.devices import nvml
from mlq.supervisor.devices.cordon import FaultWatch
from mlq.supervisor.devices.slots import Slots
from mlq.supervisor.event_loop import STOP_SIGNALS, Fleet
from mlq.supervisor.fleet_handle import FleetHandle
from mlq.supervisor.heartbeat_source import HeartbeatSource
from mlq.supervisor.logs import LogFiles, LogTails
from mlq.supervisor.news import BrokerAwaited, BrokerFound, News, Planned, Warned
from mlq.supervisor.recovery.lost_results import LostResults
from mlq.supervisor.recovery.recovery import Recovery
from mlq.supervisor.spec import WorkerSpec

if TYPE_CHECKING:
    from redis import Redis

Beside = Callable[[FleetHandle, Slots, Address], AbstractContextManager[None]]
"""A context that runs as long as the fleet and adds workers to it, such as an autoscaler."""

_AGAIN_S: Final = 1.0
"""Seconds between two attempts to reach the broker."""

_ROOT: Final = (
    "root runs the model and every task, with all rights on this host; run workers as a user of their own: "
    "User= in systemd, --user for a container, or sudo -u"
)

_LAST_RECOVERY_S: Final = 5.0
"""Seconds to wait at the end until the last workers' claims are given back; after that their leases run out."""


def run(
    settings: Settings,
    plan: Callable[[Slots], list[WorkerSpec]],
    emit: Callable[[News], None],
    *,
    wait_broker_s: float = 0.0,
    beside: Beside | None = None,
) -> int:
    """Plan the workers, make sure that a broker answers, and run the workers until they are stopped.

    The plan comes first, so that a wrong device or model is reported before an embedded broker is started.

    Args:
        plan: Takes the slots of the workers and returns their specs.
        emit: Called with each piece of news.
        wait_broker_s: Seconds to wait for a configured broker that does not answer.
        beside: Adds workers; with it the run does not end with its last worker.

    Returns the exit code. Raises what `plan` raises, NoServerProgram, ServerDidNotStart, BrokerUnreachable,
    BrokerRefused, EvictingBroker, OtherSchema, WorkersFailed, WorkersMisconfigured.
    """
    state = make_state_directory(settings)

    def show(news: News) -> None:
        """Show news if possible: a closed terminal or a full disk must not end the workers."""
        with suppress(OSError):
            emit(news)

    files = LogFiles(state, lost=lambda exc: show(Warned(f"log files cannot be written, work goes on: {exc}")))

    def show_and_keep(news: News) -> None:
        show(news)
        files(news)

    with private_umask() as umask, closing(Slots(state)) as slots:
        specs = plan(slots)
        with _broker(settings, show, wait_broker_s) as broker:
            show(BrokerFound(broker.shown, broker.origin))
            _show_plan(specs, show)
            with _fleet(settings, broker, specs, show_and_keep, open_ended=beside is not None, umask=umask) as fleet:
                start = (lambda: beside(fleet.handle, slots, broker)) if beside is not None else nullcontext
                with _watching_signals(start) as stops:
                    _warn_root(show)
                    return fleet.run(stops)


def _show_plan(specs: Sequence[WorkerSpec], show: Callable[[News], None]) -> None:
    """Show which workers are planned, and which of their GPUs are not free."""
    show(Planned([s.name for s in specs]))
    for gpu in dict.fromkeys(s.gpu for s in specs if s.gpu is not None and s.gpu.occupied):
        show(Warned(f"{gpu.words} is not free: {gpu.occupied}"))


def _warn_root(show: Callable[[News], None]) -> None:
    """Warn root, once the server has been accepted and nothing but a signal keeps the workers from running."""
    if os.geteuid() == 0:
        show(Warned(_ROOT))


@contextmanager
def _watching_signals(start: Callable[[], AbstractContextManager[object]]) -> Iterator[socket.socket]:
    """Run `start` beside the block, and yield the socket at which the signals arrive.

    A signal must not end this process while `start` begins, or its end would not follow. Signals are not held back
    while it ends, because it may wait for a server that does not answer.
    """
    with ExitStack() as watching:
        stops = watching.enter_context(signals.watched(STOP_SIGNALS))
        with start(), watching.pop_all():
            yield stops


@contextmanager
def _fleet(
    settings: Settings,
    broker: Address,
    specs: Sequence[WorkerSpec],
    emit: Callable[[News], None],
    *,
    open_ended: bool,
    umask: int,
) -> Iterator[Fleet]:
    """Make a fleet, and run the threads that talk to the broker and the store for it."""
    recovery = _recovery(settings, broker)
    faults = FaultWatch(nvml.library)
    drain_s = settings.worker.drain_timeout
    fleet = Fleet(specs, emit, recovery.died, drain_s, open_ended=open_ended, faults=faults, umask=umask)
    heart = _heartbeats(settings, fleet.handle)
    mailbox = _mailbox(settings, broker, fleet.handle, fleet.notices, heart.hurry)
    try:
        with _leases(settings, broker, fleet.handle, emit):
            # The threads start only now, after this thread has opened a connection: if two threads import kombu's
            # lazy modules at once, one of them fails with an ImportError.
            if is_redis(broker.url):
                recovery.start()
            heart.start()
            mailbox.start()
            yield fleet
    finally:
        mailbox.ask_to_end()
        recovery.end(_LAST_RECOVERY_S)
        heart.end()
        faults.ask_to_end()


class _Revocations:
    """The revoked tasks in the state store. While it cannot be reached, nothing is written or read."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def add(self, task_ids: Sequence[str]) -> None:
        with suppress(MlqError), state_store(self._settings) as store:
            revocations.add(store, task_ids)

    def read(self) -> Sequence[str]:
        if self._settings.controls == "none":
            return ()
        with suppress(MlqError), state_store(self._settings) as store:
            return revocations.read(store)
        return ()


def _heartbeats(settings: Settings, fleet: FleetHandle) -> HeartbeatThread:
    """Make the thread that writes the workers' heartbeats and last log lines, and receives the orders for them."""
    source = HeartbeatSource(fleet.view)
    return HeartbeatThread(partial(state_store, settings), source.read, fleet.obey, LogTails(fleet.view))


def _mailbox(
    settings: Settings, broker: Address, fleet: FleetHandle, notices: SupervisorNotices, beat: Callable[[], None]
) -> MailboxThread:
    """Make the thread that answers control messages for busy workers, with all tasks revoked so far."""
    revoked = _Revocations(settings)
    notices.revoke(revoked.read())
    return MailboxThread(
        partial(connected, settings, broker),
        lambda: addressed(fleet.view()),
        notices,
        fleet.terminate,
        revoked,
        beat,
        controls=settings.controls,
    )


@contextmanager
def _leases(settings: Settings, broker: Address, fleet: FleetHandle, emit: Callable[[News], None]) -> Iterator[None]:
    """Renew the workers' leases, and warn of a server that could lose messages; without Redis declare the queues."""
    if not is_redis(broker.url):
        with connected(settings, broker) as connection:
            rabbitmq.declare(connection, settings, settings.served_queues)
        yield
        return
    with connected(settings, broker) as connection:
        redis = redis_client(connection)
        for warning in safety.check(redis, broker, settings.served_queues):
            emit(Warned(warning))
        schema.enter(redis, broker)
        thread = _renewal(settings, redis, fleet)
        thread.start()
        try:
            yield
        finally:
            thread.end()


def _renewal(settings: Settings, redis: Redis, fleet: FleetHandle) -> LeaseThread:
    """Make the thread that renews the workers' leases."""
    leases = Leases(redis, round(1000 * settings.lease))
    return LeaseThread(redis, leases, lambda: fleet.view().leased, fleet.fence)


def _recovery(settings: Settings, broker: Address) -> Recovery:
    """Make the thread that gives back the claims of dead workers."""

    @contextmanager
    def open_broker() -> Iterator[Redis]:
        with connected(settings, broker) as connection:
            yield redis_client(connection)

    def answer_key(task_id: str) -> tuple[str, int]:
        return f"celery-task-meta-{task_id}", settings.result_expires

    here = results_beside_queues(settings, broker)
    belongs_to_job = JobTokens(partial(state_store, settings)).belongs_to_job
    lost = LostResults(answer_key, partial(result_store, settings), belongs_to_job=belongs_to_job, answers_here=here)
    return Recovery(open_broker, lost)


@contextmanager
def _broker(settings: Settings, emit: Callable[[News], None], wait_s: float) -> Iterator[Address]:
    """Make sure that a broker answers: the configured one, or else the embedded one, which is started here."""
    if settings.broker_url is None:
        with embedded.running(make_state_directory(settings)):
            yield broker_address(settings)
        return
    address = broker_address(settings)
    with signals.recorded(signal.SIGINT) as interrupted:
        _wait_for(settings, address, emit, time.monotonic() + wait_s, interrupted)
        if interrupted():
            raise KeyboardInterrupt
    yield address


def _wait_for(
    settings: Settings, address: Address, emit: Callable[[News], None], until: float, interrupted: Callable[[], bool]
) -> None:
    """Try to connect to the broker until it answers or an interrupt comes. Raises BrokerUnreachable after `until`."""
    while not interrupted():
        try:
            with connected(settings, address):
                return
        except BrokerUnreachable as exc:
            if time.monotonic() >= until:
                raise
            emit(BrokerAwaited(exc.message))
            time.sleep(_AGAIN_S)
