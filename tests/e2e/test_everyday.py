"""Everyday use: start without configuration, pipe rows, watch, wait, and ask for a decision."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from mlq.broker import embedded
from tests.conftest import MLQ, MODEL, Start, User


def test_up_needs_no_configuration_and_leaves_nothing_running(user: User) -> None:
    """One command starts a broker and a worker, and Ctrl-C ends both. The next one finds the queued messages."""
    up = user.command("up", "--model", "serve.py:Model")
    up.wait_for("ready after")
    assert user.run("submit", str(user.write("rows.json", [1, 2])), "--wait").returncode == 0
    assert up.end(signal.SIGINT) == 0
    assert embedded.find(user.state) is None


def test_rows_come_from_a_pipe_and_answers_go_to_another(user: User, start: Start) -> None:
    """A repeated id makes an error row, because a pipe cannot be checked in advance."""
    start("--cpus", "1")
    rows = '{"id": "a", "input": 1}\n{"id": "b", "input": 2}\n{"id": "a", "input": 3}\n'
    done = user.run("submit", "-", "--wait", input=rows)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(a["id"], a["status"]) for a in answers] == [("a", "ok"), ("b", "ok"), ("a", "error")]
    assert done.returncode == 6


def test_answers_come_in_the_order_of_completion_on_request(user: User, start: Start) -> None:
    """The slow row is the first of the file. One of two workers holds it, and perhaps one more row behind it."""
    user.write("single.py", MODEL.replace("max_batch_size = 4", "max_batch_size = 1"))
    start("--cpus", "2", model="single.py:Model", ready=2)
    path = user.write("rows.json", [{"wait_for": str(user.directory / "go")}, 1, 2, 3, 4])
    submit = user.command("submit", str(path), "--wait", "--order", "completion", "--chunk", "1", "-o", "out.jsonl")
    out = user.directory / "out.jsonl"
    user.until(lambda: out.exists() and '"index"' in out.read_text(), "a quick one is written")
    user.write("go", "")
    assert submit.wait() == 0
    written = [json.loads(line)["index"] for line in out.read_text().splitlines()]
    assert written[0] != 0
    assert sorted(written) == [0, 1, 2, 3, 4]


@pytest.mark.usefixtures("broker")
def test_a_watch_refreshes_until_ctrl_c(user: User) -> None:
    """Ctrl-C is its normal end, not an error."""
    argv = [MLQ, "queues", "--watch", "0.1", "--json"]
    with subprocess.Popen(argv, env=user.environment, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        seen = [json.loads(watch.stdout.readline())["schema"] for _ in range(3)]
        watch.send_signal(signal.SIGINT)
        assert watch.wait(10) == 0
    assert seen == ["mlq.queues/1"] * 3


def test_workers_wait_for_a_broker_that_starts_later(user: User, server: embedded.Server) -> None:
    """Each try prints one line; then the workers serve."""
    user.environment["MLQ_BROKER_URL"] = server.url
    server.stop()
    workers = user.command("worker", "start", "--cpus", "1", "--model", "serve.py:Model", "--wait-broker", "60")
    again = embedded.Server(embedded.program(), user.directory.parent)
    try:
        workers.wait_for("waiting for the broker", times=2)
        again.start()
        workers.wait_for("ready after")
        assert workers.end() == 0
    finally:
        workers.process.kill()
        again.stop()


@pytest.mark.usefixtures("broker")
def test_a_look_of_the_autoscaler_counts_the_devices_of_its_options(user: User) -> None:
    """Otherwise it would want workers that an autoscaler with the same options could never start."""
    decision = user.json("autoscale", "--queue", "batch", "--cpus", "20", "--min", "20", "--once")
    assert decision["want"] == 20
    refused = user.run("autoscale", "--queue", "batch", "--cpus", "3", "--min", "5", "--once")
    assert refused.returncode == 2
    assert "--max 3" in refused.stderr
