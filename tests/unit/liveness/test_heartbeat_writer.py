"""When a worker's next heartbeat is due: right behind a job, and seldom while there is nothing new."""

from __future__ import annotations

from mlq.liveness.heartbeat_writer import CHANGING_S, INTERVAL_S, LOOK_EVERY_S, News, pause

IDLE = News("idle", None, "f", 1, 100)
BUSY = News("busy", "t1", "f", 1, 100)
DONE = News("idle", None, "f", 2, 901)


def test_what_a_job_has_left_behind_is_told_as_soon_as_its_worker_rests() -> None:
    """Whoever looks right behind a job wants to see its rows."""
    assert pause(BUSY, DONE, LOOK_EVERY_S) == 0.0
    assert pause(IDLE, DONE, LOOK_EVERY_S) == 0.0, "it was busy between two looks"


def test_a_worker_that_is_busy_and_idle_by_turns_does_not_tell_each_turn() -> None:
    """A thousand messages a second are one heartbeat a second."""
    assert pause(BUSY, DONE, 0.0) == CHANGING_S
    assert pause(IDLE, BUSY, 0.0) == CHANGING_S
    assert pause(BUSY, BUSY._replace(task="t2", tasks_done=2), 0.0) == CHANGING_S
    assert pause(IDLE, DONE, 0.0) == INTERVAL_S


def test_no_news_is_told_seldom() -> None:
    """An idle worker asks the server for next to nothing."""
    assert pause(IDLE, IDLE, 3600.0) == INTERVAL_S
    assert pause(None, IDLE, 3600.0) == INTERVAL_S


def test_other_changes_are_told_at_once() -> None:
    """An operator waits for them."""
    assert pause(IDLE, IDLE._replace(state="draining"), 0.0) == 0.0
    assert pause(IDLE._replace(state="starting"), IDLE, 0.0) == 0.0
