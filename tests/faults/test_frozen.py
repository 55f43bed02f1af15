"""A worker that is frozen while it is idle holds nothing, so nothing is lost with it."""

from __future__ import annotations

import os
import signal
from typing import Any

from celery import Celery


def test_a_message_that_arrives_while_its_only_worker_is_frozen_is_not_lost_ten_of_ten(
    client: Celery, start: Any
) -> None:
    """Stock Celery loses ten of ten: BRPOP hands the message to a socket that nobody reads.

    Each worker is killed before it was healthy for long, so a new fleet takes the place of each.
    """
    for number in range(10):
        workers = start("--cpus", "1", ready=1)
        (pid,) = workers.pids().values()
        os.kill(pid, signal.SIGSTOP)
        task = client.send_task("mlq.predict", [number], queue="realtime")
        os.kill(pid, signal.SIGKILL)
        assert task.get(timeout=60)["row"] == number
        workers.end()
