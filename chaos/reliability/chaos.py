"""Random faults: two hosts with workers, and everything that can happen to them and to their server."""

from __future__ import annotations

import heapq
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from chaos.reliability.corpus import malformed
from chaos.reliability.setups import MLQ, Group
from chaos.reliability.stage import Stage
from chaos.wire import Wire

WORKERS_A_HOST: Final = 2

AWAY: Final = (RedisError, OSError, OperationalError)
"""The errors that the harness itself gets while the server is away."""

_FULL: Final = 8 * 2**20


@dataclass
class Host:
    """Workers behind a proxy of their own; while one fault keeps the host `busy`, the next fault skips it."""

    name: str
    wire: Wire
    group: Group
    frozen: set[int] = field(default_factory=set)
    busy: bool = False


class Chaos:
    """Causes faults on a stage, and ends those that last for a while."""

    def __init__(self, at: Stage, chance: random.Random, stack: ExitStack) -> None:
        self._at = at
        self._world = at.world
        self._chance = chance
        self._later: list[tuple[float, int, Callable[[], object]]] = []
        self._number = count()
        self._corpus = [raw for name, raw in malformed(at.setup.task).items() if name != "50-MB-payload"]
        self._hosts = [self._host(name, stack) for name in ("one", "other")]
        self._server_is_busy = False
        self.pills: set[str] = set()
        self.malformed: Counter[bytes] = Counter()
        self.revived = 0

    def happen(self) -> str | None:
        """Cause one fault and return its name, or None if it had no target."""
        kinds = list(FAULTS)
        kind = self._chance.choices(kinds, [FAULTS[kind][0] for kind in kinds])[0]
        try:
            return kind if FAULTS[kind][1](self) else None
        except AWAY:  # two faults at the same time
            return None

    def undo_what_is_due(self) -> None:
        """End the faults that have lasted for their time."""
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()

    @property
    def lasts(self) -> bool:
        """Return whether a fault has not ended yet."""
        return bool(self._later)

    def _in(self, seconds: float, undo: Callable[[], object]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._number), undo))

    def _some_host(self) -> Host | None:
        free = [host for host in self._hosts if not host.busy]
        return self._chance.choice(free) if free else None

    def kill_worker(self) -> bool:
        """Kill a worker with kill -9."""
        host = self._some_host()
        pids = sorted(set(host.group.pids()) - host.frozen) if host else []
        if not pids:
            return False
        with suppress(ProcessLookupError):
            os.kill(self._chance.choice(pids), signal.SIGKILL)
        return True

    def freeze_worker(self) -> bool:
        """Freeze a worker, sometimes for longer than a lease."""
        host = self._some_host()
        pids = sorted(set(host.group.pids()) - host.frozen) if host else []
        if host is None or not pids:
            return False
        pid = self._chance.choice(pids)
        self._freeze(host, pid, self._chance.uniform(0.1, 4))
        return True

    def freeze_supervisor(self) -> bool:
        """Freeze a supervisor: its workers' leases expire, and they are treated as dead."""
        host = self._some_host()
        if host is None or self._at.setup is not MLQ:
            return host is not None and self.freeze_worker()
        host.busy = True
        keeper = host.group.keepers[0]
        self._freeze(host, keeper.pid, self._chance.uniform(0.5, 7))
        return True

    def kill_host(self) -> bool:
        """Kill a supervisor, and its workers with it; start it again a moment later."""
        host = self._some_host()
        if host is None:
            return False
        host.group.kill()
        host.busy = True
        self._in(self._chance.uniform(0, 3), lambda: self._start(host))
        return True

    def drain_host(self) -> bool:
        """Drain a host's workers as an operator does, and start them again."""
        host = self._some_host()
        if host is None:
            return False
        host.group.stop()
        self._start(host)
        return True

    def kill_server(self) -> bool:
        """Kill the server; it comes back with its append-only file."""
        pid = self._at.server.pid
        if pid is None or self._server_is_busy:
            return False
        os.kill(pid, signal.SIGKILL)
        return True

    def freeze_server(self) -> bool:
        """Freeze the server."""
        pid = self._at.server.pid
        if pid is None or self._server_is_busy:
            return False
        self._server_is_busy = True
        os.kill(pid, signal.SIGSTOP)

        def thaw() -> None:
            os.kill(pid, signal.SIGCONT)
            self._server_is_busy = False

        time.sleep(self._chance.uniform(0.1, 3))  # the harness would hang like the clients of the server
        thaw()
        return True

    def kill_clients(self) -> bool:
        """Let the server close every connection."""
        self._world.redis.client_kill_filter(_type="normal")
        return True

    def cut_wire(self) -> bool:
        """Cut all connections of a host."""
        host = self._chance.choice(self._hosts)
        host.wire.cut()
        return True

    def freeze_wire(self) -> bool:
        """Make all connections of a host half-open."""
        self._chance.choice(self._hosts).wire.freeze()
        return True

    def refuse(self) -> bool:
        """Keep a host away from the server for a while."""
        host = self._some_host()
        if host is None:
            return False
        host.busy = True
        host.wire.refuse()

        def accept() -> None:
            host.wire.accept()
            host.busy = False

        self._in(self._chance.uniform(0.2, 5), accept)
        return True

    def fill_memory(self) -> bool:
        """Fill the server's memory for a while."""
        if self._server_is_busy:
            return False
        redis = self._world.redis
        redis.set("filler", b"x" * 2 * _FULL)
        redis.config_set("maxmemory", _FULL)
        self._server_is_busy = True

        def empty() -> None:
            redis.config_set("maxmemory", 0)
            redis.delete("filler")
            self._server_is_busy = False

        self._in(self._chance.uniform(0.2, 3), empty)
        return True

    def send_pill(self) -> bool:
        """Send a message that ends the worker that runs it."""
        self.pills.add(self._world.send({"exit": 9}, retry=False))
        return True

    def send_malformed(self) -> bool:
        """Send a message that no worker can run."""
        raw = self._chance.choice(self._corpus)
        self._world.redis.lpush("default", raw)
        self.malformed[raw] += (
            1  # not counted if the server died meanwhile: then it is unknown whether it has the message
        )
        return True

    # Hosts

    def _host(self, name: str, stack: ExitStack) -> Host:
        wire = Wire(self._at.server.url.removeprefix("redis+socket://"))
        stack.callback(wire.close)
        group = self._group(name, wire)
        group.wait_ready()
        return Host(name, wire, group)

    def _group(self, name: str, wire: Wire) -> Group:
        url = f"redis://127.0.0.1:{wire.port}/0"
        setup, world = self._at.setup, self._world
        environment = {**setup.environment(world, url), "MLQ_BROKER_URL": url}
        if setup is not MLQ:
            environment["BENCH_BROKER"] = url
        return Group(world, setup, name, WORKERS_A_HOST, environment)

    def _start(self, host: Host) -> None:
        host.group = self._group(host.name, host.wire)
        host.frozen.clear()
        host.busy = False

    def revive(self) -> None:
        """Start the workers that have ended, as an operator or systemd does."""
        for host in self._hosts:
            if not host.busy and not all(keeper.lives for keeper in host.group.keepers):
                self.revived += 1
                self._start(host)

    def _freeze(self, host: Host, pid: int, seconds: float) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        host.frozen.add(pid)

        def thaw() -> None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
            host.frozen.discard(pid)
            host.busy = host.busy and pid != host.group.keepers[0].pid

        self._in(seconds, thaw)

    def stop(self) -> None:
        """Drain all workers as an operator does."""
        for host in self._hosts:
            host.group.stop()


FAULTS: Final[dict[str, tuple[float, Callable[[Chaos], bool]]]] = {
    "worker killed": (30, Chaos.kill_worker),
    "worker frozen": (10, Chaos.freeze_worker),
    "supervisor frozen": (4, Chaos.freeze_supervisor),
    "supervisor killed": (8, Chaos.kill_host),
    "supervisor drained": (6, Chaos.drain_host),
    "server killed": (4, Chaos.kill_server),
    "server frozen": (5, Chaos.freeze_server),
    "clients killed": (8, Chaos.kill_clients),
    "connections cut": (8, Chaos.cut_wire),
    "connections half-open": (6, Chaos.freeze_wire),
    "server refused": (4, Chaos.refuse),
    "memory full": (4, Chaos.fill_memory),
    "poison pill": (3, Chaos.send_pill),
    "malformed message": (4, Chaos.send_malformed),
}
"""Kind of fault → its probability, and the method that causes it."""
