"""RabbitMQ as the broker: Celery's own transport delivers the messages, and mlq's promises for it hold."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from kombu import Exchange, Queue

from chaos.stock_client import stock_client
from tests import rabbitmq
from tests.conftest import Start, User
from tests.rabbitmq import RabbitServer

pytestmark = [
    pytest.mark.skipif(rabbitmq.missing() is not None, reason=str(rabbitmq.missing())),
    pytest.mark.timeout(300),  # RabbitMQ starts in five seconds, or in a minute on a busy machine
]

QUEUES = ("realtime", "default", "batch", "celery", "theirs")
TEN = {"realtime": {"arguments": {"x-max-priority": 10}}}


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitServer]:
    """Run one server for all tests of this file, because its start takes seconds."""
    with rabbitmq.running() as server:
        yield server


@pytest.fixture
def rabbit(user: User, node: RabbitServer, broker: str) -> RabbitServer:
    """Let mlq use RabbitMQ without queues of earlier tests; results and job records are in the embedded Redis."""
    node.delete(*QUEUES)
    user.environment |= {"MLQ_BROKER_URL": node.url(), "MLQ_STATE_URL": broker, "MLQ_RESULT_BACKEND": broker}
    return node


@pytest.fixture
def client(rabbit: RabbitServer, broker: str) -> Iterator[Celery]:
    """Return a stock Celery client; its declaration of `realtime` has ten priorities."""
    with stock_client(rabbit.url(), broker) as app:
        app.conf.task_queues = [
            Queue("realtime", Exchange("realtime"), routing_key="realtime", queue_arguments={"x-max-priority": 10}),
            *(Queue(name, Exchange(name), routing_key=name) for name in ("default", "batch")),
        ]
        yield app


def configure_ten_priorities(user: User) -> None:
    """Configure the arguments that the stock client declares."""
    user.environment["MLQ_QUEUE"] = json.dumps(TEN)


def read_rows(user: User, name: str = "out.jsonl") -> list[int]:
    """Return the rows of an output, in the order of its lines."""
    return [json.loads(line)["result"]["row"] for line in (user.directory / name).read_text().splitlines()]


def test_the_rows_of_a_file_come_back_in_order(user: User, start: Start, rabbit: RabbitServer) -> None:
    """The main job with thousands of rows. The lists show the figures of RabbitMQ, and - for unknown ones."""
    start("--cpus", "1")
    rows = user.write("rows.jsonl", "\n".join(map(str, range(3000))))
    done = user.run("submit", str(rows), "--wait", "-o", "out.jsonl")
    assert done.returncode == 0, done.stderr
    assert read_rows(user) == list(range(3000))
    (batch,) = user.json("queues", "batch")["queues"]
    assert (batch["ready"], batch["in_flight"], batch["workers"]) == (0, None, 1)
    (worker,) = user.json("worker")["workers"]
    assert (worker["name"], worker["queues"]) == ("cpu0", ["realtime", "default", "batch", "celery"])
    assert rabbit.depth("batch") == 0


def test_the_worker_never_waits_before_it_sends_an_acknowledgement(user: User, start: Start, client: Celery) -> None:
    """Stock solo workers wait if the next message arrives early, because kombu's loop polls first.

    A timer ends each of these waits after a quarter of a second on average. So there is one deadline for all messages,
    far above the seconds that they take and far below the sum of such waits.
    """
    configure_ten_priorities(user)
    start("--cpus", "1")
    deadline = time.monotonic() + 60
    tasks = [client.send_task("mlq.predict", [n], queue="realtime") for n in range(800)]
    assert [task.get(timeout=deadline - time.monotonic())["row"] for task in tasks] == list(range(800))


def test_priority_9_is_served_before_0_if_the_queue_has_priorities(
    user: User, start: Start, client: Celery, rabbit: RabbitServer
) -> None:
    """Client and workers both declare `realtime` with x-max-priority 10, so neither gets a 406."""
    configure_ten_priorities(user)
    start("--cpus", "1")
    gate = user.directory / "gate"
    first = client.send_task("mlq.predict", [{"wait_for": str(gate)}], queue="realtime")
    log = Path(user.environment["MODEL_LOG"])
    user.until(lambda: log.exists() and "wait_for" in log.read_text(), "the first runs")
    later = [client.send_task("mlq.predict", [p], queue="realtime", priority=p) for p in (0, 3, 9, 6)]
    rows = user.write("rows.jsonl", "100\n101\n")
    assert user.run("submit", str(rows), "--queue", "realtime", "--priority", "8").returncode == 0
    user.until(lambda: rabbit.depth("realtime") == 5, "all wait")
    gate.touch()
    assert first.get(timeout=30)["row"] == {"wait_for": str(gate)}
    for task in later:
        task.get(timeout=30)
    ran = [line.split()[1] for line in log.read_text().splitlines()[1:]]
    assert ran == ["9", "100", "101", "6", "3", "0"]


def test_retries_and_limits_hold(user: User, start: Start, client: Celery) -> None:
    """Celery's semantics hold on Celery's transport. A hard limit ends the process, and the client gets the failure."""
    configure_ten_priorities(user)
    start("--cpus", "1")
    assert client.send_task("mlq.predict", [1], queue="realtime", countdown=1).get(timeout=30)["row"] == 1
    with pytest.raises(ValueError, match="not this one"):
        client.send_task("mlq.predict", [{"fail": "not this one"}], queue="realtime").get(timeout=30)
    slow = {"sleep": 60}
    with pytest.raises(SoftTimeLimitExceeded):
        client.send_task("mlq.predict", [slow], queue="realtime", soft_time_limit=1).get(timeout=30)
    with pytest.raises(TimeLimitExceeded):
        client.send_task("mlq.predict", [slow], queue="realtime", time_limit=1).get(timeout=60)
    assert client.send_task("mlq.predict", [2], queue="realtime").get(timeout=60)["row"] == 2


def test_the_next_worker_runs_the_tasks_of_a_killed_worker(user: User, start: Start, client: Celery) -> None:
    """RabbitMQ requeues unacknowledged messages as soon as the connection is closed."""
    configure_ten_priorities(user)
    workers = start("--cpus", "1")
    gate = user.directory / "gate"
    held = client.send_task("mlq.predict", [{"wait_for": str(gate)}], queue="realtime")
    rest = [client.send_task("mlq.predict", [n], queue="realtime") for n in range(5)]
    log = Path(user.environment["MODEL_LOG"])
    user.until(lambda: log.exists() and "wait_for" in log.read_text(), "the first runs")
    os.kill(workers.pids()["cpu0"], signal.SIGKILL)
    workers.wait_for("ready after", times=2)  # while it holds that message
    gate.touch()
    assert held.get(timeout=60)["row"] == {"wait_for": str(gate)}
    assert [task.get(timeout=60)["row"] for task in rest] == list(range(5))


def test_a_drained_worker_finishes_its_task_and_leaves_the_rest(
    user: User, start: Start, client: Celery, rabbit: RabbitServer
) -> None:
    """The exit code is 0; prefetched messages are in the queue again."""
    configure_ten_priorities(user)
    workers = start("--cpus", "1")
    gate = user.directory / "gate"
    first = client.send_task("mlq.predict", [{"wait_for": str(gate)}], queue="realtime")
    log = Path(user.environment["MODEL_LOG"])
    user.until(lambda: log.exists() and "wait_for" in log.read_text(), "the first runs")
    for n in range(5):
        client.send_task("mlq.predict", [n], queue="realtime")
    workers.process.send_signal(signal.SIGTERM)
    workers.wait_for("finish")
    gate.touch()
    assert workers.wait() == 0
    assert first.get(timeout=30)["row"] == {"wait_for": str(gate)}
    user.until(lambda: rabbit.depth("realtime") == 5, "the messages that did not begin wait")


def test_an_idle_worker_ends_at_once_on_an_order(start: Start, rabbit: RabbitServer) -> None:
    """It does not wait for a timer of kombu's loop, even after a reconnect.

    Timers wake an idle worker every 10 s: a worker that waits for them misses the deadline.
    """
    for is_restarted in (False, True):
        workers = start("--cpus", "1")
        if is_restarted:
            rabbit.stop()
            rabbit.start()
            workers.wait_for("Connected to", times=2)
        workers.process.send_signal(signal.SIGTERM)
        assert workers.process.wait(6) == 0


def test_an_interrupted_job_resumes_and_a_cancelled_one_sends_no_more(
    user: User, start: Start, rabbit: RabbitServer
) -> None:
    """The job's record is in Redis for every broker. At the end there is one line per row."""
    rows = user.write("rows.jsonl", "\n".join(map(str, range(300))))
    slow = user.write("slow.jsonl", '{"sleep": 5}\n{"sleep": 5}\n{"sleep": 5}\n')
    out = ("--wait", "-o", "out.jsonl", "--chunk", "1", "--max-inflight", "8")
    begun = user.command("submit", str(rows), *out)
    user.until(lambda: rabbit.depth("batch") == 8, "the window is full")
    begun.process.kill()
    begun.process.wait()
    begun.close()
    start("--cpus", "1")
    done = user.run("submit", str(rows), *out, "--resume")
    assert done.returncode == 0, done.stderr
    assert read_rows(user) == list(range(300))
    job = json.loads(user.run("submit", str(slow), "--chunk", "1", "--json").stdout)["job"]
    assert user.run("job", "cancel", job).returncode == 0
    assert user.json("job", "show", job)["state"] == "cancelled"
    again = user.run("submit", str(slow), "--job-id", job)
    assert (again.returncode, "was cancelled" in again.stderr) == (2, True)


def test_a_restart_of_the_server_ends_no_job_and_loses_no_row(user: User, start: Start, rabbit: RabbitServer) -> None:
    """Queues and messages are durable and publishing is confirmed, so submitter and worker wait and go on."""
    start("--cpus", "1")
    rows = user.write("rows.jsonl", "\n".join(map(str, range(3000))))
    out = user.directory / "out.jsonl"
    job = user.command("submit", str(rows), "--wait", "-o", str(out), "--chunk", "1", "--max-inflight", "32")
    user.until(lambda: out.exists() and out.read_text().count("\n") > 50, "some are answered")
    rabbit.stop()
    rabbit.start()
    assert job.process.wait(100) == 0, job.lines
    job.close()
    assert read_rows(user) == list(range(3000))


def test_purged_rows_are_failed_rows(user: User, client: Celery, rabbit: RabbitServer) -> None:
    """No client waits for them; messages of other clients are purged, too."""
    configure_ten_priorities(user)
    rows = user.write("rows.jsonl", "1\n2\n3\n")
    job = user.run("submit", str(rows), "--chunk", "1", "--queue", "realtime").stdout.strip()
    client.send_task("mlq.predict", [1], queue="realtime", headers={"mlq_job": "made up"})
    user.until(lambda: rabbit.depth("realtime") == 4, "all wait")
    assert user.run("queues", "purge", "realtime", "--yes").stdout == "4 dropped from realtime\n"
    done = user.run("result", job)
    assert done.returncode == 6
    assert [json.loads(line)["error"]["type"] for line in done.stdout.splitlines()] == ["Purged"] * 3


@pytest.mark.parametrize(
    ("theirs", "ours", "words", "advice"),
    [
        ({"max_priority": 10}, {}, "x-max-priority = 10; the configuration has x-max-priority = not set", "= 10"),
        (
            {},
            {"x-max-priority": 5},
            "x-max-priority = not set; the configuration has x-max-priority = 5",
            "remove x-max-priority",
        ),
        (
            {"max_priority": 10},
            {"x-max-priority": 5},
            "x-max-priority = 10; the configuration has x-max-priority = 5",
            "= 10",
        ),
        (
            {"queue_type": "quorum"},
            {},
            "x-queue-type = quorum; the configuration has x-queue-type = not set",
            '= "quorum"',
        ),
        ({"exchange": "topic"}, {}, "exchange 'realtime' exists", "delete that exchange"),
    ],
)
def test_a_queue_that_exists_with_other_arguments_is_named_with_both_values(
    user: User, rabbit: RabbitServer, theirs: dict[str, object], ours: dict[str, object], words: str, advice: str
) -> None:
    """RabbitMQ's 406 is explained at the start of workers and at a submit.

    No row is sent, and no worker retries without end.
    """
    rabbit.declare("realtime", **theirs)  # type: ignore[arg-type]  # names of arguments, and of an exchange's type
    user.environment["MLQ_QUEUE"] = json.dumps({"realtime": {"arguments": ours}})
    rows = user.write("rows.jsonl", "1\n2\n")
    for argv in (
        ["worker", "start", "--cpus", "1", "--model", "serve.py:Model"],
        ["submit", str(rows), "--queue", "realtime"],
    ):
        done = user.run(*argv)
        assert done.returncode == 3, done.stderr
        happened, hint = done.stderr.splitlines()[-2:]
        assert words in happened
        assert advice in hint
    assert rabbit.depth("realtime") == 0


def test_a_quorum_queue_is_served_as_it_is_configured(user: User, start: Start, rabbit: RabbitServer) -> None:
    """Every client declares it as a replicated queue."""
    rabbit.declare("batch", queue_type="quorum")
    (user.directory / "mlq.toml").write_text('[queue.batch]\narguments = {"x-queue-type" = "quorum"}\n')
    start("--cpus", "1")
    rows = user.write("rows.jsonl", "\n".join(map(str, range(100))))
    done = user.run("submit", str(rows), "--wait", "-o", "out.jsonl")
    assert done.returncode == 0, done.stderr
    assert read_rows(user) == list(range(100))
    shown = {s["key"]: s for s in user.json("config")["settings"]}["queue"]
    assert shown["value"] == {"batch": {"arguments": {"x-queue-type": "quorum"}}}
    assert shown["origin"].endswith("mlq.toml")


@pytest.mark.parametrize("command", ["queues", "submit", "worker"])
@pytest.mark.parametrize(
    ("who", "reason", "advice"),
    [
        (("guest", "wrong", "/"), "Login was refused", "user and password"),
        (("nobody", "guest", "/"), "Login was refused", "user and password"),
        (("guest", "guest", "nowhere"), "vhost nowhere not found", "virtual host"),
    ],
)
def test_a_refusal_is_exit_4_with_its_reason(
    user: User, rabbit: RabbitServer, command: str, who: tuple[str, str, str], reason: str, advice: str
) -> None:
    """Two lines with the password masked."""
    user.environment["MLQ_BROKER_URL"] = rabbit.url(*who)
    user.write("rows.jsonl", "1\n2\n")
    argv = {
        "queues": ["queues"],
        "submit": ["submit", "rows.jsonl"],
        "worker": ["worker", "start", "--cpus", "1", "--model", "serve.py:Model"],
    }
    done = user.run(*argv[command])
    assert done.returncode == 4, done.stderr
    happened, hint = done.stderr.splitlines()[-2:]
    assert f"refuses: {reason}" in happened
    assert f"{who[0]}:***@" in happened
    assert advice in hint


def test_a_closed_port_is_exit_4(user: User, broker: str) -> None:
    """No server listens on it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    url = f"amqp://guest:guest@127.0.0.1:{port}//"
    user.environment |= {"MLQ_BROKER_URL": url, "MLQ_STATE_URL": broker, "MLQ_RESULT_BACKEND": broker}
    done = user.run("queues")
    assert done.returncode == 4
    assert "cannot reach the broker at amqp://guest:***@127.0.0.1" in done.stderr
