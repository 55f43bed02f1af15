"""Run a fleet: the thin shell around the Supervisor's decisions. Signals, pidfds and pipes in; processes out."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from typing import Final

from mlq import __version__
from mlq.errors import WorkersFailed, WorkersMisconfigured
from mlq.ipc import ready_pipe
from mlq.ipc.supervisor_notices import SupervisorNotices
from mlq.ipc.wakeup import Wakeup
from mlq.ipc.worker_report import WorkerReport
from mlq.store.workers.heartbeats import Heartbeat
from mlq.store.workers.orders import Order
from mlq.supervisor import registry, signals
from mlq.supervisor.child import LAST_LINES, Child
from mlq.supervisor.control.inspection import BusyWorker
from mlq.supervisor.devices.cordon import FaultWatch
from mlq.supervisor.events import (
    Abandon,
    Abort,
    Action,
    Added,
    Began,
    Died,
    Drain,
    Event,
    Fenced,
    GiveBackAndEnd,
    GiveUp,
    Kill,
    Ordered,
    Overdue,
    Postponed,
    Ready,
    Start,
    StopAsked,
    Terminated,
    Tick,
)
from mlq.supervisor.installation import Installation
from mlq.supervisor.news import BecameReady, GaveUp, Logged, News, Started, Stopping, Warned, exit_text
from mlq.supervisor.recovery.death import Death, OomWatch
from mlq.supervisor.recovery.leftovers import Adopted, Guard, Leftovers, adopting_orphans
from mlq.supervisor.spec import WorkerSpec
from mlq.supervisor.supervisor import SYSTEM_REFUSES, Supervisor

_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SIGNALS: Final[Mapping[type[Action], signal.Signals]] = {
    Drain: signal.SIGTERM,
    GiveBackAndEnd: signal.SIGQUIT,
    Abort: signal.SIGABRT,
    Kill: signal.SIGKILL,
}

_LOOK_EVERY_S: Final = 1.0
"""Between two looks at time limits, where nothing else happens."""

_LOOK_AT_LEFTOVERS_S: Final = 0.02
"""Between two looks at processes that a dead worker has left, until they have ended."""

_LATE_S: Final = 2.0
"""How much later than it announced a worker may end, before it is killed."""


class Fleet:
    """Workers on this host, kept as their specs say until a signal ends them."""

    def __init__(
        self,
        specs: Sequence[WorkerSpec],
        tell: Callable[[News], None],
        recover: Callable[[Death], None],
        drain_s: float | None = None,
        *,
        open_ended: bool = False,
        faults: FaultWatch | None = None,
        umask: int = -1,
    ) -> None:
        self._specs = {s.name: s for s in specs}
        self.notices = SupervisorNotices()
        self._tell = tell
        self._recover = recover
        self._faults = faults
        self._umask = umask
        self._oom = OomWatch()
        self._installation = Installation()
        self._told_of_upgrade = False
        self._supervisor = Supervisor(self._specs, drain_s, open_ended=open_ended)
        self._last_lines: dict[str, deque[str]] = {}
        self._asked: deque[Callable[[], None]] = deque()
        self._rollouts: set[str] = set()
        self._wakeup = Wakeup()
        self._children: dict[str, Child] = {}
        self._guard = Guard()
        self._left: dict[Child, tuple[Leftovers, Died]] = {}
        self._adopted = Adopted()
        self._collected_at = 0.0
        self._selector = selectors.DefaultSelector()
        self._stopped_by: int | None = None

    def run(self) -> int:
        """Run until stopped (0, or 130/143 when it took a second signal) or until nothing is left to run.

        Raises WorkersFailed or WorkersMisconfigured when every slot was given up.
        """
        self._guard.start()
        with (
            adopting_orphans(),
            closing(self._guard),
            signals.watched(_STOP_SIGNALS) as stops,
            self._selector,
        ):
            self._watch(stops.fileno(), lambda: self._stop_asked(stops))
            self._watch(self._wakeup.fd, self._answer)
            self._step(Began())
            while not self._supervisor.finished:
                self._wait()
        return self._exit_code()

    # For threads that speak with the store and the broker

    def describe(self) -> list[Heartbeat]:
        """Say what is known of each worker that is there, or should be."""
        empty = self._supervisor.empty
        described = []
        for slot, child in list(self._children.items()):
            said = registry.blank(child.spec, child.wid)
            said = replace(said, restarts=self._supervisor.restarts(slot), started_at=child.started_at)
            if slot in empty:
                described.append(replace(said, state="failed" if empty[slot] else "starting"))
            elif slot in self._supervisor.running:
                said = registry.alive(said, child) if child.ended_with is None else said  # its leftovers end now
                ending = self._supervisor.is_draining(slot) and said.state != "hung"
                described.append(replace(said, state="draining") if ending else said)
        return described

    def leased(self) -> list[str]:
        """Name the workers whose leases are to be renewed."""
        return [c.wid for c in self._running if (report := c.board.read()) is not None and report.leased]

    @property
    def _running(self) -> list[Child]:
        found = [self._children[s] for s in self._supervisor.running if s in self._children]
        return [child for child in found if child.ended_with is None]

    def last_lines(self) -> dict[str, list[str]]:
        """Give the last lines of each worker, those of the process before it first."""
        return {slot: list(lines) for slot, lines in list(self._last_lines.items())}

    @property
    def vacant(self) -> dict[str, bool]:
        """Slots whose worker has ended for good: whether it failed, by its deaths or by never becoming ready."""
        unready = {slot for slot, child in list(self._children.items()) if child.ready_s is None}
        return {slot: gave_up or slot in unready for slot, gave_up in self._supervisor.vacant.items()}

    @property
    def cordoned(self) -> frozenset[str]:
        """Slots whose last worker died of a fault of its device."""
        return frozenset(slot for slot, child in list(self._children.items()) if child.cordoned)

    def add(self, spec: WorkerSpec) -> None:
        """Start one more worker."""
        self._ask(lambda: self._add(spec))

    def _add(self, spec: WorkerSpec) -> None:
        self._specs[spec.name] = spec
        self._step(Added(spec.name))

    @property
    def stopping(self) -> bool:
        """Whether a signal has asked it to end."""
        return self._supervisor.stops > 0

    def settle(self) -> None:
        """Take no more workers, and end with the last of those that are there."""
        self._ask(self._supervisor.settle)

    def fence(self, wids: Collection[str]) -> None:
        """Kill workers whose lease was taken away: what they do is void. One that has given it back is on its way."""
        self._ask(lambda: self._tell_supervisor([w for w in self.leased() if w in wids], Fenced))

    def addressed(self) -> list[BusyWorker]:
        """Describe the workers as Celery's control messages address them."""
        here = socket.gethostname()
        return [
            BusyWorker(f"{c.spec.name}@{here}", c.pid, c.wid, c.spec.settings.served_queues, c.started_at, report)
            for c in self._running
            if (report := c.board.read()) is not None
        ]

    def terminate(self, wid: str) -> None:
        """End a worker whose task was revoked."""
        self._ask(lambda: self._tell_supervisor([wid], Terminated))

    def obey(self, orders: Mapping[str, Order]) -> None:
        """Do what an operator wants of these workers."""
        for wid, order in orders.items():
            self._ask(partial(self._obey, wid, order))

    def _ask(self, action: Callable[[], None]) -> None:
        """Let the loop do something: no thread but the loop's touches the supervisor or a child."""
        self._asked.append(action)
        self._wakeup.ring()

    def _answer(self) -> None:
        self._wakeup.clear()
        while self._asked:
            self._asked.popleft()()

    def _obey(self, wid: str, order: Order) -> None:
        again = order.word == "restart"
        if again:  # with the model file as it is now, whatever the others serve: until it is ready, and that once
            self._rollouts |= {slot for slot, child in self._children.items() if child.wid == wid}
        self._tell_supervisor([wid], lambda slot: Ordered(slot, again, order.seconds))

    def _tell_supervisor(self, wids: Collection[str], event: Callable[[str], Event]) -> None:
        """Turn words about incarnations into events of slots; one that is gone is nobody's any more."""
        for slot in [s for s, child in self._children.items() if child.wid in wids]:
            self._step(event(slot))

    def _exit_code(self) -> int:
        if self._supervisor.stops > 1 and self._stopped_by is not None:
            return 128 + self._stopped_by
        failed = self._supervisor.failed
        if not self._supervisor.stops and failed:
            kind = WorkersMisconfigured if self._supervisor.is_misconfigured else WorkersFailed
            raise kind(slots=", ".join(failed))
        return 0

    def _step(self, event: Event) -> None:
        for action in self._supervisor.step(event, time.monotonic()):
            self._apply(action)

    def _apply(self, action: Action) -> None:
        match action:
            case Start(slot):
                self._start(slot)
            case Postponed():
                self._tell(action)
            case GiveUp(slot, code, deaths):
                child = self._children[slot]
                self._tell(GaveUp(slot, code, deaths, list(child.last_lines), child.cordoned))
            case Abandon(slot):
                self._abandon(self._children[slot])
            case Drain(slot) | GiveBackAndEnd(slot) | Abort(slot) | Kill(slot):
                self._children[slot].signal(_SIGNALS[type(action)])

    def _start(self, slot: str) -> None:
        spec = self._specs[slot]
        # Waiting messages are looked at when an operator starts the slot, never when it is restarted: a client could
        # otherwise keep a worker from coming back by what it sends.
        checks = spec.checks_tasks and slot not in self._children
        spec = replace(spec, rollout=spec.rollout or slot in self._rollouts, checks_tasks=checks)
        try:
            child = Child(spec, os.environ, self.notices, self._guard.owner, self._umask)
        except OSError as exc:
            where = f": {exc.filename}" if exc.filename else ""
            self._tell(Warned(f"{slot} cannot be started: {exc.strerror or exc}{where}"))
            self._step(Died(slot, SYSTEM_REFUSES))
            return
        self._children[slot] = child
        self._guard.follow(child.pid)
        self._watch(child.log.fd, lambda: self._read_log(child))
        self._watch(child.status.fd, lambda: self._read_status(child))
        self._watch(child.pidfd, lambda: self._collect(child))
        if self._faults is not None and child.spec.gpu is not None:
            self._faults.follow(child.spec.gpu)
        self._tell(Started(slot, child.pid, child.spec.device))

    def _watch(self, fd: int, handle: Callable[[], None]) -> None:
        self._selector.register(fd, selectors.EVENT_READ, handle)

    def _read_log(self, child: Child) -> None:
        self._log(child, child.log.read())
        if child.log.ended:
            self._selector.unregister(child.log.fd)

    def _log(self, child: Child, lines: Sequence[str]) -> None:
        child.last_lines.extend(lines)
        self._last_lines.setdefault(child.spec.name, deque(maxlen=LAST_LINES)).extend(lines)
        for line in lines:
            self._tell(Logged(child.spec.name, line))

    def _read_status(self, child: Child) -> None:
        slot = child.spec.name
        for line in child.status.read():
            if line == ready_pipe.READY:
                child.ready_s = time.monotonic() - child.began_at
                self._rollouts.discard(slot)
                self._tell(BecameReady(slot, child.ready_s))
                self._step(Ready(slot))
                self._tell_of_upgrade(child)
        if child.status.ended:
            self._selector.unregister(child.status.fd)

    def _tell_of_upgrade(self, child: Child) -> None:
        """Say once that a worker runs other code than its supervisor."""
        if self._told_of_upgrade or not self._installation.is_replaced():
            return
        self._told_of_upgrade = True
        report = child.board.read()
        theirs = (report and report.version) or "another version"
        self._tell(
            Warned(
                f"mlq was replaced while this supervisor runs: {child.spec.name} runs {theirs}, the supervisor still "
                f"{__version__}; both work together until the supervisor is restarted"
            )
        )

    def _died_mid_upgrade(self, child: Child) -> bool:
        """Tell whether a worker ended before it was ready because its packages are being replaced, and say so."""
        if child.ready_s is not None or not self._installation.is_in_flux():
            return False
        self._tell(Warned(f"{child.spec.name} ended while Python packages are being replaced: it is tried again"))
        return True

    def _collect(self, child: Child) -> None:
        """Collect a dead child, its last words first, and let the supervisor decide about its slot."""
        self._log(child, child.log.finish())
        for fd in (child.log.fd, child.status.fd, child.pidfd):
            with suppress(KeyError):  # a pipe that ended before is not watched any more
                self._selector.unregister(fd)
        report = child.board.read()
        code = self._ended(child, report)
        if self._faults is not None and child.spec.gpu is not None and code:
            child.cordoned = self._faults.verdict(child.spec.gpu, child.began_at)
        asked = self._supervisor.is_draining(child.spec.name)
        death = self._death(child, report, code, asked=asked)
        self._recover(death)
        by_message = death.overrun is not None and report is not None and report.limit_by_message
        died = replace(self._died(child, report, code), by_message=by_message)
        self._left[child] = (Leftovers(child.pid, child.owner), died)
        self._end_leftovers()

    def _ended(self, child: Child, report: WorkerReport | None) -> int:
        """Give the exit code: the one that it announced, whatever ended its process after its work was over."""
        code = child.look_at_end()
        if report is None or report.exit_code is None or report.exit_code == code:
            return code
        said = f"{child.spec.name} had ended its work with exit code {report.exit_code}, its process then ended with"
        self._tell(Warned(f"{said} {exit_text(code)}"))
        return report.exit_code

    def _died(self, child: Child, report: WorkerReport | None, code: int) -> Died:
        return Died(
            child.spec.name,
            code,
            cordoned=child.cordoned is not None,
            mid_upgrade=self._died_mid_upgrade(child),
            announced=report is None or report.has_announced,
            at_work=report is not None and child.ready_s is not None and bool(report.running),
            answered=report is not None and report.tasks_done > 0,
        )

    def _end_leftovers(self) -> None:
        """End what dead workers have left; only then is a worker's pid collected, and its slot free for the next."""
        for child, (leftovers, died) in list(self._left.items()):
            if not leftovers.have_ended():
                continue
            if leftovers.survivors:
                pids = ", ".join(map(str, leftovers.survivors))
                self._tell(Warned(f"{child.spec.name} had started processes that do not end: pid {pids}"))
            del self._left[child]
            self._guard.forget(child.pid)
            child.reap()
            if self._children.get(child.spec.name) is child:  # not one that was abandoned, and has a successor
                self._step(died)

    def _collect_adopted(self) -> None:
        """As PID 1, or as a parent of orphans, collect those that have ended."""
        if time.monotonic() - self._collected_at >= _LOOK_EVERY_S:
            self._collected_at = time.monotonic()
            self._adopted.collect({child.pid for child in (*self._children.values(), *self._left)})

    def _death(self, child: Child, report: WorkerReport | None, code: int, *, asked: bool) -> Death:
        died = Death.seen(child.wid, code, report, time.monotonic(), asked=asked)
        oom = code == -signal.SIGKILL and not asked and self._oom.struck()
        spec, revoked = child.spec, frozenset(self.notices.revoked)
        at_fault, crashes = child.cordoned is not None, spec.settings.worker.max_crashes
        return replace(
            died, revoked=revoked, device=spec.device, device_at_fault=at_fault, oom=oom, max_crashes=crashes
        )

    def _abandon(self, child: Child) -> None:
        """Let others run what a process holds that cannot be killed: its driver is wedged, say."""
        slot = child.spec.name
        self._recover(self._death(child, child.board.read(), -signal.SIGKILL, asked=False))
        self._tell(Warned(f"{slot} survives SIGKILL (pid {child.pid}): {child.spec.device} is not used any more"))

    def _look_at_limits(self) -> None:
        """Tell of workers that should have ended by their own hard time limit."""
        for child in self._running:
            report = child.board.read()
            if report is not None and report.deadline is not None:
                self._step(Overdue(child.spec.name, time.monotonic() - report.deadline))
            if report is not None and report.exit_code is not None and time.monotonic() > report.leave_by + _LATE_S:
                child.signal(signal.SIGKILL)  # its work is over; not even its own watch could end it

    def _wait(self) -> None:
        """Sleep until something happens, then hand it to whoever watches for it."""
        wake_at = self._supervisor.wake_at()
        longest_s = _LOOK_AT_LEFTOVERS_S if self._left else _LOOK_EVERY_S
        timeout = longest_s if wake_at is None else min(longest_s, max(0.0, wake_at - time.monotonic()))
        for key, _ in self._selector.select(timeout):
            # An earlier handler of this round may have buried the child that this key belongs to, and its
            # descriptor may even stand for a new child's pipe by now: ask whether it is watched as it was.
            if self._selector.get_map().get(key.fd) is key:
                key.data()
        self._end_leftovers()
        self._collect_adopted()
        self._look_at_limits()
        self._step(Tick())

    def _stop_asked(self, stops: socket.socket) -> None:
        for number in filter(_STOP_SIGNALS.__contains__, stops.recv(16)):  # others may have handlers, too
            self._stopped_by = number
            self._step(StopAsked())
            self._tell(Stopping(self._supervisor.stops, self._supervisor.running))
