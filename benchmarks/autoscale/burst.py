"""A burst with real processes: 500 tasks of 0.2 s, from no worker to two and back to none.

python -m benchmarks.autoscale.burst [OPTIONS OF mlq autoscale]

Exits with 1 if a task was lost or done twice, if a worker was killed, or if there were more than two. With the defaults
the last worker stops after five minutes; `--preset economy --zero-after 2` shortens that.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from celery import Celery
from redis import Redis

from mlq.broker import embedded
from mlq.store.workers import heartbeats

TASKS: Final = 500
TASK_S: Final = 0.2
MOST: Final = 2
PATIENCE_S: Final = 900.0
MODEL: Final = f"""
import os, time

class Model:
    max_batch_size = 1

    def predict(self, rows):
        with open("done.log", "a") as log:  # O_APPEND: every run is logged, even if its result is not recorded
            log.write(f"{{rows[0]}} {{os.getpid()}}\\n")
        time.sleep({TASK_S})
        return rows
"""


def main(options: Sequence[str]) -> int:
    """Run the burst, and print the findings as JSON."""
    with tempfile.TemporaryDirectory(prefix="mlq-burst-") as name:
        directory = Path(name)
        (directory / "serve.py").write_text(MODEL)
        with embedded.running(directory / "mlq") as url, (directory / "log").open("w") as log:
            command = [str(Path(sys.executable).with_name("mlq")), "autoscale", "--queue", "realtime", "--cpus", "2"]
            command += ["--max", str(MOST), "--min", "0", "--model", "serve.py:Model", "-v", *options]
            environment = {**os.environ, "XDG_STATE_HOME": name, "XDG_CONFIG_HOME": name}
            scaler = subprocess.Popen(command, cwd=name, env=environment, stdout=log, stderr=log)
            try:
                found = watch(url)
            finally:
                scaler.send_signal(signal.SIGTERM)
                code = scaler.wait(60)
        ran = Counter(line.split()[0] for line in (directory / "done.log").read_text().splitlines())
        text = (directory / "log").read_text()
    found |= {"done_once": sum(n == 1 for n in ran.values()), "killed": text.count("SIGKILL"), "exit_code": code}
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    wanted = {"answered": TASKS, "done_once": TASKS, "most_workers": MOST, "left": 0, "killed": 0, "exit_code": 0}
    return 0 if found.items() >= wanted.items() else 1


def watch(url: str) -> dict[str, Any]:
    """Send the burst, and observe until all tasks are answered and all workers have stopped, or until the deadline."""
    app = Celery("burst", broker=url, backend=url, set_as_current=False)
    began = time.monotonic()
    sent = [app.send_task("mlq.predict", [n], queue="realtime") for n in range(TASKS)]
    keys = [f"celery-task-meta-{task.id}" for task in sent]
    found: dict[str, Any] = {"answered": 0, "most_workers": 0, "left": None}
    with Redis(unix_socket_path=url.removeprefix("redis+socket://")) as redis:
        while time.monotonic() - began < PATIENCE_S and (found["answered"] < TASKS or found["left"] != 0):
            time.sleep(0.1)
            there = sum(h.state not in {"lost", "failed"} for h in heartbeats.read(redis))
            answered = sum(value is not None for value in redis.mget(keys))
            if answered and "first_answer_s" not in found:
                found["first_answer_s"] = round(time.monotonic() - began, 1)
            if answered == TASKS and "all_answered_s" not in found:
                found["all_answered_s"] = round(time.monotonic() - began, 1)
            found |= {"answered": answered, "left": there, "most_workers": max(found["most_workers"], there)}
        return {**found, "nobody_left_s": round(time.monotonic() - began, 1)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
