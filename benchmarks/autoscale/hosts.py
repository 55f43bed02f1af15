"""Several hosts and two queues: mlq's own code that agrees on devices and places, on a virtual clock.

Every host has an autoscaler for each queue, like `mlq autoscale`. They use a real server, and book the devices of their
host with real locks. The workers that they start serve a trace in the simulator.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from mlq.autoscale.live.devices import DevicePool
from mlq.autoscale.live.scaler import Scaler
from mlq.autoscale.policy.observation import Observation
from mlq.autoscale.policy.policy import Decision, Policy, Tuning
from mlq.autoscale.replay.simulation import SimulatedQueue, Task, ticks
from mlq.protocol import keys
from mlq.settings import config
from mlq.store.workers.booking import Booking
from mlq.supervisor.devices.slots import Slots
from mlq.supervisor.spec import WorkerSpec

if TYPE_CHECKING:
    from redis import Redis

COLD_S: Final = 30.0
TARGET_S: Final = 2.0
DEVICES: Final = (7, 7, 7, 7, 6, 6)
"""The number of devices of each of six hosts."""


@dataclass
class Result:
    """The outcome of one queue, and how often a promise was broken.

    `booked_twice` counts workers that were started on a device with another worker, `beyond_want` places that were
    booked beyond the wanted number.
    """

    in_time: float = 0.0
    cost: float = 0.0
    starts: int = 0
    stops: int = 0
    booked_twice: int = 0
    beyond_want: int = 0


@dataclass
class _Host:
    """The workers of an autoscaler by slot, as it sees them; `users` counts the workers on each device of the host."""

    service: SimulatedQueue
    users: dict[str, str]
    names: dict[str, str] = field(default_factory=dict)
    now: float = 0.0
    result: Result = field(default_factory=Result)
    queue: str = ""
    stopping: bool = False

    @property
    def vacant(self) -> dict[str, bool]:
        """The slots whose worker has ended."""
        return {slot: False for slot, name in self.names.items() if self.service.has_ended(name)}

    @property
    def cordoned(self) -> frozenset[str]:
        """No devices: none is at fault in the simulation."""
        return frozenset()

    def add(self, spec: WorkerSpec) -> None:
        """Start a worker; a second one on a device is the error that the simulation looks for."""
        self.result.booked_twice += spec.name in self.users
        self.users[spec.name] = self.queue
        self.names[spec.name] = self.service.start(self.now, COLD_S)
        self.result.starts += 1

    def settle(self) -> None:
        """Do nothing: no worker is kept in the simulation."""

    def leave_what_ended(self) -> None:
        """Free the devices of workers that have ended."""
        for slot in self.vacant:
            if self.users.get(slot) == self.queue:
                del self.users[slot]


class _Queue:
    """One queue, and its autoscaler on each host."""

    def __init__(self, name: str, tasks: Sequence[Task], redis: Redis, machines: Sequence[_Machine]) -> None:
        self.name = name
        self.service = SimulatedQueue(tasks)
        self.result = Result()
        self._redis = redis
        self._now = 0.0
        self.hosts = [_Host(self.service, m.users, result=self.result, queue=name) for m in machines]
        self._scalers = [self._scaler(m, host) for m, host in zip(machines, self.hosts, strict=True)]
        self._bookings = [Booking(redis, name, f"{m.name}:{name}") for m in machines]

    def tick(self, host: int, at: float) -> None:
        """Let one host's autoscaler take its turn."""
        self._now = self.hosts[host].now = at
        self.hosts[host].leave_what_ended()
        before = self._places()
        self._scalers[host].tick(self._bookings[host], self._look, self._end)
        want = int(cast("bytes", self._redis.get(keys.autoscale_want(self.name))))
        self.result.beyond_want += max(0, self._places() - max(want, before))

    def _scaler(self, machine: _Machine, host: _Host) -> Scaler:
        tuning = Tuning(target_s=TARGET_S, most=sum(DEVICES))
        devices = DevicePool(machine.pool, machine.slots(), 2.0, machine.name)
        return Scaler(Policy(tuning), devices, host, lambda _: None, tuning.most, lambda: self._now)

    def _look(self, members: Collection[str]) -> Observation:
        del members  # only autoscalers start workers in the simulation
        return self.service.observe(self._now)

    def _end(self, decision: Decision) -> None:
        for name in decision.drain:
            self.service.drain(name, self._now)
            self.result.stops += 1

    def _places(self) -> int:
        return int(str(self._redis.zcard(keys.autoscale_members(self.name))))


class _Machine:
    """A host: its devices, and the workers on each."""

    def __init__(self, name: str, devices: int, directory: Path, stack: ExitStack) -> None:
        self.name = name
        self.users: dict[str, str] = {}
        self.pool = [WorkerSpec(f"gpu{n}", config.load({})) for n in range(devices)]
        self._directory = directory / name
        self._stack = stack

    def slots(self) -> Slots:
        """Open the locks of the host like another process on it."""
        self._directory.mkdir(exist_ok=True)
        slots = Slots(self._directory)
        self._stack.callback(slots.close)
        return slots


def play(traces: Mapping[str, Sequence[Task]], redis: Redis, directory: Path) -> dict[str, Result]:
    """Run all traces at the same time; return the result of each queue."""
    with ExitStack() as stack:
        machines = [_Machine(f"host{n}", number, directory, stack) for n, number in enumerate(DEVICES)]
        queues = [_Queue(name, tasks, redis, machines) for name, tasks in traces.items()]
        until = max(tasks[-1].at for tasks in traces.values())
        for number, at in enumerate(ticks(2.0, until)):
            for queue in queues:
                queue.service.advance(at)
            for n in range(len(machines)):  # the first one chooses its devices, so each host is the first in turn
                for queue in queues:
                    queue.tick((n + number) % len(machines), at)
        for queue in queues:
            queue.service.advance(math.inf)
            waits = queue.service.waits
            queue.result.in_time = sum(w <= TARGET_S for w in waits) / len(waits)
            queue.result.cost = queue.service.cost(until)
        return {queue.name: queue.result for queue in queues}
