"""Run a fleet: the thin shell around the Supervisor's decisions. Signals, pidfds and pipes in; processes out."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from mlq import status
from mlq.errors import WorkersFailed, WorkersMisconfigured
from mlq.fleet.child import Child
from mlq.fleet.recovery import Death
from mlq.fleet.spec import WorkerSpec
from mlq.fleet.supervisor import (
    MISCONFIGURED,
    Action,
    Began,
    Died,
    Drain,
    Event,
    GiveUp,
    Kill,
    LetGo,
    Postponed,
    Ready,
    Start,
    StopAsked,
    Supervisor,
    Tick,
)

_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SIGNALS: Final[Mapping[type[Action], signal.Signals]] = {
    Drain: signal.SIGTERM,
    LetGo: signal.SIGQUIT,
    Kill: signal.SIGKILL,
}


@dataclass(frozen=True)
class Logged:
    """A worker wrote a line."""

    slot: str
    line: str


@dataclass(frozen=True)
class Started:
    """A worker's process is there; its model is not yet."""

    slot: str
    pid: int
    device: str


@dataclass(frozen=True)
class BecameReady:
    """A worker takes work, so many seconds after its process was started."""

    slot: str
    seconds: float


@dataclass(frozen=True)
class GaveUp:
    """A slot is left empty; the last lines that its worker wrote say why."""

    slot: str
    code: int
    deaths: int
    last_lines: Sequence[str]


@dataclass(frozen=True)
class Stopping:
    """Somebody asked to stop, for the `times`-th time, while these slots were at work."""

    times: int
    running: Sequence[str]


News = Logged | Started | BecameReady | Postponed | GaveUp | Stopping


class Fleet:
    """Workers on this host, kept as their specs say until a signal ends them."""

    def __init__(
        self, specs: Sequence[WorkerSpec], tell: Callable[[News], None], recover: Callable[[Death], None]
    ) -> None:
        self._specs = {s.name: s for s in specs}
        self._tell = tell
        self._recover = recover
        self._supervisor = Supervisor(self._specs)
        self._children: dict[str, Child] = {}
        self._started_at: dict[str, float] = {}
        self._selector = selectors.DefaultSelector()
        self._stopped_by: int | None = None

    def run(self) -> int:
        """Run until stopped (0, or 130/143 when it took a second signal) or until nothing is left to run.

        Raises WorkersFailed or WorkersMisconfigured when every slot was given up.
        """
        with self._signals_watched():
            self._step(Began())
            while not self._supervisor.finished:
                self._wait()
        return self._exit_code()

    def _exit_code(self) -> int:
        if self._supervisor.stops > 1 and self._stopped_by is not None:
            return 128 + self._stopped_by
        failed = self._supervisor.failed
        if not self._supervisor.stops and failed:
            kind = WorkersMisconfigured if set(failed.values()) == {MISCONFIGURED} else WorkersFailed
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
                self._tell(GaveUp(slot, code, deaths, list(self._children[slot].last_lines)))
            case Drain(slot) | LetGo(slot) | Kill(slot):
                self._children[slot].signal(_SIGNALS[type(action)])

    def _start(self, slot: str) -> None:
        child = Child(self._specs[slot], os.environ)
        self._children[slot], self._started_at[slot] = child, time.monotonic()
        self._watch(child.log.fd, lambda: self._read_log(child))
        self._watch(child.status.fd, lambda: self._read_status(child))
        self._watch(child.pidfd, lambda: self._bury(child))
        self._tell(Started(slot, child.pid, child.spec.device))

    def _watch(self, fd: int, handle: Callable[[], None]) -> None:
        self._selector.register(fd, selectors.EVENT_READ, handle)

    def _read_log(self, child: Child) -> None:
        self._log(child, child.log.read())
        if child.log.ended:
            self._selector.unregister(child.log.fd)

    def _log(self, child: Child, lines: Sequence[str]) -> None:
        child.last_lines.extend(lines)
        for line in lines:
            self._tell(Logged(child.spec.name, line))

    def _read_status(self, child: Child) -> None:
        slot = child.spec.name
        for line in child.status.read():
            if line == status.READY:
                self._tell(BecameReady(slot, time.monotonic() - self._started_at[slot]))
                self._step(Ready(slot))
        if child.status.ended:
            self._selector.unregister(child.status.fd)

    def _bury(self, child: Child) -> None:
        """Collect a dead child, its last words first, and let the supervisor decide about its slot."""
        self._log(child, child.log.finish())
        for fd in (child.log.fd, child.status.fd, child.pidfd):
            with suppress(KeyError):  # a pipe that ended before is not watched any more
                self._selector.unregister(fd)
        code = child.reap()
        self._recover(Death(child.wid, code, asked=bool(self._supervisor.stops)))
        self._step(Died(child.spec.name, code))

    def _wait(self) -> None:
        """Sleep until something happens, then hand it to whoever watches for it."""
        wake_at = self._supervisor.wake_at()
        timeout = None if wake_at is None else max(0.0, wake_at - time.monotonic())
        for key, _ in self._selector.select(timeout):
            # An earlier handler of this round may have buried the child that this key belongs to, and its
            # descriptor may even stand for a new child's pipe by now: ask whether it is watched as it was.
            if self._selector.get_map().get(key.fd) is key:
                key.data()
        self._step(Tick())

    def _stop_asked(self, signals: socket.socket) -> None:
        for number in signals.recv(16):
            self._stopped_by = number
            self._step(StopAsked())
            self._tell(Stopping(self._supervisor.stops, self._supervisor.running))

    @contextmanager
    def _signals_watched(self) -> Iterator[None]:
        """Turn signals into bytes that the loop reads: a handler that acted could interrupt the loop anywhere."""
        reader, writer = socket.socketpair()
        for end in (reader, writer):
            end.settimeout(0)
        wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, lambda *_: None) for number in _STOP_SIGNALS}
        self._watch(reader.fileno(), lambda: self._stop_asked(reader))
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)
            self._selector.close()
            reader.close()
            writer.close()
