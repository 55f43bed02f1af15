"""Errors that are no Exception, and those that end the process: one message never ends all workers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery import Celery

from tests.conftest import Start, User

RAISES = '''
import asyncio, os, sys, time
from celery.exceptions import WorkerShutdown, WorkerTerminate

class Panic(BaseException):
    """As pyo3 raises it for a Rust panic."""

class Unreadable(Exception):
    def __str__(self):
        sys.exit("even its text ends the process")
    __repr__ = __str__

class Demanding(Exception):
    def __init__(self, one, other):
        super().__init__()

class Hostile:
    def __len__(self):
        raise Panic("in len()")
    shape = __array__ = ()

KINDS = {
    "panic": lambda: Panic("at src/lib.rs:7"),
    "cancelled": lambda: asyncio.CancelledError("by the loop"),
    "exit": lambda: SystemExit(0),
    "generator": lambda: GeneratorExit("closed"),
    "interrupt": lambda: KeyboardInterrupt("not by a signal"),
    "group": lambda: BaseExceptionGroup("several", [Panic("one"), ValueError("two")]),
    "shutdown": lambda: WorkerShutdown(0),
    "terminate": lambda: WorkerTerminate(1),
    "stop": lambda: StopIteration("early"),
    "unreadable": lambda: Unreadable(),
    "demanding": lambda: Demanding(1, 2),
    "memory": lambda: MemoryError("no more"),
}

class Model:
    max_batch_size = 8

    def setup(self, device):
        self.ended = None

    def preprocess(self, row):
        if isinstance(row, dict) and "before" in row:
            raise KINDS[row["before"]]()
        return row

    def predict(self, rows):
        for row in rows:
            if isinstance(row, dict) and "raise" in row:
                raise KINDS[row["raise"]]()
            if isinstance(row, dict) and "end" in row:
                os._exit(row["end"])
            if isinstance(row, dict) and "abort" in row:
                os.abort()
        return [KINDS[row["slot"]]() if isinstance(row, dict) and "slot" in row else row for row in rows]

    def postprocess(self, answer):
        if isinstance(answer, dict) and "after" in answer:
            raise KINDS[answer["after"]]()
        return [answer, os.getpid()]

    def teardown(self):
        raise Panic("even at the end")
'''

NAMES = {
    "panic": "Panic",
    "cancelled": "CancelledError",
    "exit": "SystemExit",
    "generator": "GeneratorExit",
    "interrupt": "KeyboardInterrupt",
    "group": "BaseExceptionGroup",
    "shutdown": "WorkerShutdown",
    "terminate": "WorkerTerminate",
    "stop": "StopIteration",
    "unreadable": "Unreadable",
    "demanding": "Demanding",
}

TASKS = """
import sys
from celery import Task, shared_task
from celery.exceptions import WorkerShutdown, WorkerTerminate

KINDS = {"exit": SystemExit, "shutdown": WorkerShutdown, "terminate": WorkerTerminate, "interrupt": KeyboardInterrupt}

class Strict(Task):
    def before_start(self, task_id, args, kwargs):
        if args[0] == "before_start":
            raise KINDS[args[1]](0)

    def on_success(self, returned, *args):
        if returned[0] == "on_success":
            raise KINDS[returned[1]](0)

class Broken(Exception):
    def __reduce__(self):
        sys.exit("it cannot be pickled")

@shared_task(name="own.exit")
def leave(code):
    sys.exit(code)

@shared_task(name="own.broken")
def broken():
    raise Broken("in two")

@shared_task(name="own.hook", base=Strict)
def hooked(*words):
    return words

@shared_task(name="own.fine")
def fine(value):
    return value
"""


def name_raised_error(task: Any) -> str:
    """Return the name of the error that a stock client raises for a task, which must be an Exception."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 (the test looks at its type)
        task.get(timeout=60)
    return type(caught.value).__name__


@pytest.mark.timeout(180)
def test_an_error_of_any_type_fails_only_its_row(user: User, start: Start) -> None:
    """A BaseException passes through the loop of a stock worker and ends it, and then the next worker."""
    user.write("raises.py", RAISES)
    workers = start("--cpus", "1", model="raises.py:Model")
    where = ("raise", "before", "after", "slot")
    rows: list[Any] = [row for kind in NAMES for row in (*({w: kind} for w in where), f"beside {kind}")]
    user.write("rows.jsonl", "\n".join(map(json.dumps, rows)))
    done = user.run("submit", "rows.jsonl", "--wait", "-o", "out.jsonl")
    assert done.returncode == 6, done.stderr
    lines = [json.loads(line) for line in (user.directory / "out.jsonl").read_text().splitlines()]
    (pid,) = workers.pids().values()
    for row, line in zip(rows, lines, strict=True):
        if isinstance(row, str):
            assert line["result"] == [row, pid]
        else:
            assert line["error"]["type"] == NAMES[next(iter(row.values()))], (row, line)
    assert user.json("dead")["entries"] == []
    assert workers.end() == 0, "a teardown that raises does not spoil a drain"
    assert sum(" starting on " in line for line in workers.lines) == 1, "one process did it all"


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "pool", [["--cpus", "1"], ["--pool", "prefork", "--concurrency", "1"]], ids=["solo", "prefork"]
)
def test_a_stock_client_gets_a_failure_that_does_not_end_it(
    user: User, client: Celery, start: Start, pool: list[str]
) -> None:
    """Celery rebuilds exceptions by name: a result with builtins.SystemExit would end the client that reads it."""
    user.write("raises.py", RAISES)
    start(*pool, model="raises.py:Model")
    kinds = NAMES if "--cpus" in pool else ("panic", "cancelled", "exit", "interrupt")
    tasks = {kind: client.send_task("mlq.predict", [{"raise": kind}], queue="realtime") for kind in kinds}
    for kind, task in tasks.items():
        assert name_raised_error(task) == NAMES[kind]
    assert client.send_task("mlq.predict", ["fine"], queue="realtime").get(timeout=60)[0] == "fine"
    assert user.json("dead")["entries"] == []


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "pool", [["--cpus", "1"], ["--pool", "prefork", "--concurrency", "1"]], ids=["solo", "prefork"]
)
def test_a_users_own_task_that_exits_fails_and_its_worker_goes_on(
    user: User, client: Celery, start: Start, pool: list[str]
) -> None:
    """It exits in its body, or in the pickling of an exception."""
    user.write("raises.py", RAISES)
    user.write("own.py", TASKS)
    workers = start(*pool, model="raises.py:Model", MLQ_WORKER_IMPORTS="own")
    exits = [client.send_task("own.exit", [code], queue="default") for code in (0, 3, "a text")]
    assert [name_raised_error(task) for task in exits] == ["SystemExit"] * 3
    assert name_raised_error(client.send_task("own.broken", queue="default")) == "Broken"
    if "--cpus" in pool:  # Celery's own pool loses the process in that case, and only logs it
        for hook in ("before_start", "on_success"):
            for kind in ("exit", "shutdown", "terminate", "interrupt"):
                assert name_raised_error(client.send_task("own.hook", [hook, kind], queue="default")) == NAMES[kind]
    assert client.send_task("own.fine", [7], queue="default").get(timeout=60) == 7
    assert user.json("dead")["entries"] == []
    assert sum(" starting on " in line for line in workers.lines) == 1


@pytest.mark.timeout(300)
def test_messages_that_end_the_process_become_dead_letters_one_after_the_other(
    user: User, client: Celery, start: Start
) -> None:
    """Even if they exit with the codes of a worker that was drained, misconfigured or recycled."""
    user.write("raises.py", RAISES)
    workers = start("--cpus", "1", model="raises.py:Model")
    pills: list[dict[str, Any]] = [{"end": 0}, {"end": 3}, {"abort": True}]
    tasks = [client.send_task("mlq.predict", [pill], queue="realtime") for pill in pills]
    fine = client.send_task("mlq.predict", ["fine"], queue="batch")
    for task in tasks:
        task.get(timeout=120, propagate=False)
        assert task.state == "FAILURE"
    assert fine.get(timeout=60)[0] == "fine"
    entries = user.json("dead")["entries"]
    assert [entry["reason"] for entry in entries] == ["crash"] * len(pills)
    assert workers.process.poll() is None
