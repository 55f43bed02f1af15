"""Workers in the background: the command returns when they are ready, or says why they are not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import is_alive


@pytest.fixture
def start_detached(user: Any) -> Iterator[Any]:
    """Return a function that starts workers in the background, which are stopped at the end of the test."""

    def start(*argv: str, model: str = "serve.py:Model") -> Any:
        return user.run("worker", "start", *argv, "--model", model, "--detach")

    yield start
    user.run("worker", "stop", "--all", "--drain-timeout", "0")


def test_the_command_returns_once_the_workers_are_ready(user: Any, start_detached: Any) -> None:
    """Background workers are listed, logged and stopped like all others, and so is their broker."""
    done = start_detached("--cpus", "2")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("ready after") == 2
    workers = user.json("worker")["workers"]
    assert [w["name"] for w in workers] == ["cpu0", "cpu1"]
    assert not {w["state"] for w in workers} & {"failed", "lost"}
    supervisor = workers[0]["supervisor"]
    assert user.run("worker", "stop", "--all").returncode == 0
    user.until(lambda: not is_alive(supervisor), "the supervisor has ended")
    assert user.run("worker").returncode == 4, "and with it the embedded broker"


def test_the_waiting_command_says_why_workers_do_not_start(start_detached: Any) -> None:
    """The exit code is the same as in the foreground."""
    done = start_detached("--cpus", "1", model="missing.py:Model")
    assert done.returncode == 3
    assert "there is no file missing.py" in done.stderr


def test_workers_that_do_not_start_are_named_and_the_others_serve(user: Any, start_detached: Any) -> None:
    """The second one fails, as it would on a faulty device."""
    user.write(
        "picky.py",
        "import os\nfrom serve import Model as Good\nclass Model(Good):\n    def setup(self, device):\n"
        "        if not os.path.exists('taken'): open('taken', 'x'); super().setup(device)\n"
        "        else: raise SystemExit(3)\n",
    )
    done = start_detached("--cpus", "2", model="picky.py:Model")
    assert done.returncode == 1, done.stderr
    assert "1 of 2 workers did not start" in done.stderr
    # The heartbeats show it a moment later.
    user.until(lambda: sorted(w["state"] for w in user.json("worker")["workers"]) == ["failed", "idle"], "it is told")


def test_the_log_of_each_worker_is_kept(user: Any, start_detached: Any) -> None:
    """It can be read after the worker has ended; of workers on another host the last lines can be read."""
    start_detached("--cpus", "1")
    here = user.run("worker", "logs", "cpu0", "-n", "100")
    assert "ready after" in here.stdout
    assert "loaded serve.py:Model" in here.stdout
    user.until(lambda: bool(last_lines(user)), "the registry has them, too")
    logs = user.state / "logs"
    logs.rename(logs.with_name("elsewhere"))
    assert "loaded serve.py:Model" in user.run("worker", "logs", "cpu0").stdout
    followed = user.run("worker", "logs", "cpu0", "-f")
    assert followed.returncode == 2
    assert "on that host" in followed.stderr


def last_lines(user: Any) -> list[str]:
    """Return the last lines in the registry."""
    from redis import Redis

    with Redis(unix_socket_path=user.broker_url.removeprefix("redis+socket://")) as redis:
        return [key.decode() for key in redis.scan_iter("mlq:last-lines:*")]
