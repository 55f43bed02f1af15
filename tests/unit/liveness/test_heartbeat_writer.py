"""When the next heartbeat of a worker is due: at once after a job, and rarely while nothing changes."""

from __future__ import annotations

from mlq.liveness.heartbeat_writer import CHANGING_S, INTERVAL_S, LOOK_EVERY_S, News, pause

IDLE = News("idle", None, "f", 1, 100)
BUSY = News("busy", "t1", "f", 1, 100)
DONE = News("idle", None, "f", 2, 901)


def test_a_worker_that_becomes_idle_after_a_job_writes_a_heartbeat_at_once() -> None:
    """An operator sees the rows of a job right after its end."""
    assert pause(BUSY, DONE, LOOK_EVERY_S) == 0.0
    assert pause(IDLE, DONE, LOOK_EVERY_S) == 0.0, "the worker was busy between two looks"


def test_a_worker_that_alternates_between_busy_and_idle_does_not_report_each_change() -> None:
    """A thousand messages a second cause one heartbeat a second."""
    assert pause(BUSY, DONE, 0.0) == CHANGING_S
    assert pause(IDLE, BUSY, 0.0) == CHANGING_S
    assert pause(BUSY, BUSY._replace(task="t2", tasks_done=2), 0.0) == CHANGING_S
    assert pause(IDLE, DONE, 0.0) == INTERVAL_S


def test_an_unchanged_worker_writes_few_heartbeats() -> None:
    """An idle worker sends few requests to the server."""
    assert pause(IDLE, IDLE, 3600.0) == INTERVAL_S
    assert pause(None, IDLE, 3600.0) == INTERVAL_S


def test_other_changes_are_written_at_once() -> None:
    """An operator waits for them."""
    assert pause(IDLE, IDLE._replace(state="draining"), 0.0) == 0.0
    assert pause(IDLE._replace(state="starting"), IDLE, 0.0) == 0.0
