"""Chaos: two hosts with workers, and everything that can happen to them and to their server, by chance."""

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
"""What the harness itself gets to hear while the server is not there."""

_FULL: Final = 8 * 2**20


@dataclass
class Host:
    """Workers on a wire of their own; what is `busy` with one fault is left alone by the next."""

    name: str
    wire: Wire
    group: Group
    frozen: set[int] = field(default_factory=set)
    busy: bool = False


class Chaos:
    """Lets faults happen on a stage, and undoes those that last for a while."""

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
        """Let one fault happen and name it; None if there was nothing for it to happen to."""
        kinds = list(FAULTS)
        kind = self._chance.choices(kinds, [FAULTS[kind][0] for kind in kinds])[0]
        try:
            return kind if FAULTS[kind][1](self) else None
        except AWAY:  # two at once
            return None

    def undo_what_is_due(self) -> None:
        """End what has lasted for long enough."""
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()

    @property
    def lasts(self) -> bool:
        """Whether something has yet to be undone."""
        return bool(self._later)

    def _in(self, seconds: float, undo: Callable[[], object]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._number), undo))

    def _some_host(self) -> Host | None:
        free = [host for host in self._hosts if not host.busy]
        return self._chance.choice(free) if free else None

    def kill_worker(self) -> bool:
        """Kill -9 of a worker."""
        host = self._some_host()
        pids = sorted(set(host.group.pids()) - host.frozen) if host else []
        if not pids:
            return False
        with suppress(ProcessLookupError):
            os.kill(self._chance.choice(pids), signal.SIGKILL)
        return True

    def freeze_worker(self) -> bool:
        """A worker stands still, for longer than a lease now and then."""
        host = self._some_host()
        pids = sorted(set(host.group.pids()) - host.frozen) if host else []
        if host is None or not pids:
            return False
        pid = self._chance.choice(pids)
        self._freeze(host, pid, self._chance.uniform(0.1, 4))
        return True

    def freeze_supervisor(self) -> bool:
        """A supervisor stands still: its workers' leases run out, and they are taken for dead."""
        host = self._some_host()
        if host is None or self._at.setup is not MLQ:
            return host is not None and self.freeze_worker()
        host.busy = True
        keeper = host.group.keepers[0]
        self._freeze(host, keeper.pid, self._chance.uniform(0.5, 7))
        return True

    def kill_host(self) -> bool:
        """A supervisor is killed, and its workers with it; it is started again a moment later."""
        host = self._some_host()
        if host is None:
            return False
        host.group.kill()
        host.busy = True
        self._in(self._chance.uniform(0, 3), lambda: self._start(host))
        return True

    def drain_host(self) -> bool:
        """An operator stops a host's workers as one should, and starts them again."""
        host = self._some_host()
        if host is None:
            return False
        host.group.stop()
        self._start(host)
        return True

    def kill_server(self) -> bool:
        """The server is killed; it comes back with its append-only file."""
        pid = self._at.server.pid
        if pid is None or self._server_is_busy:
            return False
        os.kill(pid, signal.SIGKILL)
        return True

    def freeze_server(self) -> bool:
        """The server stands still."""
        pid = self._at.server.pid
        if pid is None or self._server_is_busy:
            return False
        self._server_is_busy = True
        os.kill(pid, signal.SIGSTOP)

        def thaw() -> None:
            os.kill(pid, signal.SIGCONT)
            self._server_is_busy = False

        time.sleep(self._chance.uniform(0.1, 3))  # the harness would hang on it as its clients do
        thaw()
        return True

    def kill_clients(self) -> bool:
        """The server closes every connection."""
        self._world.redis.client_kill_filter(_type="normal")
        return True

    def cut_wire(self) -> bool:
        """All connections of a host break."""
        host = self._chance.choice(self._hosts)
        host.wire.cut()
        return True

    def freeze_wire(self) -> bool:
        """All connections of a host go half-open."""
        self._chance.choice(self._hosts).wire.freeze()
        return True

    def refuse(self) -> bool:
        """A host cannot reach the server for a while."""
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
        """The server's memory is full for a while."""
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
        """A message that ends whoever runs it."""
        self.pills.add(self._world.send({"exit": 9}, retry=False))
        return True

    def send_malformed(self) -> bool:
        """A message that nobody can run."""
        raw = self._chance.choice(self._corpus)
        self._world.redis.lpush("default", raw)
        self.malformed[raw] += 1  # not if the server died over it: then nobody knows whether it has it
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
        """Do what an operator, or systemd, does: start what has ended."""
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
        """End all workers as an operator would."""
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
"""Kind → how likely it is, and what happens."""
