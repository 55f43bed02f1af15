"""The event loop of a supervisor: it turns signals, pidfds and pipes into events, and applies the actions."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import Final

from mlq import __version__
from mlq.errors import WorkersFailed, WorkersMisconfigured
from mlq.exit_codes import SIGNALLED, ExitCode
from mlq.ipc import ready_pipe
from mlq.ipc.shared_pages import SupervisorNotices, WorkerReport
from mlq.store.workers.orders import Order
from mlq.supervisor.child import LAST_LINES, Child
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
from mlq.supervisor.fleet_handle import (
    AddWorker,
    FenceWorkers,
    FleetHandle,
    ObeyOrder,
    Settle,
    TerminateWorker,
)
from mlq.supervisor.installation import Installation
from mlq.supervisor.news import BecameReady, GaveUp, Logged, News, Started, Stopping, Warned, exit_text
from mlq.supervisor.recovery.death import Death, OomWatch
from mlq.supervisor.recovery.leftovers import Adopted, Guard, Leftovers, adopting_orphans
from mlq.supervisor.spec import WorkerSpec
from mlq.supervisor.supervisor import Supervisor
from mlq.supervisor.view import FleetView, SlotView, WorkerView

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that stop the workers."""

_SIGNALS: Final[Mapping[type[Action], signal.Signals]] = {
    Drain: signal.SIGTERM,
    GiveBackAndEnd: signal.SIGQUIT,
    Abort: signal.SIGABRT,
    Kill: signal.SIGKILL,
}

_LOOK_EVERY_S: Final = 1.0
"""Seconds between two checks of the time limits while no event arrives."""

_LOOK_AT_LEFTOVERS_S: Final = 0.02
"""Seconds between two checks of the processes that a dead worker has left behind."""

_LATE_S: Final = 2.0
"""Seconds that a worker may end later than it announced, before it is killed."""


class Fleet:
    """The workers of one supervisor: the event loop starts, watches and restarts them until a signal ends them.

    Args:
        specs: The workers to start with.
        emit: Called with each piece of news, in the thread of the loop.
        recover: Called with each death of a worker; must return at once.
        drain_s: Seconds that a drain may take; then running tasks are given back. None: no limit.
        open_ended: Workers may be added later, so the loop does not end with the last worker.
        faults: Watches the GPUs of the workers for faults.
        umask: The umask of the workers; -1 leaves this process's own.
    """

    def __init__(
        self,
        specs: Sequence[WorkerSpec],
        emit: Callable[[News], None],
        recover: Callable[[Death], None],
        drain_s: float | None = None,
        *,
        open_ended: bool = False,
        faults: FaultWatch | None = None,
        umask: int = -1,
    ) -> None:
        self._specs = {s.name: s for s in specs}
        self.notices = SupervisorNotices()
        self._emit = emit
        self._recover = recover
        self._faults = faults
        self._umask = umask
        self._oom = OomWatch()
        self._installation = Installation()
        self._warned_of_upgrade = False
        self._supervisor = Supervisor(self._specs, drain_s, open_ended=open_ended)
        self.handle = FleetHandle()
        self._last_lines: dict[str, tuple[str, ...]] = {}
        self._rollouts: set[str] = set()
        self._children: dict[str, Child] = {}
        self._guard = Guard()
        self._leftovers: dict[Child, tuple[Leftovers, Died]] = {}
        self._adopted = Adopted()
        self._collected_at = 0.0
        self._selector = selectors.DefaultSelector()
        self._stopped_by: int | None = None

    def run(self, stops: socket.socket) -> int:
        """Run until a signal stops the workers, or until no worker is left to run.

        Args:
            stops: The numbers of STOP_SIGNALS arrive here, also of those that came before this call.

        Returns:
            The exit code: 0, or 128 + the signal if one signal was not enough.

        Raises:
            WorkersFailed, WorkersMisconfigured: Every slot was given up.
        """
        self._guard.start()
        with adopting_orphans(), closing(self._guard), self._selector:
            self._watch(stops.fileno(), lambda: self._read_signals(stops))
            self._watch(self.handle.fd, self._take_requests)
            self._step(Began())
            while not self._supervisor.finished:
                self._wait()
        return self._exit_code()

    def _publish(self) -> None:
        """Give the other threads the present state.

        This happens before anything that may block, such as the output of news to a stopped terminal: the threads go on
        meanwhile, and have to renew the leases of all workers that run.
        """
        slots = tuple(SlotView(state, self._view_of(state.name)) for state in self._supervisor.slots())
        self.handle.publish(FleetView(slots, is_stopping=self._supervisor.stops > 0))

    def _view_of(self, slot: str) -> WorkerView | None:
        child = self._children.get(slot)
        if child is None:
            return None
        return WorkerView(
            child.spec,
            child.wid,
            child.pid,
            child.started_at,
            child.ready_s,
            has_ended=child.ended_with is not None,
            is_cordoned=child.cordoned is not None,
            last_lines=self._last_lines.get(slot, ()),
            report_page=child.report_page,
        )

    @property
    def _running(self) -> list[Child]:
        found = [self._children[s] for s in self._supervisor.running if s in self._children]
        return [child for child in found if child.ended_with is None]

    def _take_requests(self) -> None:
        for request in self.handle.take_requests():
            match request:
                case AddWorker(spec):
                    self._specs[spec.name] = spec
                    self._step(Added(spec.name))
                case Settle():
                    self._supervisor.settle()
                case FenceWorkers(wids):
                    # A worker that has given its lease back is ending already, and is left alone.
                    self._step_workers(wids & self._leased(), Fenced)
                case TerminateWorker(wid):
                    self._step_workers([wid], Terminated)
                case ObeyOrder(wid, order):
                    self._obey(wid, order)

    def _leased(self) -> set[str]:
        return {c.wid for c in self._running if (report := c.report_page.read()) is not None and report.leased}

    def _obey(self, wid: str, order: Order) -> None:
        again = order.word == "restart"
        if again:
            # The next worker may load the model file as it is now, even if the other workers serve an older one.
            # That holds until it is ready: a later restart of the slot has to match the others again.
            self._rollouts |= {slot for slot, child in self._children.items() if child.wid == wid}
        self._step_workers([wid], lambda slot: Ordered(slot, again, order.seconds))

    def _step_workers(self, wids: Collection[str], event: Callable[[str], Event]) -> None:
        """Step the slots in which these workers still run; a worker that has ended is ignored."""
        for slot in [s for s, child in self._children.items() if child.wid in wids]:
            self._step(event(slot))

    def _exit_code(self) -> int:
        if self._supervisor.stops > 1 and self._stopped_by is not None:
            return SIGNALLED + self._stopped_by
        failed = self._supervisor.failed
        if not self._supervisor.stops and failed:
            kind = WorkersMisconfigured if self._supervisor.is_misconfigured else WorkersFailed
            raise kind(slots=", ".join(failed))
        return ExitCode.DONE

    def _step(self, event: Event) -> None:
        actions = self._supervisor.step(event, time.monotonic())
        if actions:
            self._publish()
        for action in actions:
            self._apply(action)

    def _apply(self, action: Action) -> None:
        match action:
            case Start(slot):
                self._start(slot)
            case Postponed():
                self._emit(action)
            case GiveUp(slot, code, deaths):
                child = self._children[slot]
                self._emit(GaveUp(slot, code, deaths, list(child.last_lines), child.cordoned))
            case Abandon(slot):
                self._abandon(self._children[slot])
            case Drain(slot) | GiveBackAndEnd(slot) | Abort(slot) | Kill(slot):
                self._children[slot].signal(_SIGNALS[type(action)])

    def _start(self, slot: str) -> None:
        spec = self._specs[slot]
        # The tasks of waiting messages are checked when an operator starts the slot, never at a restart. Otherwise a
        # client could prevent the restart of a worker by what it sends.
        checks = spec.checks_tasks and slot not in self._children
        spec = replace(spec, rollout=spec.rollout or slot in self._rollouts, checks_tasks=checks)
        try:
            child = Child(spec, os.environ, self.notices, self._guard.owner, self._umask)
        except OSError as exc:
            where = f": {exc.filename}" if exc.filename else ""
            self._emit(Warned(f"{slot} cannot be started: {exc.strerror or exc}{where}"))
            self._step(Died(slot, ExitCode.SYSTEM_REFUSED))
            return
        self._children[slot] = child
        self._publish()
        self._guard.follow(child.pid)
        self._watch(child.log.fd, lambda: self._read_log(child))
        self._watch(child.status.fd, lambda: self._read_status(child))
        self._watch(child.pidfd, lambda: self._collect_child(child))
        if self._faults is not None and child.spec.gpu is not None:
            self._faults.follow(child.spec.gpu)
        self._emit(Started(slot, child.pid, child.spec.device))

    def _watch(self, fd: int, handle: Callable[[], None]) -> None:
        self._selector.register(fd, selectors.EVENT_READ, handle)

    def _read_log(self, child: Child) -> None:
        self._log(child, child.log.read())
        if child.log.ended:
            self._selector.unregister(child.log.fd)

    def _log(self, child: Child, lines: Sequence[str]) -> None:
        child.last_lines.extend(lines)
        slot = child.spec.name
        self._last_lines[slot] = (*self._last_lines.get(slot, ()), *lines)[-LAST_LINES:]
        for line in lines:
            self._emit(Logged(slot, line))

    def _read_status(self, child: Child) -> None:
        slot = child.spec.name
        for line in child.status.read():
            if line == ready_pipe.READY:
                child.ready_s = time.monotonic() - child.began_at
                self._publish()  # before the news: a client that reads it finds the start time in the heartbeat
                self._rollouts.discard(slot)
                self._emit(BecameReady(slot, child.ready_s))
                self._step(Ready(slot))
                self._warn_of_upgrade(child)
        if child.status.ended:
            self._selector.unregister(child.status.fd)

    def _warn_of_upgrade(self, child: Child) -> None:
        """Warn once that a worker runs other code than its supervisor."""
        if self._warned_of_upgrade or not self._installation.is_replaced():
            return
        self._warned_of_upgrade = True
        report = child.report_page.read()
        theirs = (report and report.version) or "another version"
        self._emit(
            Warned(
                f"mlq was replaced while this supervisor runs: {child.spec.name} runs {theirs}, the supervisor still "
                f"{__version__}; both work together until the supervisor is restarted"
            )
        )

    def _died_mid_upgrade(self, child: Child) -> bool:
        """Return whether a worker ended before it was ready because its packages are being replaced; warn if so."""
        if child.ready_s is not None or not self._installation.is_in_flux():
            return False
        self._emit(Warned(f"{child.spec.name} ended while Python packages are being replaced: it is tried again"))
        return True

    def _collect_child(self, child: Child) -> None:
        """Take in the end of a worker: read its last lines, hand its claims to recovery, and end its leftovers."""
        self._log(child, child.log.finish())
        for fd in (child.log.fd, child.status.fd, child.pidfd):
            with suppress(KeyError):  # a pipe that was closed before is no longer registered
                self._selector.unregister(fd)
        report = child.report_page.read()
        code = self._exit_code_of(child, report)
        if self._faults is not None and child.spec.gpu is not None and code:
            child.cordoned = self._faults.verdict(child.spec.gpu, child.began_at)
        asked = self._supervisor.is_draining(child.spec.name)
        death = self._death(child, report, code, asked=asked)
        # The lease thread must know of the end before recovery reaps the lease. Otherwise it would try to renew the
        # lease afterwards, and report it as lost.
        self._publish()
        self._recover(death)
        by_message = death.overrun is not None and report is not None and report.limit_by_message
        died = replace(self._died(child, report, code), by_message=by_message)
        self._leftovers[child] = (Leftovers(child.pid, child.owner), died)
        self._end_leftovers()

    def _exit_code_of(self, child: Child, report: WorkerReport | None) -> int:
        """Return the exit code: the announced one, even if the process ended with another after its work was over."""
        code = child.look_at_end()
        if report is None or report.exit_code is None or report.exit_code == code:
            return code
        announced = f"{child.spec.name} had ended its work with exit code {report.exit_code}"
        self._emit(Warned(f"{announced}, its process then ended with {exit_text(code)}"))
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
        """End the processes that dead workers have left behind; then collect the workers and free their slots."""
        for child, (leftovers, died) in list(self._leftovers.items()):
            if not leftovers.have_ended():
                continue
            if leftovers.survivors:
                pids = ", ".join(map(str, leftovers.survivors))
                self._emit(Warned(f"processes that {child.spec.name} had started survive SIGKILL: pid {pids}"))
            del self._leftovers[child]
            self._guard.forget(child.pid)
            child.reap()
            if self._children.get(child.spec.name) is child:  # an abandoned child may have a successor by now
                self._step(died)

    def _collect_adopted(self) -> None:
        """Collect ended orphans that the kernel gave to this process, as PID 1 or as a subreaper."""
        if time.monotonic() - self._collected_at >= _LOOK_EVERY_S:
            self._collected_at = time.monotonic()
            self._adopted.collect({child.pid for child in (*self._children.values(), *self._leftovers)})

    def _death(self, child: Child, report: WorkerReport | None, code: int, *, asked: bool) -> Death:
        died = Death.seen(child.wid, code, report, time.monotonic(), asked=asked)
        oom = code == -signal.SIGKILL and not asked and self._oom.struck()
        spec, revoked = child.spec, frozenset(self.notices.revoked)
        at_fault, crashes = child.cordoned is not None, spec.settings.worker.max_crashes
        return replace(
            died, revoked=revoked, device=spec.device, device_at_fault=at_fault, oom=oom, max_crashes=crashes
        )

    def _abandon(self, child: Child) -> None:
        """Let other workers run what a process holds that cannot be killed, for example because its driver hangs."""
        slot = child.spec.name
        self._recover(self._death(child, child.report_page.read(), -signal.SIGKILL, asked=False))
        self._emit(Warned(f"{slot} survives SIGKILL (pid {child.pid}): {child.spec.device} is no longer used"))

    def _check_limits(self) -> None:
        """Report workers whose hard time limit has passed, and kill those that end later than they announced."""
        for child in self._running:
            report = child.report_page.read()
            if report is not None and report.deadline is not None:
                self._step(Overdue(child.spec.name, time.monotonic() - report.deadline))
            if report is not None and report.exit_code is not None and time.monotonic() > report.leave_by + _LATE_S:
                child.signal(signal.SIGKILL)  # its own timer should have ended it, and its work is over

    def _wait(self) -> None:
        """Sleep until a descriptor is ready or a Tick is due, and handle what happened."""
        wake_at = self._supervisor.wake_at()
        longest_s = _LOOK_AT_LEFTOVERS_S if self._leftovers else _LOOK_EVERY_S
        timeout = longest_s if wake_at is None else min(longest_s, max(0.0, wake_at - time.monotonic()))
        for key, _ in self._selector.select(timeout):
            # An earlier handler of this round may have closed this descriptor, and a new child may have the same
            # number by now. So check that the registration is still the same.
            if self._selector.get_map().get(key.fd) is key:
                key.data()
        self._end_leftovers()
        self._collect_adopted()
        self._check_limits()
        self._step(Tick())
        self._publish()

    def _read_signals(self, stops: socket.socket) -> None:
        for number in filter(STOP_SIGNALS.__contains__, stops.recv(16)):  # other signals with handlers arrive, too
            self._stopped_by = number
            self._step(StopAsked())
            self._emit(Stopping(self._supervisor.stops, self._supervisor.running))
