"""The fault kit: workers without a supervisor, a stock producer, and the real fate of every message.

It reads two sources that do not depend on mlq: the model appends each run to a file, and Redis's append-only file has
every result that was ever recorded. Used by `chaos/kills.py` and by `tests/faults`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from celery import Celery
from redis import Redis

from mlq.broker import embedded
from mlq.ipc import parent_death, ready_pipe
from mlq.protocol import keys

DEADLINE_S: Final = 60.0
_RESULT: Final = b"celery-task-meta-"
_FINAL: Final = frozenset({"SUCCESS", "FAILURE", "REVOKED"})

_COUNT_ALL: Final = f"""
local counted = {{ ['unacked'] = 'HLEN', ['{keys.CRASHES}'] = 'HLEN',
  ['{keys.DELAYS}'] = 'ZCARD', ['{keys.DEAD}'] = 'ZCARD', ['unacked_index'] = 'ZCARD' }}
local found = {{}}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local how = redis.call('TYPE', key).ok == 'list' and 'LLEN' or key:find('^mlq:claims:') and 'HLEN' or counted[key]
  if how and not key:find('^mlq:bell:') then
    found[#found + 1] = key
    found[#found + 1] = redis.call(how, key)
  end
end
return found
"""

MODEL: Final = '''
"""A model without torch. A row names itself, and may ask to take a while, to wait for a file, or for trouble."""
import ctypes, os, time

class Model:
    max_batch_size = 4

    def setup(self, device):
        self.truth = os.open(os.environ["TRUTH"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def predict(self, rows):
        return [self.answer(row) for row in rows]

    def answer(self, row):
        self.tell("start", row)
        if "exit" in row:
            os._exit(row["exit"])
        if "hold" in row:  # in C, and the GIL with it
            ctypes.PyDLL(None).usleep(int(1e6 * row["hold"]))
        time.sleep(row.get("sleep", 0))
        while "gate" in row and not os.path.exists(row["gate"]):
            time.sleep(0.01)
        self.tell("end", row)
        return {"id": row["id"], "pid": os.getpid()}

    def tell(self, what, row):
        os.write(self.truth, f"{what} {row['id']} {os.getpid()} {time.monotonic()}\\n".encode())
'''


@dataclass(frozen=True)
class Begun:
    """One execution that the model began: the message, the process, and the time (seconds, monotonic)."""

    id: str
    pid: int
    at: float


class Worker:
    """A worker's process without a supervisor, which reports over its status pipe that it is ready."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        self.began = time.monotonic()
        self._status, write_end = os.pipe()
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                parent_death.command(list(argv), signal.SIGKILL),
                env={**environment, ready_pipe.VARIABLE: str(write_end)},
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                pass_fds=[write_end],
                start_new_session=True,
            )
        os.close(write_end)
        self._ready = False

    @property
    def pid(self) -> int:
        """The process id, which is not reused until the process is waited for."""
        return self.process.pid

    @property
    def lives(self) -> bool:
        """True until the process has ended."""
        return self.process.poll() is None

    def is_ready(self, within_s: float = 0.0) -> bool:
        """Return whether the worker is ready; wait for that for this time."""
        if not self._ready and select.select([self._status], [], [], within_s)[0]:
            self._ready = ready_pipe.READY.encode() in os.read(self._status, 4096)
        return self._ready

    def wait_ready(self) -> None:
        """Wait until the worker is ready."""
        assert self.is_ready(DEADLINE_S), f"{self.log.name} did not become ready:\n{self.log.read_text()[-4000:]}"  # noqa: S101

    def freeze(self) -> None:
        """Stop the process; return when it has stopped."""
        self.process.send_signal(signal.SIGSTOP)
        stand_still(self.pid)

    def thaw(self) -> None:
        """Let the process continue."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process with kill -9."""
        self.process.kill()
        self.process.wait()
        self.close()

    def stop(self) -> int:
        """Let the worker drain, and return its exit code."""
        self.process.terminate()
        code = self.process.wait(DEADLINE_S)
        self.close()
        return code

    def close(self) -> None:
        """Close the status pipe of an ended process."""
        if self._status >= 0:
            os.close(self._status)
            self._status = -1


class World:
    """A directory, a server, a stock producer, and every worker that was started in it."""

    def __init__(self, directory: Path, url: str, task: str = "mlq.predict") -> None:
        self.directory = directory
        self.url = url
        self.task = task
        self.truth = directory / "truth.log"
        self.workers: list[Worker] = []
        (directory / "serve.py").write_text(MODEL)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MLQ_", "CELERY_"))}
        self.environment = {
            **inherited,
            "XDG_STATE_HOME": str(directory),
            "XDG_CONFIG_HOME": str(directory / "config"),
            "MLQ_BROKER_URL": url,
            "MLQ_WORKER_MODEL": f"{directory / 'serve.py'}:Model",
            "TRUTH": str(self.truth),
        }
        # Directly, because the workers' connection to the server may be cut.
        self.redis = Redis(unix_socket_path=str(self._server / "broker.sock"), socket_timeout=20)
        # A producer without a backend has no subscriptions; results are read by key.
        self.producer = Celery("stranger", broker=self._direct, backend="disabled://", set_as_current=False)
        self.sent: list[str] = []
        self._open: set[str] = set()

    @property
    def _server(self) -> Path:
        return self.directory / "broker"

    @property
    def _direct(self) -> str:
        return f"redis+socket://{self._server / 'broker.sock'}"

    def start(self, name: str, **environment: str) -> Worker:
        """Start `python -m mlq.worker`, which is not ready yet."""
        return self.run([sys.executable, "-m", "mlq.worker", "--name", name], name, **environment)

    def run(self, argv: Sequence[str], name: str, **environment: str) -> Worker:
        """Start any command, which ends with this world."""
        worker = Worker(argv, {**self.environment, **environment}, self.directory / f"{name}.log")
        self.workers.append(worker)
        return worker

    def send(self, row: Mapping[str, Any] | None = None, *, task: str | None = None, **options: Any) -> str:
        """Publish one row like any Celery client; the row contains its task's id."""
        task_id = str(uuid4())
        self.producer.send_task(task or self.task, [{"id": task_id, **(row or {})}], task_id=task_id, **options)
        self.sent.append(task_id)
        self._open.add(task_id)
        return task_id

    def unanswered(self) -> set[str]:
        """Return the messages without a final result in Redis."""
        looked = sorted(self._open)
        values = self.redis.mget([_RESULT + task_id.encode() for task_id in looked]) if looked else []
        self._open -= {i for i, value in zip(looked, values, strict=True) if value and _state(value) in _FINAL}
        return set(self._open)

    def keep_in_flight(self, number: int, row: Callable[[], Mapping[str, Any]], **options: Any) -> None:
        """Send messages until this number is unanswered."""
        for _ in range(number - len(self.unanswered())):
            self.send(row(), **options)

    def answered(self, within_s: float = DEADLINE_S) -> None:
        """Wait until every message that was sent has its result."""
        until(lambda: not self.unanswered(), f"{len(self.sent)} messages are answered", within_s, self.whereabouts)

    def result(self, task_id: str) -> Any:
        """Return a task's stored result."""
        value = self.redis.get(_RESULT + task_id.encode())
        return json.loads(value)["result"] if isinstance(value, bytes) else None

    def whereabouts(self) -> str:
        """Describe where the unanswered messages are, for the error of a failed test."""
        lines = [f"{len(self._open)} of {len(self.sent)} unanswered, {sum(w.lives for w in self.workers)} workers live"]
        lines += [f"{key}: {count}" for key, count in self.left().items()]
        for log in sorted(self.directory.glob("*.log")):
            lines.append(f"--- {log.name}")
            lines += log.read_text(errors="replace").splitlines()[-15:] if log != self.truth else []
        return "\n".join(lines)

    def left(self) -> dict[str, int]:
        """Count the messages in queues, claims, the delay list, stock workers and the dead letters."""
        found: Any = self.redis.eval(
            _COUNT_ALL, 0
        )  # in one transaction, because a message may move from a claim to a queue
        return {name.decode(): int(count) for name, count in sorted(zip(found[::2], found[1::2], strict=True))}

    def leases(self) -> dict[str, float]:
        """Return every worker's deadline, in milliseconds of the server's clock."""
        found: Any = self.redis.zrange(keys.LEASES, 0, -1, withscores=True)
        return {wid.decode(): at for wid, at in found}

    def begun(self, task_id: str | None = None) -> list[Begun]:
        """Return the executions that the model began: of one message, or of all."""
        lines = self.truth.read_text().splitlines() if self.truth.exists() else []
        found = [line.split() for line in lines if line.startswith("start ")]
        return [Begun(i, int(pid), float(at)) for _, i, pid, at in found if task_id in {None, i}]

    def starts(self) -> Counter[str]:
        """Count the executions that the model began, by message."""
        return Counter(begun.id for begun in self.begun())

    def has_begun(self, task_id: str) -> bool:
        """Return whether the model has begun a message."""
        return task_id in self.starts()

    def recorded(self) -> Counter[tuple[str, str]]:
        """Count every final result that Redis ever recorded, by task and state."""
        # Redis 6 has one file, later versions have a directory of files.
        files = [*self._server.glob("*.aof"), *sorted((self._server / "appendonlydir").glob("*.aof"))]
        return Counter(_final_results(files))

    def check(self, *, states: Iterable[str] = ("SUCCESS",)) -> None:
        """Check the promise: each message has one recorded result, and is in no other place."""
        recorded = self.recorded()
        count = Counter(dict.fromkeys(self.sent, 0))
        for (task_id, _), times in recorded.items():
            count[task_id] += times
        assert {i: n for i, n in count.items() if n != 1} == {}, "each message ends in one recorded result"  # noqa: S101
        assert {state for _, state in recorded} <= set(states)  # noqa: S101
        assert self.left() == {}  # noqa: S101

    def close(self) -> None:
        """End every worker that still runs, even a frozen one, by pid."""
        for worker in self.workers:
            if worker.lives:
                worker.kill()
            worker.close()
        self.producer.close()
        self.redis.close()


def serve(directory: Path) -> embedded.Server:
    """Start a server that writes everything to disk before it answers, and never rewrites its append-only file."""
    server = embedded.Server(embedded.program(), directory, appendfsync="always")
    server.start()
    with Redis(unix_socket_path=server.url.removeprefix("redis+socket://")) as client:
        client.config_set("auto-aof-rewrite-percentage", 0)
    return server


def until(
    holds: Callable[[], bool], what: str, within_s: float = DEADLINE_S, why_not: Callable[[], str] = lambda: ""
) -> float:
    """Wait until a condition holds for which there is no event; return the seconds that it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within_s, f"not within {within_s:g} s: {what}\n{why_not()}"  # noqa: S101
        time.sleep(0.02)
    return time.monotonic() - began


def stand_still(pid: int) -> None:
    """Wait until a process that got SIGSTOP has stopped."""
    stat = Path(f"/proc/{pid}/stat")
    until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", f"process {pid} stands still")


def _state(value: bytes | str) -> str:
    """Return a result's state; a worker that tests its result backend at its start stores a value without one."""
    return str(json.loads(value).get("status"))


def _final_results(files: Iterable[Path]) -> Iterator[tuple[str, str]]:
    for path in files:
        for words in _commands(path.read_bytes()):
            if len(words) > 2 and words[1].startswith(_RESULT) and words[0].upper() in {b"SET", b"SETEX", b"PSETEX"}:  # noqa: PLR2004
                state = _state(next(word for word in words[2:] if word.startswith(b"{")))
                if state in _FINAL:
                    yield words[1].removeprefix(_RESULT).decode(), state


def _commands(written: bytes) -> Iterator[list[bytes]]:
    """Return the commands of an append-only file; the base file in Redis's own format has none."""
    at = 0
    while written[at : at + 1] == b"*":
        line_ends = written.index(b"\r\n", at)
        words, number, at = [], int(written[at + 1 : line_ends]), line_ends + 2
        for _ in range(number):
            line_ends = written.index(b"\r\n", at)
            size = int(written[at + 1 : line_ends])
            words.append(written[line_ends + 2 : line_ends + 2 + size])
            at = line_ends + 2 + size + 2
        yield words
