"""Sentinel: the primary is killed under load; the time until a task runs again, and the messages that were lost."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from chaos.faultkit import MODEL, Worker, until
from mlq.broker import embedded
from mlq.ipc import parent_death

PRIMARY: Final = "primary"
DOWN_AFTER_MS: Final = 1000
BEFORE_S: Final = 3.0
AFTER_S: Final = 5.0
PAUSE_S: Final = 0.01
TASK_S: Final = 0.05
"""Seconds per task. The load exceeds the capacity, so messages wait when the primary dies, and run afterwards."""

PATIENCE_S: Final = 60.0
AGAIN_S: Final = 10
"""Seconds within which a task must run again."""

IN_HAND_S: Final = 0.5
"""Seconds after the kill in which a task that begins was claimed before the kill."""

REPLICAS: Final = 2
"""Number of replicas: with one, no replica would be left after the failover for clients to wait for."""

WORKERS: Final = 2

if TYPE_CHECKING:
    from typing_extensions import Self

_REPLICATED_MS: Final = 1000
_AWAY: Final = (RedisError, OSError, OperationalError)


@dataclass(frozen=True)
class FailOver:
    """The outcome of a failover.

    `again_s` is from the kill of the primary until the next message ran (None: not in a minute). Of the `acknowledged`
    submits `lost` had no result in the end. `waited`: a submit counted as acknowledged once a replica had it.
    """

    waited: bool
    again_s: float | None
    acknowledged: int
    lost: int
    extra: int

    @property
    def holds(self) -> bool:
        """True if tasks ran again within 10 s, and no message that a replica had was lost."""
        return self.again_s is not None and self.again_s <= AGAIN_S and not (self.waited and self.lost)


@dataclass(frozen=True)
class _Servers:
    """A primary, its replicas, and the Sentinel that watches them."""

    primary: subprocess.Popen[bytes]
    sentinel_port: int

    @property
    def url(self) -> str:
        """Return the address in Celery's form."""
        return f"sentinel://127.0.0.1:{self.sentinel_port}"

    def open(self) -> Redis:
        """Return a client of the current primary."""
        with Redis(port=self.sentinel_port) as sentinel:
            found: Any = sentinel.sentinel_get_master_addr_by_name(PRIMARY)
        return Redis(port=int(found[1]))


def measure(*, wait: bool) -> FailOver:
    """Kill the primary under load. With `wait` a submit counts once a replica has it (`WAIT 1`)."""
    with tempfile.TemporaryDirectory(prefix="mlq-sentinel-") as name, _servers(Path(name)) as servers:
        directory = Path(name)
        with _workers(directory, servers), _Client(servers, wait=wait) as client:
            client.send_for(BEFORE_S)
            servers.primary.kill()
            killed_at = time.monotonic()
            client.send_for(AFTER_S, at_least=len(client.acknowledged) + 100)
            client.wait_for_answers()
            begun = _begun(directory / "truth.log")
            after = [at for times in begun.values() for at in times if at > killed_at + IN_HAND_S]
            return FailOver(
                waited=wait,
                again_s=min(after) - killed_at if after else None,
                acknowledged=len(client.acknowledged),
                lost=len(client.without_result()),
                extra=sum(len(times) - 1 for times in begun.values()),
            )


class _Client:
    """A stock producer behind Sentinel that records which of its submits were acknowledged."""

    def __init__(self, servers: _Servers, *, wait: bool) -> None:
        self._servers = servers
        self._wait = wait
        self._app = Celery("stranger", broker=servers.url, backend="disabled://", set_as_current=False)
        self._app.conf.broker_transport_options = {"master_name": PRIMARY, "socket_timeout": 2}
        self._stack = ExitStack()
        self.acknowledged: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._app.close()

    def send_for(self, seconds: float, at_least: int = 0) -> None:
        """Send a task every few milliseconds for this time, and until this number has been acknowledged in total."""
        ends = time.monotonic() + seconds
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends or (len(self.acknowledged) < at_least and time.monotonic() < give_up):
            with suppress(*_AWAY):
                self._send()
            time.sleep(PAUSE_S)

    def wait_for_answers(self) -> None:
        """Wait until every acknowledged submit has its result, or no more results arrive."""
        deadline = time.monotonic() + PATIENCE_S / 2
        while self.without_result() and time.monotonic() < deadline:
            time.sleep(0.1)

    def without_result(self) -> list[str]:
        """Return the acknowledged submits that have no result on the current primary."""
        with self._servers.open() as redis:
            found: Any = redis.mget([f"celery-task-meta-{i}" for i in self.acknowledged])
        states = [json.loads(value)["status"] if value else None for value in found]
        return [i for i, state in zip(self.acknowledged, states, strict=True) if state != "SUCCESS"]

    def _send(self) -> None:
        task_id = str(uuid4())
        with self._app.producer_or_acquire() as producer:
            row = {"id": task_id, "sleep": TASK_S}
            self._app.send_task("mlq.predict", [row], task_id=task_id, producer=producer, retry=False, queue="default")
            # The pool of this client returns the connection that has just published.
            if self._wait and int(producer.channel.client.wait(1, _REPLICATED_MS)) < 1:
                return
        self.acknowledged.append(task_id)


@contextmanager
def _servers(directory: Path) -> Iterator[_Servers]:
    primary, sentinel, *replicas = [_free_port() for _ in range(2 + REPLICAS)]
    watch = [f"monitor {PRIMARY} 127.0.0.1 {primary} 1", f"down-after-milliseconds {PRIMARY} {DOWN_AFTER_MS}"]
    watch += [f"failover-timeout {PRIMARY} 5000", f"parallel-syncs {PRIMARY} {REPLICAS}"]
    configuration = [f"port {sentinel}", "bind 127.0.0.1", *(f"sentinel {line}" for line in watch)]
    (directory / "sentinel.conf").write_text("\n".join(configuration) + "\n")
    kept = ["--bind", "127.0.0.1", "--appendonly", "yes", "--save", "", "--repl-diskless-sync-delay", "0"]
    with ExitStack() as stack:
        first = _run(stack, directory, PRIMARY, ["--port", str(primary), *kept])
        for port in replicas:
            options = ["--port", str(port), *kept, "--replicaof", "127.0.0.1", str(primary)]
            _run(stack, directory, f"replica-{port}", options)
        with Redis(port=primary) as redis:
            until(lambda: _online(redis) == REPLICAS, "the replicas have joined")
        _run(stack, directory, "sentinel", [str(directory / "sentinel.conf"), "--sentinel"])
        with Redis(port=sentinel) as redis:
            until(lambda: _known(redis) == REPLICAS, "Sentinel knows them")
        yield _Servers(first, sentinel)


def _run(stack: ExitStack, directory: Path, name: str, options: list[str]) -> subprocess.Popen[bytes]:
    (directory / name).mkdir()
    log = stack.enter_context((directory / f"{name}.log").open("wb"))
    argv = parent_death.command([embedded.program(), *options], signal.SIGKILL)
    process = subprocess.Popen(argv, cwd=directory / name, stdout=log, stderr=log)

    def end() -> None:
        process.kill()
        process.wait()

    stack.callback(end)
    return process


@contextmanager
def _workers(directory: Path, servers: _Servers) -> Iterator[None]:
    (directory / "serve.py").write_text(MODEL)
    environment = {
        "XDG_STATE_HOME": str(directory),
        "MLQ_BROKER_URL": servers.url,
        "MLQ_BROKER_TRANSPORT_OPTIONS": json.dumps({"master_name": PRIMARY}),
        "MLQ_WORKER_MODEL": f"{directory / 'serve.py'}:Model",
        "TRUTH": str(directory / "truth.log"),
    }
    argv = [sys.executable, "-m", "mlq", "worker", "start", "--cpus", str(WORKERS)]
    fleet = Worker(argv, environment, directory / "fleet.log")
    read_log = fleet.log.read_text
    try:
        until(lambda: read_log().count("ready after") == WORKERS, "the workers are ready", why_not=read_log)
        yield
    finally:
        fleet.kill()


def _begun(truth: Path) -> dict[str, list[float]]:
    """Return when each message began."""
    found: dict[str, list[float]] = {}
    for line in truth.read_text().splitlines():
        what, task_id, _, at = line.split()
        if what == "start":
            found.setdefault(task_id, []).append(float(at))
    return found


def _online(primary: Redis) -> int:
    """Count the replicas that are up to date; redis-py reads `slave0:ip=…,state=online` into a dictionary."""
    try:
        found: Any = primary.info("replication")
    except (RedisError, OSError):  # not started yet
        return 0
    return sum(isinstance(value, dict) and value.get("state") == "online" for value in found.values())


def _known(sentinel: Redis) -> int:
    try:
        found: Any = sentinel.sentinel_slaves(PRIMARY)
    except (RedisError, OSError):
        return 0
    return len(found)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
