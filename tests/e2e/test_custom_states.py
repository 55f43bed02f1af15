"""Custom states of a task are visible while it runs, and never after its end."""

from __future__ import annotations

from celery import Celery

from tests.conftest import Start, User

TASKS = '''
import threading, time
from pathlib import Path
from celery import shared_task

@shared_task(name="own.progress", bind=True)
def progress(self, gate):
    """Report the progress, and go on when the gate opens."""
    for done in (1, 2):
        self.update_state(state="PROGRESS", meta={"done": done})
        while not Path(f"{gate}.{done}").exists():
            time.sleep(0.01)
    return "done"

@shared_task(name="own.late", bind=True)
def late(self, gate):
    """Leave a thread behind that sets a state later."""
    def set_late_state(task_id):
        while not Path(gate).exists():
            time.sleep(0.01)
        self.update_state(task_id=task_id, state="PROGRESS", meta={"done": 99})
        Path(gate + ".set").touch()

    threading.Thread(target=set_late_state, args=[self.request.id], daemon=True).start()
    return "done"
'''


def test_clients_see_the_progress_of_a_running_task(user: User, client: Celery, start: Start) -> None:
    """A stock client sees each state with its metadata; the end of the task replaces the last one."""
    user.write("own_states.py", TASKS)
    start("--cpus", "1", MLQ_WORKER_IMPORTS="own_states")
    gate = user.directory / "gate"
    task = client.send_task("own.progress", [str(gate)])
    for done in (1, 2):
        user.until(lambda done=done: (task.state, task.info) == ("PROGRESS", {"done": done}), "it is seen")  # type: ignore[misc]
        user.write(f"gate.{done}", "")
    assert task.get(timeout=30) == "done"
    assert task.state == "SUCCESS"


def test_a_state_that_is_written_after_the_end_does_not_change_the_result(
    user: User, client: Celery, start: Start
) -> None:
    """As with Celery, a client that has read a success reads it again."""
    user.write("own_states.py", TASKS)
    start("--cpus", "1", MLQ_WORKER_IMPORTS="own_states")
    gate = user.directory / "gate"
    task = client.send_task("own.late", [str(gate)])
    assert task.get(timeout=30) == "done"
    gate.touch()
    user.until((user.directory / "gate.set").exists, "the thread has set the state")
    assert client.AsyncResult(task.id).state == "SUCCESS"
