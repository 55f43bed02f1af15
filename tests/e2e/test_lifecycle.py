"""Workers start, end, die and are replaced; tasks survive all of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from mlq.broker import embedded
from mlq.ipc.shared_pages import SupervisorNotices
from mlq.settings import config
from mlq.supervisor import session
from mlq.supervisor.child import Child
from mlq.supervisor.devices.gpus import Gpu
from mlq.supervisor.spec import WorkerSpec
from tests.conftest import MLQ, Start, User, is_alive

SLOW_TO_END = """
import atexit, time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

class Model:
    def setup(self, device):
        atexit.register(self.end)

    def end(self):
        time.sleep(3)
        Path("ended").touch()

    def predict(self, rows):
        return rows
"""

KILLER = """def answer(self, row):
        if row == "die":
            os.kill(os.getpid(), 9)
"""


def test_the_first_signal_lets_the_running_task_finish(user: Any, client: Celery, start: Any) -> None:
    """A drain is a success: the exit code is 0, and the answer arrives."""
    workers = start("--cpus", "1")
    gate = user.directory / "gate"
    task = client.send_task("mlq.predict", [{"wait_for": str(gate)}])
    user.until(lambda: user.json("worker")["workers"][0]["state"] == "busy", "the worker is busy")
    workers.process.send_signal(signal.SIGTERM)
    workers.wait_for("draining")
    gate.touch()
    assert workers.wait() == 0
    assert task.get(timeout=30)["row"] == {"wait_for": str(gate)}


def test_the_second_signal_gives_the_running_task_back(user: Any, client: Celery, start: Any) -> None:
    """Stock Celery stores a failure and acknowledges the message, so the work is lost."""
    workers = start("--cpus", "1")
    task = client.send_task("mlq.predict", [{"sleep": 600}], queue="realtime")
    user.until(lambda: user.json("worker")["workers"][0]["state"] == "busy", "the worker is busy")
    workers.process.send_signal(signal.SIGINT)
    workers.wait_for("draining")
    workers.process.send_signal(signal.SIGINT)
    assert workers.wait() == 128 + signal.SIGINT
    assert user.json("queues", "realtime")["queues"][0]["ready"] == 1
    assert task.state != "FAILURE"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_the_start_of_an_autoscaler_ends_both_it_and_its_supervisor(
    user: User, broker: str, number: signal.Signals
) -> None:
    """If the signal ended the process at once, the end of the autoscaler would not be recorded."""
    ended: list[str] = []

    @contextmanager
    def autoscaler(*_: object) -> Iterator[None]:
        signal.raise_signal(number)
        yield
        ended.append("autoscaler")

    def end_at_once(*_: object) -> None:
        raise AssertionError("the signal has its own effect")

    settings = config.load({**user.environment, "MLQ_BROKER_URL": broker}, cwd=user.directory)
    before = signal.signal(number, end_at_once)
    try:
        assert session.run(settings, lambda _: [], lambda _: None, beside=autoscaler) == 0
    finally:
        signal.signal(number, before)
    assert ended == ["autoscaler"]


def test_kill_9_of_one_of_two_workers_does_not_stop_a_job(user: Any, start: Any) -> None:
    """The worker is replaced, its task runs again, and every row is answered."""
    recovery = {"visibility_timeout": 3, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}
    workers = start("--cpus", "2", ready=2, MLQ_BROKER_TRANSPORT_OPTIONS=json.dumps(recovery))
    user.write("rows.json", [{"sleep": 0.3, "n": n} for n in range(60)])
    job = user.run("submit", "rows.json", "--chunk", "2").stdout.strip()
    user.until(lambda: all(w["state"] == "busy" for w in user.json("worker")["workers"]), "both are busy")
    before = workers.pids()
    os.kill(before["cpu0"], signal.SIGKILL)
    workers.wait_for("cpu0 | ready after", times=2)
    assert workers.pids()["cpu0"] != before["cpu0"]
    assert workers.pids()["cpu1"] == before["cpu1"]
    done = user.run("result", job, "--wait", "--timeout", "50")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["result"]["row"]["n"] for line in done.stdout.splitlines()] == list(range(60))


@pytest.mark.usefixtures("broker")
def test_a_model_that_does_not_load_takes_no_message(user: Any) -> None:
    """The exit code is 3 with the reason; waiting messages stay in the queue."""
    setup = "    def setup(self, device):\n        raise OSError('no weights here')\n"
    user.write("broken.py", f"class Model:\n{setup}    def predict(self, rows): ...\n")
    user.write("rows.json", [1, 2])
    user.run("submit", "rows.json")
    done = user.run("worker", "start", "--cpus", "1", "--model", "broken.py:Model")
    assert done.returncode == 3
    assert "no weights here" in done.stderr
    assert "(from --model)" in done.stderr
    assert user.json("queues", "batch")["queues"][0]["ready"] == 1


def test_a_crash_loop_ends_with_the_last_lines_of_the_log(user: Any) -> None:
    """Other workers would go on. Here there are none, so the supervisor ends with exit code 1."""
    user.write("dying.py", "import os, sys\nprint('last words', file=sys.stderr)\nsys.stderr.flush()\nos._exit(9)\n")
    setup = "    def setup(self, device):\n        import dying\n"
    user.write("dying_model.py", f"class Model:\n{setup}    def predict(self, rows): ...\n")
    done = user.run("worker", "start", "--cpus", "1", "--model", "dying_model.py:Model")
    assert done.returncode == 1
    assert "died 6 times in a row (exit code 9)" in done.stderr
    assert "  last words" in done.stderr


def test_weights_without_a_model_are_refused_with_a_hint_to_wrap_them(user: Any) -> None:
    """A state_dict has no code to run."""
    script = "import torch; torch.save(torch.nn.Linear(2, 2).state_dict(), 'weights.pt')"
    subprocess.run([sys.executable, "-c", script], cwd=user.directory, check=True)
    done = user.run("worker", "start", "--cpus", "1", "--model", "weights.pt")
    assert done.returncode == 3
    assert "torch.export" in done.stderr


def test_a_plain_celery_worker_is_refused(user: Any, start: Any) -> None:
    """Without a model it would take tasks only to fail them."""
    start("--cpus", "1", "--queues", "realtime")
    command = [sys.executable, "-m", "celery", "-A", "mlq.app", "worker", "--pool=solo"]
    done = subprocess.run(
        command, env=user.environment, cwd=user.directory, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "mlq worker start" in done.stderr


def test_a_queued_task_survives_kill_9_of_the_server(user: Any, start: Any) -> None:
    """Its owner restarts the server on the same socket, from its append-only file."""
    workers = start("--cpus", "1", "--queues", "realtime")
    user.write("rows.json", [1, 2, 3])
    job = user.run("submit", "rows.json").stdout.strip()
    server = embedded.find(user.state)
    assert server is not None
    with Redis(unix_socket_path=server.url.removeprefix("redis+socket://")) as redis:
        # On a slow disk, appendfsync everysec keeps up to a second of writes only in the server's memory.
        user.until(lambda: redis.info("persistence")["aof_buffer_length"] == 0, "it is in the file")
    os.kill(server.pid, signal.SIGKILL)
    user.until(lambda: embedded.find(user.state) not in {None, server}, "the server is up again")
    assert user.json("queues", "batch")["queues"][0]["ready"] == 1
    assert start("--cpus", "1", "--queues", "batch")
    assert user.run("result", job, "--wait", "--timeout", "30").returncode == 0
    assert workers.process.poll() is None


def test_no_process_is_left_when_the_supervisor_is_killed(user: Any, start: Any) -> None:
    """No orphan goes on consuming, and no server goes on serving."""
    workers = start("--cpus", "2", ready=2)
    server = embedded.find(user.state)
    assert server is not None
    left = [*workers.pids().values(), server.pid]
    workers.process.kill()
    user.until(lambda: not any(map(is_alive, left)), f"{left} have ended")
    assert embedded.find(user.state) is None


def test_a_gpu_worker_has_its_mask_in_its_environment(user: Any) -> None:
    """The mask must be set before torch looks for devices, so it is set when Python starts."""
    spec = WorkerSpec("gpu0", config.load({}), gpu=Gpu(0, "GPU-1234", "Some GPU", 2**33))
    child = Child(spec, user.environment, SupervisorNotices(), "supervisor")
    try:
        environ = Path(f"/proc/{child.pid}/environ")  # empty for a moment while exec replaces the program
        user.until(lambda: b"CUDA_VISIBLE_DEVICES=GPU-1234\0" in environ.read_bytes(), "the mask is there")
    finally:
        child.signal(signal.SIGKILL)
        child.reap()


def test_missing_gpus_are_exit_5(user: Any) -> None:
    """The error lists the existing GPUs; mlq never silently uses the CPU instead."""
    user.environment["CUDA_VISIBLE_DEVICES"] = ""
    done = user.run("worker", "start", "--gpus", "0,1", "--model", "serve.py:Model")
    assert done.returncode == 5
    assert done.stderr.startswith("mlq: no GPU 0: ")
    assert "--cpus" in done.stderr


def test_the_tasks_of_a_killed_worker_run_elsewhere_long_before_its_lease_expires(
    user: Any, client: Celery, start: Any
) -> None:
    """Its supervisor sees the death, fences the worker and gives its claims back at once, without a timeout."""
    workers = start("--cpus", "2", ready=2)
    task = client.send_task("mlq.predict", [{"wait_for": str(user.directory / "gate")}], queue="realtime")
    log = user.directory / "model.log"
    user.until(lambda: log.exists() and log.read_text().count("start") == 1, "it runs")
    (held_by,) = [pid for pid in workers.pids().values() if str(pid) in log.read_text()]
    os.kill(held_by, signal.SIGKILL)
    workers.wait_for("died with 1 messages, which are queued again")
    (user.directory / "gate").touch()
    assert task.get(timeout=30)["pid"] != held_by


def test_a_message_that_kills_its_workers_becomes_a_dead_letter(user: Any, client: Celery, start: Any) -> None:
    """After three deaths as the only message of a worker its client gets FAILURE.

    Other work goes on in the meantime.
    """
    user.write("serve.py", (user.directory / "serve.py").read_text().replace("def answer(self, row):", KILLER))
    start("--cpus", "2", ready=2)
    pill = client.send_task("mlq.predict", ["die"], queue="realtime")
    innocent = [client.send_task("mlq.predict", [n], queue="realtime") for n in range(20)]
    assert [task.get(timeout=60)["row"] for task in innocent] == list(range(20))
    with pytest.raises(Exception, match="its worker died 3 times"):
        pill.get(timeout=60)
    backend: Any = client.backend
    assert backend.client.zcard("mlq:dead") == 1


def test_a_closed_terminal_does_not_end_a_running_task(user: User, client: Celery) -> None:
    """With `mlq worker start 2>&1 | tee log`, Ctrl-C ends tee, too; the running task is still finished."""
    gate = user.directory / "gate"
    argv = [MLQ, "worker", "start", "--cpus", "1", "--model", "serve.py:Model"]
    with subprocess.Popen(argv, env=user.environment, cwd=user.directory, stderr=subprocess.PIPE, text=True) as fleet:
        assert fleet.stderr is not None
        next(line for line in fleet.stderr if "ready after" in line)
        task = client.send_task("mlq.predict", [{"wait_for": str(gate)}], queue="realtime")
        user.until(lambda: user.json("worker")["workers"][0]["state"] == "busy", "it runs")
        fleet.stderr.close()
        fleet.send_signal(signal.SIGINT)
        user.until(lambda: user.json("worker")["workers"][0]["state"] == "draining", "it drains")
        gate.touch()
        assert task.get(timeout=30)["device"] == "cpu"
        assert fleet.wait(30) == 0


def test_a_worker_that_is_slow_to_end_is_not_treated_as_dead(user: User, broker: str, start: Start) -> None:
    """It has released its lease; its libraries may run their exit handlers."""
    assert broker
    user.write("slow.py", SLOW_TO_END)
    workers = start("--cpus", "1", model="slow.py:Model")
    assert workers.end() == 0
    assert (user.directory / "ended").exists()
    assert not any("lost their leases" in line for line in workers.lines)
