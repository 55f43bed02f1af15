"""`result_backend = "none"`: tasks run, and no result is kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from celery import Celery
from redis import Redis

from tests.conftest import Running, Start, User


def claimed(redis: Redis) -> int:
    """Count the messages that workers hold."""
    return sum(int(redis.hlen(key)) for key in redis.scan_iter("mlq:claims:*"))


@pytest.fixture
def fleet(user: User, ran: Callable[[], list[str]], broker: str, start: Start) -> Running:
    """Start a worker that keeps no results."""
    assert broker
    assert ran() == []
    user.environment["MLQ_RESULT_BACKEND"] = "none"
    return start("--cpus", "1", MLQ_WORKER_IMPORTS="own_tasks")


@pytest.mark.usefixtures("fleet")
def test_messages_run_and_end_and_leave_no_result(
    user: User, client: Celery, ran: Callable[[], list[str]], broker_redis: Redis
) -> None:
    """The messages are rows for the model, a failing row, and a task of the user. Their callbacks run, too."""
    client.send_task("mlq.predict", [1], link=client.signature("own.note", ["after a row"]))
    client.send_task("mlq.batch_predict", [[2, 3]], link=client.signature("own.note", ["after rows"]))
    client.send_task("own.add", [1, 2], link=client.signature("own.note", ["after a task"]))
    failed = client.send_task("mlq.predict", [{"fail": "broken"}], link_error=client.signature("own.sorry"))
    retried = client.send_task("own.twice", [0])
    user.until(lambda: len(ran()) == 6, "all of it ran")
    followed = {line.rpartition(" after ")[2]: line[:11] for line in ran() if " after " in line}
    assert followed == {"a row": "{'row': 1, ", "rows": "[{'row': 2,", "a task": "3 after a t"}
    assert {f"sorry {failed.id}", "twice 0", "twice 1"} <= set(ran())
    user.until(lambda: claimed(broker_redis) == 0, "every message has ended")
    assert list(broker_redis.scan_iter("*celery-task-meta-*")) == []
    assert (retried.state, user.json("dead")["entries"]) == ("PENDING", [])
    assert sum(broker_redis.llen(queue) for queue in ("realtime", "default", "batch", "celery")) == 0


@pytest.mark.usefixtures("fleet")
def test_a_client_that_waits_for_a_result_is_refused_before_it_sends(user: User, broker_redis: Redis) -> None:
    """Otherwise the rows would be computed, and the results could not be read."""
    rows = user.write("rows.json", [1, 2, 3])
    for arguments in (("--wait",), ("--wait", "-o", "out.jsonl")):
        refused = user.run("submit", str(rows), *arguments)
        assert refused.returncode == 3
        assert 'result_backend is "none" (from MLQ_RESULT_BACKEND)' in refused.stderr
        assert "submit without --wait" in refused.stderr
    assert not (user.directory / "model.log").exists()
    accepted = user.run("submit", str(rows))
    assert accepted.returncode == 0, accepted.stderr
    log = user.directory / "model.log"
    user.until(lambda: log.exists() and len(log.read_text().splitlines()) == 3, "the rows run")
    user.until(lambda: claimed(broker_redis) == 0, "their messages have ended")
