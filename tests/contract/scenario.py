"""The life of one broker: rows are sent and answered, tasks fail, wait and are revoked, workers die, drain and scale.

Everything that others can see is recorded on the way: messages, results, files, keys, JSON documents.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from celery import Celery
from redis import Redis

from tests.conftest import Running, User
from tests.contract.json_shapes import Shape, documents_of, shape_of
from tests.contract.placeholders import pieces
from tests.contract.redis_keys import KeyLog

MODEL: Final = """
import os, time

class Model:
    max_batch_size = 4

    def predict(self, rows):
        return [self.answer(row) for row in rows]

    def answer(self, row):
        if isinstance(row, dict) and "fail" in row:
            raise ValueError(row["fail"])
        while isinstance(row, dict) and not os.path.exists(row.get("wait_for", ".")):
            time.sleep(0.01)
        return {"row": row}
"""
"""The text of the model decides its fingerprint, which is recorded."""

ROWS: Final = {
    "single.json": '{"x": 1}\n',
    "numbers.jsonl": "[0.5, 1.5]\n[2.5, 3.5]\n[4.5, 5.5]\n",
    "objects.jsonl": '{"id": "a", "input": {"x": 1}}\n{"id": "b", "input": {"fail": "no such pixel"}}\n',
    "tasks.jsonl": (
        '{"task": "mlq.predict", "args": [1], "queue": "realtime", "priority": 4}\n'
        '{"task": "unknown.task", "kwargs": {"a": 1}}\n'
    ),
    "trace.csv": "arrived\n0\n1\n2\n",
}


class Scenario:
    """The scenario, step by step. Each step waits for its effects, so that the order is the same in every run."""

    def __init__(self, user: User, redis: Redis, client: Celery) -> None:
        self._house = user
        self._redis = redis
        self._client = client
        self._documents: dict[str, list[Any]] = {}
        self.keys = KeyLog(redis)
        self.messages: dict[str, Any] = {}
        self.results: dict[str, Any] = {}
        user.write("serve.py", MODEL)
        for name, text in ROWS.items():
            user.write(name, text)

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shapes of the JSON documents of all commands that were run."""
        return {command: shape_of(found) for command, found in self._documents.items()}

    def mlq(self, *words: str, code: int = 0) -> str:
        """Run a command, check its exit code, and return its output."""
        done = self._house.run(*words)
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done.stdout

    def ask(self, command: str, *words: str, code: int = 0) -> list[Any]:
        """Run a command with --json, and record its documents."""
        found = documents_of(self.mlq(*command.split(), *words, "--json", code=code))
        assert found, command
        self._documents.setdefault(command, []).extend(found)
        return found

    def ask_without_broker(self) -> None:
        """Run the commands that need no broker."""
        self.ask("config")
        self.ask("acl", "client", "--queue", "realtime")
        self.ask("acl", "worker")
        self.ask("autoscale simulate", "trace.csv")

    def send_rows(self, broker: str) -> None:
        """Send files of every kind while no worker runs, and record the messages in the queues."""
        self.ask("submit", "single.json", "--job-id", "job-single")
        self.ask("submit", "numbers.jsonl", "--chunk", "2", "--job-id", "job-numbers")
        self.mlq("submit", "objects.jsonl", "--queue", "default", "--priority", "7", "--job-id", "job-objects")
        self.mlq("submit", "tasks.jsonl", "--tasks", "--job-id", "job-tasks")
        with self._environment(MLQ_RESULT_BACKEND="none"):
            self.mlq("submit", "single.json", "--job-id", "job-unanswered")
        with self._environment(MLQ_STATE_URL=f"{broker}?virtual_host=1"):
            self.mlq("submit", "single.json", "--job-id", "job-elsewhere")
        lists = [key for key in self._redis.scan_iter(count=1000) if self._redis.type(key) == b"list"]
        for key in lists:
            waiting: Any = self._redis.lrange(key.decode(), 0, -1)
            self.messages[key.decode()] = [pieces(message.decode()) for message in waiting]
        self.keys.note("rows wait and no worker runs")

    def wait_for_a_row(self) -> Running:
        """Send a row and wait for its answer while no worker runs: the sender reports that it lives."""
        waiting = self._house.command("submit", "single.json", "--wait", "--job-id", "job-open")
        self._until(lambda: any(self._redis.scan_iter("mlq:job:*:sender:*")), "the sender has a heartbeat")
        self._until(lambda: bool(self._redis.exists("mlq:job:job-open:chunks")), "the row is sent")
        self.keys.note("a row is waited for", "mlq:job:<job>:sender:")
        return waiting

    def answer_rows(self, waiting: Running) -> None:
        """Let a running worker answer the waiting rows; record the results of each job."""
        assert waiting.wait() == 0, waiting.lines
        self._until(self._is_served, "all rows are answered")
        for key in sorted(self._redis.scan_iter("mlq:job:job-*:ends")):
            entries: Any = self._redis.xrange(key)
            ends = {fields[b"chunk"].decode(): pieces(fields[b"end"].decode()) for _, fields in entries}
            self.results[key.decode()] = ends
        self.keys.note("rows are answered and not collected")

    def collect_rows(self) -> None:
        """Collect answers to stdout and to files, and record the files."""
        self.ask("job ls")
        self.ask("job show", "job-tasks")
        self.ask("result", "job-numbers")
        self.ask("result", "job-tasks", code=6)
        words = ("--wait", "-o", "out.jsonl", "--errors", "failed.jsonl", "--job-id", "job-waited")
        self.ask("submit", "objects.jsonl", *words, code=6)
        for name in ("out.jsonl", "out.jsonl.mlq", "failed.jsonl"):
            self.results[name] = pieces((self._house.directory / name).read_text())
        self.keys.note("rows are collected")

    def answer_tasks(self) -> None:
        """Let tasks of a Celery client succeed and fail, and record their stored results."""
        self._send("task-ok", 1)
        self._send("task-failed", {"fail": "no such pixel"})
        self._send("task-batch", [1, {"fail": "no such pixel"}], name="mlq.batch_predict")
        self._until(self._is_served, "all tasks are answered")
        for task in ("task-ok", "task-failed", "task-batch", "job-unanswered.0", "job-elsewhere.0"):
            stored: Any = self._redis.get(f"celery-task-meta-{task}")
            self.results[f"celery-task-meta-{task}"] = pieces(stored.decode())
        self.ask("result", "task-ok")
        self.ask("result", "task-failed", code=6)
        self.keys.note("tasks are answered")

    def set_messages_aside(self) -> None:
        """Delay a task, revoke another, and read the dead letters: one of an unknown task, one malformed."""
        self._send("task-later", 1, countdown=3600)
        self._until(lambda: bool(self._redis.zcard("mlq:delays")), "the task is delayed")
        self._client.control.revoke("task-revoked")
        self._until(lambda: bool(self._redis.zcard("mlq:revoked")), "the task is revoked")
        self._redis.lpush("default", b"no message")
        self._until(lambda: self._redis.zcard("mlq:dead") == 2, "there are two dead letters")
        (listed,) = self.ask("dead ls")
        for entry in listed["entries"]:
            self.ask("dead show", entry["id"])
        self.ask("dead retry", "--all", "--dry-run")
        self.ask("dead drop", "--all", "--dry-run")
        exported = self.mlq("dead", "export").splitlines()
        self._documents["dead export"] = [json.loads(line) for line in exported]
        self.keys.note("messages are set aside")

    def order_queues(self) -> None:
        """Pause a queue, cancel a job in it, purge it, and resume it."""
        self.mlq("queues", "pause", "batch")
        self.mlq("submit", "numbers.jsonl", "--job-id", "job-paused")
        self.ask("queues ls")
        self.keys.note("a queue is paused")
        self.mlq("job", "cancel", "job-paused")
        self.keys.note("a job is cancelled")
        self.mlq("queues", "purge", "batch", "--yes")
        self.keys.note("a queue is purged")
        self.mlq("queues", "resume", "batch")

    def decide_once(self) -> None:
        """Ask the autoscaler for a decision after the heartbeat shows the worker's tasks."""
        self._until(lambda: any(beat["forwards"][0] for beat in self._beats()), "the heartbeat counts forwards")
        words = ("--once", "--dry-run", "--queue", "realtime", "--cpus", "2", "--model", "serve.py:Model")
        self.ask("autoscale run", *words)
        self.keys.note("an autoscaler has looked once")

    def die_and_drain(self, worker: Running) -> None:
        """Kill a worker during its task, and drain the next one during the same task."""
        self.ask("worker ls")
        self._send("task-held", {"wait_for": "gate"})
        self._until(lambda: self._runs_held_task(None), "the task runs")
        self.ask("worker ls")
        self.keys.note("a task runs", "mlq:claims:")
        (beat,) = self._beats()
        os.kill(beat["pid"], signal.SIGKILL)
        self._until(lambda: self._runs_held_task(beat["pid"]), "the task runs again")
        self.keys.note("the task runs again after its worker died", "mlq:claims:")
        self.mlq("worker", "drain", "cpu0", "--timeout", "0.1", code=7)
        self._until(lambda: any(b["state"] == "draining" for b in self._beats()), "it drains")
        self.ask("worker ls")
        self.keys.note("the worker drains", "mlq:claims:")
        self._house.write("gate", "")
        assert worker.wait() == 0
        self.keys.note("no worker is left")

    def scale(self) -> None:
        """Let an autoscaler start two workers, and give each of them an order."""
        words = ("--queue", "realtime", "--cpus", "2", "--min", "2", "--max", "2", "--model", "serve.py:Model")
        scaler = self._house.command("autoscale", *words)
        try:
            scaler.wait_for("ready after", times=2)
            self._until(lambda: self._states() == ["idle", "idle"], "both are idle")
            self.keys.note("an autoscaler runs two workers")
            self.ask("worker restart", "cpu0")
            self.ask("worker drain", "cpu1")
            self.ask("worker stop", "cpu0", "--drain-timeout", "1")
        finally:
            code = scaler.end()
        assert code == 0, scaler.lines
        self.keys.note("the autoscaler has ended")
        self.ask("events")

    @contextmanager
    def _environment(self, **variables: str) -> Iterator[None]:
        before = dict(self._house.environment)
        self._house.environment.update(variables)
        try:
            yield
        finally:
            self._house.environment.clear()
            self._house.environment.update(before)

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        self._house.until(holds, what, within_s=120)

    def _send(self, task_id: str, argument: Any, *, name: str = "mlq.predict", countdown: int | None = None) -> None:
        self._client.send_task(name, [argument], task_id=task_id, queue="realtime", countdown=countdown)

    def _beats(self) -> list[Any]:
        found = (self._redis.get(key) for key in self._redis.scan_iter("mlq:heartbeat:*"))
        return [json.loads(beat) for beat in found if beat]

    def _states(self) -> list[str]:
        return sorted(beat["state"] for beat in self._beats())

    def _is_served(self) -> bool:
        """Return whether no message waits, no task runs, and every heartbeat shows that."""
        busy = any(self._redis.exists(key) for key in self._queue_keys()) or any(self._redis.scan_iter("mlq:claims:*"))
        return not busy and self._states() == ["idle"]

    def _queue_keys(self) -> list[bytes]:
        return [key for queue in ("realtime", "default", "batch") for key in self._redis.scan_iter(f"{queue}*")]

    def _runs_held_task(self, killed: int | None) -> bool:
        """Return whether another process than the killed one runs the task that waits for the gate."""
        claimed = any(self._redis.scan_iter("mlq:claims:*"))
        announced = self._redis.exists("celery-task-meta-task-held")  # a thread of the worker sets the state STARTED
        return bool(claimed and announced) and any(beat["task"] and beat["pid"] != killed for beat in self._beats())
