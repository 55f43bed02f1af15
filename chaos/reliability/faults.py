"""The faults of RELIABILITY.md, one function each: what happens to the tasks with either setup."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from chaos.faultkit import World, stand_still, until
from chaos.reliability.corpus import malformed
from chaos.reliability.setups import MLQ, Setup
from chaos.reliability.stage import Outcome, seconds, stage
from mlq.broker import embedded
from mlq.protocol import keys

_FULL = 16 * 2**20


@dataclass(frozen=True)
class Fault:
    """One row of the table: the fault, the promise of mlq, and the function that causes the fault."""

    what: str
    must: str
    run: Callable[[Setup], Outcome]


def killed_mid_task(setup: Setup) -> Outcome:
    """Kill a worker during a task with kill -9; another worker is idle."""
    with stage(setup) as at, at.workers(2):
        task = at.world.send({"gate": str(at.gate())})
        until(lambda: at.world.has_begun(task), "it runs")
        os.kill(at.world.begun(task)[0].pid, signal.SIGKILL)
        elsewhere = at.begins(task, times=2)
        at.gate().touch()
        answered = at.answered() is not None if elsewhere is not None else False
        return Outcome(f"elsewhere: {seconds(elsewhere)}", answered and at.results(task) == 1)


def killed_while_frozen(setup: Setup, trials: int = 10) -> Outcome:
    """Freeze an idle worker, send a message, kill the worker; repeat this."""
    with stage(setup) as at:
        for n in range(trials):
            with at.workers(1, f"host{n}") as workers:
                (pid,) = workers.pids()
                os.kill(pid, signal.SIGSTOP)
                stand_still(pid)
                at.world.send()
                workers.kill()
        with at.workers(1, "last"):
            at.answered()
        lost = len(at.world.unanswered())
        return Outcome(f"{lost} of {trials} lost", not lost)


def half_open_idle(setup: Setup) -> Outcome:
    """Make the connections of an idle worker half-open, then send a message."""
    with stage(setup, wired=True) as at, at.workers(1):
        at.world.send()
        until(lambda: not at.world.unanswered(), "the worker answers")
        at.wire.freeze()
        task = at.world.send()
        took = at.begins(task)
        return Outcome(f"runs: {seconds(took)}", took is not None and took <= 15)  # noqa: PLR2004 (the promise)


def half_open_busy(setup: Setup) -> Outcome:
    """Make the connections half-open during a task; another task waits behind it."""
    with stage(setup, wired=True) as at, at.workers(1):
        task = at.world.send({"gate": str(at.gate())})
        until(lambda: at.world.has_begun(task), "it runs")
        at.wire.freeze()
        following = at.world.send()
        at.gate().touch()
        took = at.begins(following)
        at.answered()
        holds = took is not None and took <= 20 and at.world.starts()[task] == at.results(task) == 1  # noqa: PLR2004
        return Outcome(f"next task: {seconds(took)}", holds)


def broker_away_at_the_end(setup: Setup) -> Outcome:
    """Refuse all connections to the broker for 10 s while a task ends."""
    with stage(setup, wired=True) as at, at.workers(1):
        task = at.world.send({"gate": str(at.gate())})
        until(lambda: at.world.has_begun(task), "it runs")
        at.wire.refuse()
        at.gate().touch()
        time.sleep(10)  # the fault itself
        at.wire.accept()
        took = at.answered()
        ran = at.world.starts()[task]
        return Outcome(f"result {seconds(took)} after, body run {ran}x", took is not None and ran == 1)


def store_away_at_the_end(setup: Setup, away_s: float) -> Outcome:
    """Stop the result store, which is another server, for a while as a task ends."""
    with tempfile.TemporaryDirectory(prefix="mlq-store-") as directory, stage(setup) as at:
        store = embedded.Server(embedded.program(), Path(directory))
        store.start()
        with at.workers(1, results=store.url):
            task = at.world.send({"gate": str(at.gate())})
            until(lambda: at.world.has_begun(task), "it runs")
            store.stop()
            at.gate().touch()
            time.sleep(away_s)  # the fault itself
            store = embedded.Server(embedded.program(), Path(directory))
            store.start()
            with Redis(unix_socket_path=store.url.removeprefix("redis+socket://")) as results:
                took = at.waited(lambda: bool(results.exists(f"celery-task-meta-{task}")))
                left = at.waited(lambda: not at.world.left())  # a run that began in the meantime ends
        store.stop()
        ran = at.world.starts()[task]
        return Outcome(f"body run {ran}x", ran == 1 and took is not None and left is not None)


def server_killed(setup: Setup) -> Outcome:
    """Kill the server with 50 waiting messages: mlq's own server, and one with its default settings."""
    with tempfile.TemporaryDirectory(prefix="mlq-killed-") as name:
        directory = Path(name)
        server = embedded.Server(embedded.program(), directory) if setup is MLQ else _Unconfigured(directory)
        server.start()
        world = World(directory, f"redis+socket://{directory / 'broker' / 'broker.sock'}", setup.task)
        try:
            for _ in range(50):
                world.send(queue="default")
            pid = server.pid
            assert pid is not None  # noqa: S101 (the server was started)
            os.kill(pid, signal.SIGKILL)
            until(lambda: server.pid != pid and _answers(world.redis), "the server is back")
            lost = 50 - int(str(world.redis.llen("default")))
        finally:
            world.close()
            server.stop()
        return Outcome(f"{lost} of 50 lost", not lost)


def memory_full(setup: Setup) -> Outcome:
    """Fill the server's memory for 20 s while two workers have 300 messages to answer."""
    with stage(setup) as at, at.workers(2) as workers:
        for _ in range(300):
            at.world.send({"sleep": 0.005, "gate": str(at.gate())})
        at.world.redis.set("filler", b"x" * 2 * _FULL)
        at.world.redis.config_set("maxmemory", _FULL)
        at.gate().touch()
        deadline = time.monotonic() + 20
        deaths = 0
        while time.monotonic() < deadline:
            deaths = max(deaths, workers.deaths)
            time.sleep(0.05)
        while_full = 300 - len(at.world.unanswered())
        at.world.redis.config_set("maxmemory", 0)
        at.world.redis.delete("filler")
        at.answered()
        lost = len(at.world.unanswered())
        said = f"{while_full} of 300 answered meanwhile, {deaths} workers died, {lost} without result"
        return Outcome(said, not deaths and not lost)


def memory_evicts(setup: Setup) -> Outcome:
    """Fill the memory of a server that evicts any key (allkeys-lru)."""
    with stage(setup) as at:
        at.world.redis.config_set("maxmemory-policy", "allkeys-lru")
        if setup is MLQ:
            argv, *_ = setup.commands("host", 1)
            environment = {**at.world.environment, **setup.environment(at.world, at.world.url)}
            done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
            return Outcome(f"does not start: exit {done.returncode}", done.returncode != 0 and "evict" in done.stderr)
        for _ in range(50):
            at.world.send()
        # The server measures ages in seconds: only after this time is the queue older than the filling keys.
        until(lambda: int(at.world.redis.object("IDLETIME", "default")) >= 2, "the queue has aged")  # noqa: PLR2004 (s)
        at.world.redis.config_set("maxmemory", _FULL)
        for n in range(8000):  # like results: eviction samples five keys, so each key is sampled often
            at.world.redis.set(f"result-{n}", b"x" * 16384)
        lost = 50 - int(str(at.world.redis.llen("default")))
        return Outcome(f"{lost} of 50 waiting messages evicted", not lost)


def interrupted_twice(setup: Setup) -> Outcome:
    """Send Ctrl-C twice during a task, then start the workers again."""
    with stage(setup) as at:
        with at.workers(1) as workers:
            task = at.world.send({"gate": str(at.gate())})
            until(lambda: at.world.has_begun(task), "it runs")
            (pid,) = workers.pids()
            told = workers.keepers[0].pid if setup is MLQ else pid
            for _ in range(2):
                os.kill(told, signal.SIGINT)
                time.sleep(0.5)  # as fast as a person presses Ctrl-C twice
            until(lambda: pid not in workers.pids(), "the worker has ended")
        state = at.states(task)
        with at.workers(1, "again"):
            at.gate().touch()
            at.answered()
        said = f"recorded as {state[0]}" if state else "nothing recorded"
        blamed = at.world.redis.hlen(keys.CRASHES)
        ended = at.states(task)
        return Outcome(f"{said}; started again: {' '.join(ended) or 'nothing'}", ended == ["SUCCESS"] and not blamed)


def pill(setup: Setup) -> Outcome:
    """Send a message that ends every worker that runs it (`os._exit`) to an otherwise empty queue."""
    with stage(setup) as at, at.workers(2) as workers:
        began = time.monotonic()
        task = at.world.send({"exit": 9})
        while at.world.unanswered() and time.monotonic() - began < at.patience_s:
            time.sleep(0.02)
        took = None if at.world.unanswered() else time.monotonic() - began
        runs = at.world.starts()[task]
        del workers
        letters = int(str(at.world.redis.zcard(keys.DEAD)))
        said = f"{runs} runs, {'FAILURE after ' + seconds(took) if took is not None else 'no result: ' + seconds(took)}"
        return Outcome(said, (runs, letters, at.states(task)) == (3, 1, ["FAILURE"]))


def time_limits(setup: Setup, row: dict[str, float], *, soft: bool) -> Outcome:
    """Run a task of 8 s with a soft limit of 1 s, or with a hard limit of 2 s."""
    with stage(setup) as at, at.workers(1):
        task = at.world.send(row, soft_time_limit=1 if soft else None, time_limit=None if soft else 2)
        until(lambda: at.world.has_begun(task), "it runs")
        following = at.world.send()
        took = at.begins(following)
        at.answered()
        ran = None if took is None else at.world.begun(following)[0].at - at.world.begun(task)[0].at
        said = f"next task {seconds(ran)} later, {' '.join(at.states(task)) or 'no result'}"
        return Outcome(said, at.states(task) == ["FAILURE"])


def malformed_messages(setup: Setup) -> Outcome:
    """Send malformed messages one after another to one worker, and a valid one behind them."""
    with stage(setup) as at, at.workers(1) as workers:
        before = workers.pids()
        corpus = malformed(setup.task)
        for raw in corpus.values():
            at.world.redis.lpush("default", raw)
        good = at.world.send()
        took = at.begins(good)
        time.sleep(1)
        stopped = workers.deaths
        kept = at.world.redis.zcard(keys.DEAD) if setup is MLQ else 0
        told = sum(bool(at.world.redis.exists(f"celery-task-meta-{name}")) for name in corpus)
        waits = sum(at.world.left().values()) - kept
        lost = max(0, len(corpus) - max(kept, told + waits))
        said = f"worker stopped {stopped}x, {kept} dead letters, {lost} of {len(corpus)} without a trace; "
        said += f"the good one behind them: {seconds(took)}"
        return Outcome(said, workers.pids() == before and not lost and took is not None)


def longer_than_the_timeout(setup: Setup) -> Outcome:
    """Run a task for longer than the visibility timeout (2 s), or than the lease of a frozen worker."""
    with stage(setup) as at, at.workers(2, BENCH_VISIBILITY_S="2") as workers:
        task = at.world.send({"gate": str(at.gate())})
        until(lambda: at.world.has_begun(task), "it runs")
        # kombu looks for expired messages ten seconds after a worker's start, then every hundred seconds.
        twice = at.waited(lambda: at.world.starts()[task] > 1, 20 if setup is MLQ else 120)
        at.gate().touch()
        at.answered()
        at.waited(lambda: not at.world.left(), 20)
        del workers
        runs = at.world.starts()[task]
        return Outcome(f"run {runs}x, recorded {at.results(task)}x", twice is None and at.results(task) == 1)


class _Unconfigured:
    """A server with its default settings: snapshots from time to time, no append-only file."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "broker"
        self._directory.mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The id of its process, which is started again after its death, as by systemd."""
        if self._process is not None and self._process.poll() is not None:
            self.start()
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the server on its socket."""
        argv = [embedded.program(), "--port", "0", "--unixsocket", "broker.sock", "--dir", str(self._directory)]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, cwd=self._directory, stdout=log, stderr=log)
        with Redis(unix_socket_path=str(self._directory / "broker.sock")) as client:
            until(lambda: _answers(client), "it answers")

    def stop(self) -> None:
        """Stop the server."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _answers(redis: Redis) -> bool:
    try:
        return bool(redis.ping())
    except (RedisError, OSError):
        return False


FAULTS = (
    Fault("kill -9 mid-task", "elsewhere in p99 ≤ 0.1 s", killed_mid_task),
    Fault("idle worker frozen, submit, kill -9", "0", killed_while_frozen),
    Fault("half-open connection, idle", "runs within 15 s", half_open_idle),
    Fault("half-open connection, busy", "next task within 20 s", half_open_busy),
    Fault("broker away for 10 s as a task finishes", "result kept, once", broker_away_at_the_end),
    Fault("result store away for 6 s", "once", lambda setup: store_away_at_the_end(setup, 6)),
    Fault("result store away for 30 s", "once", lambda setup: store_away_at_the_end(setup, 30)),
    Fault("server kill -9, 50 waiting, its own settings", "0 lost", server_killed),
    Fault("memory full, noeviction", "keeps working", memory_full),
    Fault("memory full, allkeys-lru", "refuses to start", memory_evicts),
    Fault("two Ctrl-C", "back at the head, no crash counted", interrupted_twice),
    Fault("`os._exit` pill", "3 runs, dead letter, FAILURE", pill),
    Fault("soft limit of 1 s, 8 s of sleep", "raised", lambda s: time_limits(s, {"sleep": 8}, soft=True)),
    Fault("hard limit of 2 s, 8 s of sleep", "enforced", lambda s: time_limits(s, {"sleep": 8}, soft=False)),
    Fault("hard limit of 2 s, 8 s in C with the GIL", "enforced", lambda s: time_limits(s, {"hold": 8}, soft=False)),
    Fault("malformed messages", "same pid, all in the dead letters", malformed_messages),
    Fault("task longer than the timeout", "once", longer_than_the_timeout),
)
"""The rows of the table, in its order."""
