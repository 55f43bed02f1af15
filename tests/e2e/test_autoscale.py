"""The autoscaler with real workers: it starts and stops them with the work, within its maximum and its devices."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest
from celery import Celery
from redis import Redis

from mlq.broker import embedded
from mlq.store.workers import heartbeats
from tests.conftest import is_alive

Scale = Callable[..., Any]

BRIEF = ("--preset", "economy", "--zero-after", "2")
"""Options with which idle workers are drained within seconds."""


@pytest.fixture
def scale(user: Any, broker: str) -> Iterator[Scale]:
    """Return a function that starts `mlq autoscale …` beside a broker that outlives it."""
    del broker
    started: list[Any] = []

    def begin(*argv: str) -> Any:
        running = user.command("autoscale", *argv, "--model", "serve.py:Model", "--interval", "0.5", "-v")
        started.append(running)
        return running

    yield begin
    for running in started:
        if running.process.poll() is None:
            running.process.terminate()
            running.process.wait(30)
        running.close()


@contextmanager
def count_workers(user: Any) -> Iterator[list[int]]:
    """Count the running worker processes again and again."""
    counts, ended = [0], threading.Event()

    def count() -> None:
        with Redis(unix_socket_path=user.broker_url.removeprefix("redis+socket://")) as redis:
            while not ended.wait(0.02):
                counts.append(sum(h.pid is not None and is_alive(h.pid) for h in heartbeats.read(redis)))

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield counts
    finally:
        ended.set()
        thread.join()


def worker_names(user: Any) -> list[str]:
    """Return the names of the workers."""
    return [w["name"] for w in user.json("worker")["workers"] if w["state"] not in {"lost", "failed"}]


@pytest.mark.timeout(200)
def test_workers_start_for_work_and_stop_when_it_is_done(user: Any, scale: Scale) -> None:
    """From none to two and back to none. No worker is killed, and every task runs once."""
    bounds = ("--cpus", "2", "--max", "2", "--min", "0")
    scaler = scale("--queue", "realtime", *bounds, *BRIEF)
    scaler.wait_for("0 workers, want 0")
    user.write("rows.json", [{"sleep": 0.1, "n": n} for n in range(100)])
    done = user.run("submit", "rows.json", "--chunk", "1", "--queue", "realtime", "--wait", "--timeout", "60")
    assert done.returncode == 0, done.stderr
    assert sorted(json.loads(line)["result"]["row"]["n"] for line in done.stdout.splitlines()) == list(range(100))
    assert len(worker_names(user)) == 2
    assert {w["max_batch_size"] for w in user.json("worker")["workers"]} == {4}, "as the model has it"
    user.until(lambda: worker_names(user) == [], "they have ended", within_s=120)
    ran = Counter((user.directory / "model.log").read_text().split("start ")[1:])
    assert len(ran) == 100
    assert scaler.end() == 0
    assert not [line for line in scaler.lines if "SIGKILL" in line or "again" in line]


@pytest.mark.timeout(200)
def test_a_frozen_server_causes_no_start_and_no_stop_of_workers(user: Any, client: Celery, scale: Scale) -> None:
    """For twenty seconds the state of the queue is unknown. That is no reason to stop workers, or to start more."""
    scaler = scale("--queue", "realtime", "--cpus", "2", "--max", "2", "--min", "0", *BRIEF)
    sent = [client.send_task("mlq.predict", [{"sleep": 0.1, "n": n}], queue="realtime") for n in range(300)]
    user.until(lambda: len(worker_names(user)) == 2, "there are two")
    sent[0].get(timeout=60)
    before = {w["pid"] for w in user.json("worker")["workers"]}
    server = embedded.find(user.state)
    assert server is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        time.sleep(20)  # the freeze itself
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert all(map(psutil.pid_exists, before)), "no worker was stopped"
    assert {task.get(timeout=60)["pid"] for task in sent} <= before
    ran = Counter(line.rsplit(" ", 1)[0] for line in (user.directory / "model.log").read_text().splitlines())
    assert set(ran.values()) == {1}, "every task was done once"
    user.until(lambda: worker_names(user) == [], "they have ended", within_s=120)
    assert scaler.end() == 0


@pytest.mark.timeout(200)
def test_two_autoscalers_of_one_queue_never_run_more_than_its_maximum_even_when_one_dies(
    user: Any, client: Celery, scale: Scale
) -> None:
    """As on two hosts, one autoscaler leads.

    If it is killed while tasks wait, the other one leads, and no task is lost.
    """
    argv = ("--queue", "realtime", "--cpus", "2", "--min", "1", "--max", "2", "--preset", "economy")
    one = scale(*argv, "--name", "one")
    user.until(lambda: worker_names(user) == ["one-cpu0"], "it decides")
    other = scale(*argv, "--name", "other")
    other.wait_for("broker ")
    with count_workers(user) as counts:
        sent = [client.send_task("mlq.predict", [{"sleep": 0.2, "n": n}], queue="realtime") for n in range(200)]
        user.until(lambda: max(counts) >= 2, "both places are filled")
        sent[20].get(timeout=60)
        one.process.kill()
        one.process.wait()
        answers = [task.get(timeout=90) for task in sent]
        user.until(lambda: worker_names(user) == ["other-cpu0", "other-cpu1"], "the other's have replaced them")
    assert sorted(answer["row"]["n"] for answer in answers) == list(range(200))
    assert max(counts) == 2, "one-cpu0 and other-cpu0 are different places, and yet never three"
    assert not [line for line in other.lines if "want 3" in line or "want 4" in line]


def test_autoscalers_of_two_queues_never_book_one_device_twice(user: Any, scale: Scale) -> None:
    """Both want two of two devices, so together they get two."""
    argv = ("--cpus", "2", "--min", "2", "--max", "2")
    scalers = [scale("--queue", queue, "--queues", queue, *argv) for queue in ("realtime", "batch")]
    user.until(lambda: len(worker_names(user)) == 2, "all devices are used")
    for scaler in scalers:
        scaler.wait_for("want 2", times=8)
    assert sorted(worker_names(user)) == ["cpu0", "cpu1"]


@pytest.mark.timeout(120)
def test_kept_workers_go_on_and_the_next_autoscaler_takes_them_over(user: Any, client: Celery, scale: Scale) -> None:
    """The autoscaler that keeps them ends at once with exit code 0. The next one counts them, and may drain them."""
    argv = ("--queue", "realtime", "--cpus", "2", "--zero-after", "1")
    first = scale(*argv, "--min", "2", "--max", "2", "--keep-workers")
    user.until(lambda: len(worker_names(user)) == 2, "there are two")
    before = {w["pid"] for w in user.json("worker")["workers"]}
    assert first.end() == 0
    assert [line for line in first.lines if "2 workers left running" in line]
    assert client.send_task("mlq.predict", [1], queue="realtime").get(timeout=60)["pid"] in before
    second = scale(*argv, "--min", "0")
    second.wait_for("2 workers")
    user.until(lambda: not any(map(is_alive, before)), "they were drained", within_s=90)
    assert second.end() == 0


def test_a_look_changes_nothing(user: Any, broker: str) -> None:
    """--once prints the decision with every figure, and does not carry it out."""
    del broker
    seen = user.json("autoscale", "--queue", "realtime", "--once")
    assert (seen["schema"], seen["queue"], seen["action"], seen["live"]) == ("mlq.decision/1", "realtime", "start", 0)
    assert worker_names(user) == []
    assert user.run("autoscale", "--queue", "nowhere", "--once").returncode == 5
    assert user.run("autoscale", "--once", "--min", "3", "--max", "2").returncode == 2


def test_a_trace_is_replayed_and_the_error_about_a_bad_one_names_the_line(user: Any) -> None:
    """The output has the cost, the share in time, the waits, and --min if no policy could have helped."""
    burst = "\n".join(f"{900 * k + n / 10},0.5" for k in range(1, 5) for n in range(200))
    user.write("bursts.csv", f"at,service\n{burst}\n")
    done = user.run("autoscale", "simulate", "bursts.csv", "--json")
    found = json.loads(done.stdout)
    assert (found["schema"], found["tasks"] + 200 >= 600, found["in_time"] < 0.9) == ("mlq.replay/1", True, True)
    assert "with --min" in done.stderr
    static = json.loads(user.run("autoscale", "simulate", "bursts.csv", "--policy", "static:8", "--json").stdout)
    assert static["in_time"] > found["in_time"]
    user.write("bad.csv", "1.0\n2.0\nlater\n")
    bad = user.run("autoscale", "simulate", "bad.csv")
    assert bad.returncode == 2
    assert "bad.csv:3" in bad.stderr
