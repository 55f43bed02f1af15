"""Custom states of a task, sent by a worker that was treated as dead."""

from __future__ import annotations

import json

from chaos.faultkit import World, until

TASKS = '''
import os, time
from pathlib import Path
from celery import shared_task

def log(word):
    with open("states.log", "a") as file:
        file.write(f"{word} {os.getpid()}\\n")

@shared_task(name="own.states", bind=True)
def states(self, row):
    """Wait for a file, set a last state, and fail: with Celery's backend a failure could be overwritten."""
    log("began")
    while not Path(row["gate"]).exists():
        time.sleep(0.01)
    self.update_state(state="LATE", meta={"pid": os.getpid()})
    log("sent")
    raise ValueError("the end")
'''


def test_a_late_state_does_not_replace_the_end(world: World) -> None:
    """The worker was frozen and then goes on, and sets a state for a task that has ended elsewhere."""
    (world.directory / "own_states.py").write_text(TASKS)
    log, gate = world.directory / "states.log", world.directory / "gate"

    def lines(word: str) -> list[int]:
        return [int(line.split()[1]) for line in log.read_text().splitlines() if line.startswith(word)]

    zombie = world.start("zombie", MLQ_WORKER_IMPORTS="own_states")
    zombie.wait_ready()
    task = world.send({"gate": str(gate)}, task="own.states")
    until(lambda: log.exists() and lines("began") == [zombie.pid], "it runs")
    zombie.freeze()
    heir = world.start("heir", MLQ_WORKER_IMPORTS="own_states")
    until(lambda: lines("began") == [zombie.pid, heir.pid], "it runs again elsewhere", 30, world.whereabouts)
    gate.touch()
    world.answered()
    zombie.thaw()
    assert zombie.process.wait(30) == 76
    assert lines("sent") == [heir.pid, zombie.pid], "both have set the state"
    stored = world.redis.get(f"celery-task-meta-{task}")
    assert isinstance(stored, bytes)
    assert json.loads(stored)["status"] == "FAILURE"
    assert heir.stop() == 0
    world.check(states=("FAILURE",))
