"""Demo: start a broker and two workers, classify 1,797 digits with them, and stop everything."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(os.path.relpath(Path(__file__).parent))
MLQ = Path(sys.executable).with_name("mlq")
READY_WITHIN_S = 90.0
WANTED_ACCURACY = 0.97


def main() -> int:
    """Run the demo; return 1 if the accuracy is not above WANTED_ACCURACY."""
    if not (HERE / "model.pt2").exists():
        subprocess.run([sys.executable, str(HERE / "make.py")], check=True)
    with tempfile.TemporaryDirectory(prefix="mlq-demo-") as directory:
        # A separate state directory keeps the demo apart from your broker and your workers.
        environment = {**os.environ, "XDG_STATE_HOME": directory}
        answers = Path(directory) / "answers.jsonl"
        with workers(environment, Path(directory) / "workers.log"):
            show(["submit", str(HERE / "input.json"), "--wait", "-o", str(answers)], environment)
            lines = answers.read_text().splitlines()
            print("\nThe first answers:", *lines[:3], sep="\n")
            right = accuracy(lines)
            print(f"\n{right:.1%} of {len(lines)} digits are read as people labelled them.")
            show(["queues"], environment)
            show(["worker"], environment)
    return 0 if right > WANTED_ACCURACY else 1


def accuracy(lines: list[str]) -> float:
    """Return the share of digits whose result equals the label."""
    labels = json.loads((HERE / "labels.json").read_text())
    answers = [json.loads(line) for line in lines]
    right = [a["status"] == "ok" and a["result"]["class"] == labels[a["id"]] for a in answers]
    return right.count(True) / len(labels)


@contextmanager
def workers(environment: dict[str, str], log: Path) -> Iterator[None]:
    """Run `mlq worker start` in the background, and stop it with SIGTERM at the end."""
    devices = ["--gpus", "all"] if has_cuda() else ["--cpus", "2"]
    command = ["worker", "start", *devices, "--model", str(HERE / "model.pt2"), "--output", "classify"]
    print(f"$ mlq {shlex.join(command)} &")
    with log.open("wb") as file:
        process = subprocess.Popen([MLQ, *command], env=environment, stdout=file, stderr=file)
    try:
        wait_until_ready(process, environment, log)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def wait_until_ready(process: subprocess.Popen[bytes], environment: dict[str, str], log: Path) -> None:
    """Run `mlq worker` until every worker is idle, which means that its model is loaded."""
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        asked = subprocess.run([MLQ, "worker", "--json"], env=environment, capture_output=True, check=False)
        states = [w["state"] for w in json.loads(asked.stdout or b'{"workers": []}')["workers"]]
        if states and set(states) == {"idle"}:
            print(f"{len(states)} workers are ready.")
            return
        time.sleep(0.2)
    sys.exit(f"the workers did not become ready:\n{log.read_text()}")


def show(command: list[str], environment: dict[str, str]) -> None:
    """Print a command line, then run it with its output on the terminal."""
    print(f"\n$ mlq {shlex.join(command)}", flush=True)
    subprocess.run([MLQ, *command], env=environment, check=True)


def has_cuda() -> bool:
    """Return whether torch can use a GPU on this host."""
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    sys.exit(main())
