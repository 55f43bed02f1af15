"""What mlq promises of GPUs, on a real one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from mlq.supervisor.devices.gpus import Gpu
from tests.conftest import Start, User

MODELS = Path(__file__).with_name("models.py")
DIGITS = Path(__file__).parents[2] / "examples" / "digits"

Recorded = Callable[[], list[list[str]]]
Note = Callable[..., None]

HOLD = """
import sys, torch
held = torch.zeros(2 * 2**30, dtype=torch.uint8, device="cuda")
torch.cuda.synchronize()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def busy(gpu: Gpu) -> Iterator[int]:
    """Run a foreign program that holds 2 GiB of the GPU; return its process id."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n", f"nothing could be held on {gpu.words}"
        yield process.pid
        process.kill()


def model(name: str) -> str:
    """Return a class of models.py in the form of `--model`."""
    return f"{MODELS}:{name}"


def test_the_digits_are_read_on_the_gpu(
    gpu: Gpu, user: User, start: Start, compute_processes: Callable[[], dict[int, int]], note: Note
) -> None:
    """The main job with a worker that is chosen by UUID. nvidia-smi lists the process of `mlq worker`."""
    start("--gpus", gpu.uuid, "--output", "classify", model=str(DIGITS / "model.pt2"))
    (worker,) = user.json("worker")["workers"]
    assert (worker["gpu"], worker["device"]) == (gpu.uuid, "cuda:0")
    done = user.run("submit", str(DIGITS / "input.json"), "--wait", "-o", "answers.jsonl")
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in (user.directory / "answers.jsonl").read_text().splitlines()]
    labels = json.loads((DIGITS / "labels.json").read_text())
    assert {answer["result"]["device"] for answer in answers} == {"cuda:0"}
    right = sum(answer["result"]["class"] == labels[answer["id"]] for answer in answers) / len(answers)
    assert len(answers) == len(labels)
    assert right > 0.97
    seen = compute_processes()
    assert worker["pid"] in seen
    note(gpu=gpu.name, rows=len(answers), accuracy=round(right, 4), worker_mib=seen[worker["pid"]])


@pytest.mark.parametrize("how", ["index", "beginning of the UUID", "all", "auto"])
def test_a_gpu_can_be_named_in_every_way(gpu: Gpu, start: Start, client: Celery, recorded: Recorded, how: str) -> None:
    """For each form the process has the UUID as its mask, and sees one device."""
    named = {"index": "0", "beginning of the UUID": gpu.uuid[:12]}.get(how, how)
    start("--gpus", named, model=model("Sum"))
    assert client.send_task("mlq.predict", [[1, 2, 3]]).get(timeout=60) == 6
    assert recorded()[0][1:] == ["setup", "cuda:0", "1", gpu.uuid]


def test_memory_that_setup_lacks_is_named(gpu: Gpu, user: User, recorded: Recorded, note: Note) -> None:
    """Exit code 3 with the figures after one attempt, because it would fail again in the same way."""
    done = user.run("worker", "start", "--gpus", gpu.uuid, "--model", model("TooLarge"))
    assert done.returncode == 3, done.stderr
    assert "out of memory: needs about" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(recorded()) == 1
    note(
        error=next(line for line in done.stderr.splitlines() if "out of memory" in line).replace(
            str(MODELS), MODELS.name
        )
    )


def test_memory_that_predict_lacks_halves_the_batch(
    gpu: Gpu, start: Start, client: Celery, recorded: Recorded, note: Note
) -> None:
    """Every row is answered, and the next batches begin with the size that fitted."""
    start("--gpus", gpu.uuid, model=model("Hungry"))
    answers = client.send_task("mlq.batch_predict", [list(range(24))]).get(timeout=120)
    assert answers == [1] * 24
    sizes = [int(words[2]) for words in recorded()]
    assert sizes == [8, 4, 4, 4, 4, 4, 4]
    note(forwards=sizes)


def test_a_device_side_assert_costs_one_worker_and_no_message(
    gpu: Gpu, user: User, start: Start, client: Celery, recorded: Recorded, note: Note
) -> None:
    """The process cannot compute on the GPU any more. It is replaced, and its messages run in the replacement."""
    workers = start("--gpus", gpu.uuid, model=model("OutOfRange"))
    (first,) = workers.pids().values()
    assert client.send_task("mlq.predict", ["once"]).get(timeout=120) == 4
    workers.wait_for("ready after", times=2)
    (second,) = workers.pids().values()
    assert second != first
    assert [int(pid) for pid, what, *_ in recorded() if what == "forward"] == [first, second]
    named = next(line for line in workers.lines if "the device failed" in line)
    assert "torch.AcceleratorError: CUDA error: device-side assert triggered" in named
    assert user.json("dead")["entries"] == []
    note(log=named.partition("|")[2].strip())


def test_a_row_that_always_breaks_the_device_becomes_a_dead_letter(
    gpu: Gpu, user: User, start: Start, client: Celery
) -> None:
    """It breaks three workers, then its client gets a failure. Every other row is answered."""
    start("--gpus", gpu.uuid, model=model("OutOfRange"))
    broken = client.send_task("mlq.predict", ["always"])
    others = [client.send_task("mlq.predict", [word]) for word in ("a", "bb", "ccc")]
    assert [task.get(timeout=150) for task in others] == [1, 2, 3]
    assert isinstance(broken.get(timeout=150, propagate=False), Exception)
    (letter,) = user.json("dead")["entries"]
    assert letter["task_id"] == broken.id


def test_memory_of_a_killed_worker_is_free_before_the_next_one_loads(
    gpu: Gpu, start: Start, client: Celery, recorded: Recorded, note: Note
) -> None:
    """Two of this model do not fit, so the replacement would run out of memory if it loaded too early."""
    workers = start("--gpus", gpu.uuid, model=model("Large"))
    (pid,) = workers.pids().values()
    os.kill(pid, signal.SIGKILL)
    workers.wait_for("ready after", times=2)
    assert client.send_task("mlq.predict", [[1, 2]]).get(timeout=60) == 3
    free = [float(words[2]) for words in recorded() if words[1] == "free"]
    assert len(free) == 2, "the replacement loads at its first attempt"
    assert free[1] == pytest.approx(free[0], abs=0.02)
    note(free_before_each_load=free)


def test_a_server_of_a_killed_worker_is_gone_before_the_next_one_loads(
    gpu: Gpu, start: Start, recorded: Recorded, compute_processes: Callable[[], dict[int, int]]
) -> None:
    """It left the worker's process group, and would keep the memory that the replacement needs."""
    workers = start("--gpus", gpu.uuid, model=model("WithServer"))
    (pid,) = workers.pids().values()
    os.kill(pid, signal.SIGKILL)
    workers.wait_for("ready after", times=2)
    servers = [int(words[2]) for words in recorded() if words[1] == "server"]
    assert len(servers) == 2, "the replacement loads at its first attempt"
    assert servers[0] not in compute_processes()


def test_two_workers_share_a_gpu(
    gpu: Gpu, user: User, start: Start, client: Celery, compute_processes: Callable[[], dict[int, int]], note: Note
) -> None:
    """With --per-gpu 2 both compute on it, and nvidia-smi sees both."""
    start("--gpus", gpu.uuid, "--per-gpu", "2", model=model("Sum"), ready=2)
    tasks = [client.send_task("mlq.predict", [[n, n]]) for n in range(100)]
    assert [task.get(timeout=60) for task in tasks] == [2 * n for n in range(100)]
    workers = user.json("worker")["workers"]
    seen = compute_processes()
    assert {worker["gpu"] for worker in workers} == {gpu.uuid}
    assert {worker["pid"] for worker in workers} <= seen.keys()
    note(mib=[seen[worker["pid"]] for worker in workers])


def test_auto_leaves_a_busy_gpu_alone(gpu: Gpu, user: User, busy: int, note: Note) -> None:
    """The error names the program that uses it. (If there are other GPUs, `auto` takes those.)"""
    environment = {**user.environment, "CUDA_VISIBLE_DEVICES": gpu.uuid}
    alone = User(user.directory, environment)
    done = alone.run("worker", "start", "--gpus", "auto", "--model", model("Sum"))
    assert done.returncode == 5, done.stderr
    assert f"used by process {busy}" in done.stderr
    note(error=done.stderr.splitlines()[0])


def test_a_gpu_that_is_not_there_is_an_error(gpu: Gpu, user: User) -> None:
    """The worker must not silently use the CPU instead."""
    done = user.run("worker", "start", "--gpus", "99", "--model", model("Sum"))
    assert done.returncode == 5
    assert gpu.uuid in done.stderr
    hidden: dict[str, Any] = {**user.environment, "CUDA_VISIBLE_DEVICES": ""}
    done = User(user.directory, hidden).run("worker", "start", "--gpus", "all", "--model", model("Sum"))
    assert done.returncode == 5
