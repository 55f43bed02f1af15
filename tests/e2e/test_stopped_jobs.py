"""A client that ends: it ends in time and says how to resume, and its job does not run without end."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest


def write_rows(user: Any, number: int) -> None:
    """Write rows that wait for a file that is never created."""
    gate = str(user.directory / "gate")
    user.write("rows.jsonl", "".join(json.dumps({"wait_for": gate, "n": n}) + "\n" for n in range(number)))


def state_of(user: Any) -> str:
    """Return the state of the only job."""
    (job,) = user.json("job")["jobs"]
    return str(job["state"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda s: s.name)
def test_one_signal_ends_a_client_that_no_worker_answers(user: Any, broker: str, number: signal.Signals) -> None:
    """CI and notebooks send one signal and wait.

    The hint names the rows in flight, and no answer comes for ten seconds.
    """
    assert broker
    user.write("rows.jsonl", "".join(f"{n}\n" for n in range(40)))
    waiting = user.command("submit", "rows.jsonl", "--wait", "-o", "out.jsonl", "--chunk", "1", "--max-inflight", "4")
    user.until(lambda: user.json("queues", "batch")["queues"][0]["ready"] == 4, "the window is full")
    assert state_of(user) == "running"
    waiting.process.send_signal(number)
    waiting.wait_for("sending no more; 4 rows are on their way")
    assert waiting.wait() == 7
    assert any("mlq submit rows.jsonl" in line and "--resume" in line for line in waiting.lines)
    assert state_of(user) == "stopped"


@pytest.mark.parametrize("words", [("--wait", "-o", "out.jsonl"), ()], ids=["collecting", "sending"])
def test_one_signal_ends_a_client_whose_broker_is_gone(user: Any, server: Any, words: tuple[str, ...]) -> None:
    """Otherwise it would retry until the broker is back, which may be never."""
    user.environment["MLQ_BROKER_URL"] = server.url
    write_rows(user, 50_000)
    waiting = user.command("submit", "rows.jsonl", *words, "--chunk", "1")
    user.until(lambda: bool(user.json("job")["jobs"]), "it has begun")
    server.stop()
    waiting.wait_for("does not answer")
    waiting.process.send_signal(signal.SIGTERM)
    assert waiting.wait() == 7


def test_a_job_whose_output_pipe_is_closed_is_stopped_and_can_be_resumed(user: Any, start: Any) -> None:
    """With `mlq submit … --wait | head` the pipe closes midway, and the rest is not sent."""
    start("--cpus", "1")
    user.write("rows.jsonl", "".join(json.dumps({"n": n, "pad": "x" * 2000}) + "\n" for n in range(600)))
    argv = ["rows.jsonl", "--wait", "--chunk", "1", "--max-inflight", "4", "--job-id", "piped"]
    waiting = user.command("submit", *argv)
    assert waiting.process.stdout is not None
    waiting.process.stdout.readline()
    waiting.process.stdout.close()
    waiting.wait()
    assert user.json("job", "show", "piped")["state"] == "stopped"
    assert user.run("result", "piped").returncode == 7
    again = user.run("submit", "rows.jsonl", "--wait", "-o", "rest.jsonl", "--job-id", "piped")
    assert again.returncode == 0, again.stderr
    assert user.json("job", "show", "piped")["state"] == "done"


def test_the_job_shows_that_its_sender_was_killed_and_that_a_new_one_runs(user: Any, broker: str) -> None:
    """The sender's heartbeat expires; `--resume` gives the job another sender."""
    assert broker
    write_rows(user, 40)
    argv = ["rows.jsonl", "--wait", "-o", "out.jsonl", "--chunk", "1", "--max-inflight", "4"]
    killed = user.command("submit", *argv)
    user.until(lambda: user.json("queues", "batch")["queues"][0]["ready"] == 4, "the window is full")
    assert killed.end(signal.SIGKILL) == -signal.SIGKILL
    assert state_of(user) == "running"  # its heartbeat has not expired yet
    user.until(lambda: state_of(user) == "stopped", "its heartbeat has expired")
    resumed = user.command("submit", *argv, "--resume")
    user.until(lambda: state_of(user) == "running", "another process sends it")
    resumed.process.kill()
    resumed.wait()


def test_a_completely_sent_job_needs_no_sender(user: Any, broker: str) -> None:
    """`mlq submit` without --wait has ended, and workers do the rest."""
    assert broker
    user.write("rows.jsonl", "1\n2\n3\n")
    assert user.run("submit", "rows.jsonl").returncode == 0
    assert state_of(user) == "running"


@pytest.mark.parametrize("kind", ["a task", "a job"])
def test_waiting_for_a_result_ends_with_one_signal(user: Any, broker: str, kind: str) -> None:
    """The answer stays in Redis."""
    assert broker
    user.write("rows.jsonl", "1\n2\n3\n")
    wanted = user.run("submit", "rows.jsonl").stdout.strip() if kind == "a job" else "some-task"
    waiting = user.command("result", wanted, "--wait")
    user.until(lambda: b"SigCgt" in _status(waiting) and _catches(waiting, signal.SIGTERM), "it waits")
    waiting.process.send_signal(signal.SIGTERM)
    assert waiting.wait() == 7
    assert any("--wait` continues" in line for line in waiting.lines)


def _status(running: Any) -> bytes:
    return Path(f"/proc/{running.process.pid}/status").read_bytes()


def _catches(running: Any, number: signal.Signals) -> bool:
    """Return whether a process has its own handler for a signal."""
    mask = int(_status(running).split(b"SigCgt:")[1].split()[0], 16)
    return bool(mask >> (number - 1) & 1)
