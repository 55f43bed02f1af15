"""A fleet from start to end: a broker that is there, the workers, and nothing left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
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
from mlq.errors import BrokerUnreachable, MlqError
from mlq.ipc.private_files import private_umask
from mlq.liveness.heartbeat_writer import HeartbeatThread
from mlq.liveness.lease_renewer import LeaseThread
from mlq.settings.config import Settings, make_state_directory
from mlq.store.claims.leases import Leases
from mlq.store.jobs.job_tokens import JobTokens
from mlq.store.messages import revocations
from mlq.supervisor import signals
from mlq.supervisor.control.mailbox import MailboxThread
from mlq.supervisor.devices import nvml
from mlq.supervisor.devices.cordon import FaultWatch
from mlq.supervisor.devices.slots import Slots
from mlq.supervisor.logs import LogFiles, LogTails
from mlq.supervisor.news import BrokerAwaited, BrokerFound, News, Planned, Warned
from mlq.supervisor.recovery.lost_results import LostResults
from mlq.supervisor.recovery.recovery import Recovery
from mlq.supervisor.run import Fleet
from mlq.supervisor.spec import WorkerSpec

if TYPE_CHECKING:
    from redis import Redis

Beside = Callable[[Fleet, Slots, Address], AbstractContextManager[None]]
"""Something that runs for as long as the fleet, and gives it workers."""

_AGAIN_S: Final = 1.0
"""Between two tries to reach the broker."""

_ROOT: Final = (
    "root runs the model and every task, with all rights on this host; better is a user of their own: "
    "User= in systemd, --user for a container, or sudo -u"
)

_LAST_WORDS_S: Final = 5.0
"""How long the end waits for the last workers' claims to be given back; then their leases run out."""


def run(
    settings: Settings,
    plan: Callable[[Slots], list[WorkerSpec]],
    tell: Callable[[News], None],
    *,
    wait_broker_s: float = 0.0,
    beside: Beside | None = None,
) -> int:
    """Plan, make sure of a broker, run the workers until they are stopped; give the exit code.

    Devices and model are looked at before a broker is started; for one that is configured and does not answer it
    waits so long. With `beside` the fleet does not end with its last worker: workers come from there.
    Raises what `plan` raises, NoServerProgram, ServerDidNotStart, BrokerUnreachable, BrokerRefused, EvictingBroker,
    OtherSchema, WorkersFailed, WorkersMisconfigured.
    """
    state = make_state_directory(settings)

    def talk(news: News) -> None:
        """Tell, if anybody can hear: a terminal that was closed, or a full disk, must not end the workers."""
        with suppress(OSError):
            tell(news)

    files = LogFiles(state, lost=lambda exc: talk(Warned(f"logs cannot be kept, work goes on: {exc}")))

    def tell_both(news: News) -> None:
        talk(news)
        files(news)

    with private_umask() as umask, closing(Slots(state)) as slots:
        specs = plan(slots)
        with _broker(settings, talk, wait_broker_s) as broker:
            talk(BrokerFound(broker.shown, broker.origin))
            talk(Planned([s.name for s in specs]))
            for gpu in dict.fromkeys(s.gpu for s in specs if s.gpu is not None and s.gpu.occupied):
                talk(Warned(f"{gpu.words} is not free: {gpu.occupied}"))
            with (
                _fleet(settings, broker, specs, tell_both, open_ended=beside is not None, umask=umask) as fleet,
                beside(fleet, slots, broker) if beside is not None else nullcontext(),
            ):
                if os.geteuid() == 0:  # said where workers are about to run, and by no other command
                    talk(Warned(_ROOT))
                return fleet.run()


@contextmanager
def _fleet(
    settings: Settings,
    broker: Address,
    specs: Sequence[WorkerSpec],
    tell: Callable[[News], None],
    *,
    open_ended: bool,
    umask: int,
) -> Iterator[Fleet]:
    """Make a fleet, and the threads that speak for it with broker and store."""
    recovery = _recovery(settings, broker)
    faults = FaultWatch(nvml.library)
    drain_s = settings.worker.drain_timeout
    fleet = Fleet(specs, tell, recovery.died, drain_s, open_ended=open_ended, faults=faults, umask=umask)
    heart = HeartbeatThread(partial(state_store, settings), fleet.describe, fleet.obey, LogTails(fleet.last_lines))
    mailbox = _mailbox(settings, broker, fleet, heart.hurry)
    try:
        with _leases(settings, broker, fleet, tell):
            # No thread before this one has opened a connection: kombu's lazy modules must not be imported by two at
            # once, or one of them fails with an ImportError.
            if is_redis(broker.url):
                recovery.start()
            heart.start()
            mailbox.start()
            yield fleet
    finally:
        mailbox.end()
        recovery.end(_LAST_WORDS_S)
        heart.end()
        faults.end()


class _Remembered:
    """What was revoked, in the state store, as long as that can be reached."""

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


def _mailbox(settings: Settings, broker: Address, fleet: Fleet, beat: Callable[[], None]) -> MailboxThread:
    """Make the thread that hears for busy workers; what was revoked before is revoked from the start."""
    remembered = _Remembered(settings)
    fleet.notices.revoke(remembered.read())
    return MailboxThread(
        partial(connected, settings, broker),
        fleet.addressed,
        fleet.notices,
        fleet.terminate,
        remembered,
        beat,
        controls=settings.controls,
    )


@contextmanager
def _leases(settings: Settings, broker: Address, fleet: Fleet, tell: Callable[[News], None]) -> Iterator[None]:
    """Keep the workers' leases renewed, where the broker knows leases; look at what else it would do to messages."""
    if not is_redis(broker.url):
        with connected(settings, broker) as connection:
            rabbitmq.declare(connection, settings, settings.served_queues)
        yield
        return
    with connected(settings, broker) as connection:
        redis = redis_client(connection)
        for warning in safety.check(redis, broker, settings.served_queues):
            tell(Warned(warning))
        schema.enter(redis, broker)
        leases = Leases(redis, round(1000 * settings.lease))
        thread = LeaseThread(redis, leases, fleet.leased, fleet.fence)
        thread.start()
        try:
            yield
        finally:
            thread.end()


def _recovery(settings: Settings, broker: Address) -> Recovery:
    """Make the thread that gives back what dead workers held."""

    @contextmanager
    def open_broker() -> Iterator[Redis]:
        with connected(settings, broker) as connection:
            yield redis_client(connection)

    def answer_key(task_id: str) -> tuple[str, int]:
        return f"celery-task-meta-{task_id}", settings.result_expires

    here = results_beside_queues(settings, broker)
    vouches = JobTokens(partial(state_store, settings)).vouches
    told = LostResults(answer_key, partial(result_store, settings), vouches=vouches, answers_here=here)
    return Recovery(open_broker, told)


@contextmanager
def _broker(settings: Settings, tell: Callable[[News], None], wait_s: float) -> Iterator[Address]:
    """Make sure that a broker answers: the configured one, else the embedded one, which is ours to start."""
    if settings.broker_url is None:
        with embedded.running(make_state_directory(settings)):
            yield broker_address(settings)
        return
    address = broker_address(settings)
    with signals.remembered(signal.SIGINT) as interrupted:
        _wait_for(settings, address, tell, time.monotonic() + wait_s, interrupted)
        if interrupted():
            raise KeyboardInterrupt
    yield address


def _wait_for(
    settings: Settings, address: Address, tell: Callable[[News], None], until: float, interrupted: Callable[[], bool]
) -> None:
    """Try to reach the broker until it answers, or somebody interrupts. Raises BrokerUnreachable at last."""
    while not interrupted():
        try:
            with connected(settings, address):
                return
        except BrokerUnreachable as exc:
            if time.monotonic() >= until:
                raise
            tell(BrokerAwaited(exc.message))
            time.sleep(_AGAIN_S)
