"""Celery's own monitors see the workers and their state."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

SERVED = ["realtime", "default", "batch", "celery"]


def test_stock_inspect_answers_while_workers_are_idle(user: Any, client: Celery, start: Any) -> None:
    """Every worker lists its queues in the order in which it serves them."""
    start("--cpus", "2", ready=2)

    def answered() -> bool:
        answer = client.control.inspect(timeout=1).active_queues() or {}
        queues = {name.partition("@")[0]: [q["name"] for q in found] for name, found in answer.items()}
        return queues == {"cpu0": SERVED, "cpu1": SERVED}

    # A broadcast is lost for a worker that does not listen yet, and workers are ready a moment before they listen.
    user.until(answered, "both list their queues")


@pytest.fixture
def flower(user: Any, broker: str) -> Iterator[str]:
    """Run Flower on a free port of this host, and return its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "celery", "--broker", broker, "flower", f"--port={port}", "--address=127.0.0.1"]
    environment = {**user.environment, "FLOWER_UNAUTHENTICATED_API": "true"}
    with (user.directory / "flower.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=user.directory, stdout=log, stderr=log)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(10)


def test_flower_lists_both_workers_and_their_queues(user: Any, start: Any, flower: str) -> None:
    """It finds workers by their heartbeat events, for which gossip and mingle are not needed."""
    start("--cpus", "2", ready=2)

    def listed() -> bool:
        found = query_workers(flower)
        served = {name.partition("@")[0]: w.get("active_queues") for name, w in found.items()}
        return served.keys() == {"cpu0", "cpu1"} and all(
            [q["name"] for q in queues or []] == SERVED for queues in served.values()
        )

    user.until(listed, "Flower lists both workers with their queues")


def test_flower_sees_a_worker_that_was_busy_before_flower_started(
    user: Any, client: Celery, start: Any, request: pytest.FixtureRequest
) -> None:
    """The worker can neither answer nor send heartbeats, so its supervisor does both."""
    start("--cpus", "1")
    gate = user.directory / "gate"
    task = client.send_task("mlq.predict", [{"wait_for": str(gate)}], queue="realtime")
    user.until(lambda: user.json("worker")["workers"][0]["state"] == "busy", "it is busy")
    flower = request.getfixturevalue("flower")

    def seen() -> bool:
        online = query_workers(flower, "status=1")
        found = {name: query_workers(flower, f"refresh=1&workername={name}") for name in online}
        tasks = [t["id"] for w in found.values() for t in w.get(next(iter(online)), {}).get("active", [])]
        return (list(online.values()), tasks) == ([True], [task.id])

    user.until(seen, "Flower shows it online, with its task")
    gate.touch()
    assert task.get(timeout=30)["row"] == {"wait_for": str(gate)}


def query_workers(flower: str, query: str = "refresh=1") -> dict[str, Any]:
    """Query Flower's API, which does not answer during its start."""
    try:
        with urllib.request.urlopen(f"{flower}/api/workers?{query}", timeout=10) as answer:  # noqa: S310 (http)
            return dict(json.load(answer))
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return {}
