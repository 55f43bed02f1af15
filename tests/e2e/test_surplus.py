"""Chunks of foreign clients, whose rows are not counted: a busy worker leaves the chunks that others can run."""

from __future__ import annotations

from celery import Celery
from redis import Redis

from tests.conftest import Start, User

ROWS = 4  # the model's batch size
MESSAGES = 8
HELD_AT_MOST = 2  # one runs, and one is staged behind it


def test_a_busy_worker_leaves_the_surplus_to_an_idle_one(
    user: User, client: Celery, start: Start, broker_redis: Redis
) -> None:
    """Each of the four claimed messages counts as one row but is a whole batch. All except one go back at once."""
    gate = user.directory / "gate"
    chunks = [[{"wait_for": str(gate), "n": [m, n]} for n in range(ROWS)] for m in range(MESSAGES)]
    tasks = [client.send_task("mlq.batch_predict", [rows], queue="batch") for rows in chunks]
    busy = start("--cpus", "1", "--name", "busy")
    log = user.directory / "model.log"
    user.until(lambda: log.exists() and len(log.read_text().splitlines()) == 1, "it is busy")
    (wid,) = broker_redis.zrange("mlq:leases", 0, -1)
    assert isinstance(wid, bytes)
    claims = f"mlq:claims:{wid.decode()}"
    assert broker_redis.hlen(claims) <= HELD_AT_MOST
    assert broker_redis.llen("batch") + broker_redis.hlen(claims) == MESSAGES
    start("--cpus", "1", "--name", "idle")
    user.until(lambda: len(log.read_text().splitlines()) == 2, "the other works beside it")
    assert broker_redis.hlen(claims) <= HELD_AT_MOST
    gate.touch()
    answers = [task.get(timeout=30) for task in tasks]
    assert [[answer["row"]["n"] for answer in rows] for rows in answers] == [[r["n"] for r in c] for c in chunks]
    assert len(log.read_text().splitlines()) == MESSAGES * ROWS
    (busy_pid,) = busy.pids().values()
    assert {answer["pid"] for answer in answers[0]} == {busy_pid}, "what went back went to the head"
    assert len({answer["pid"] for rows in answers for answer in rows}) == 2
