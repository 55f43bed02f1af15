"""The answers of a job come only from its own chunks, even if other messages claim to belong to it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from mlq.protocol import keys, names
from mlq.protocol.job_result import MOST_CHUNKS, JobChunkRef
from mlq.store.jobs import record
from mlq.store.jobs.job_tokens import JobTokens, take_over
from mlq.store.jobs.record import Job
from tests.conftest import User

pytestmark = [pytest.mark.server, pytest.mark.timeout(180)]

GET_S = 60
ROWS = 6


@pytest.fixture
def redis(broker: str) -> Iterator[Redis]:
    """Return a client of the broker."""
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://"), socket_timeout=10) as client:
        yield client


def forge_message(place: Any, body: Any, **headers: Any) -> tuple[str, bytes]:
    """Return a message that claims to belong to a job; its rows say so in their answers."""
    name = str(uuid.uuid4())
    head = {"lang": "py", "task": names.BATCH_PREDICT, "id": name, "root_id": name, "parent_id": None, "retries": 0}
    properties = {
        "correlation_id": name,
        "delivery_info": {"exchange": "", "routing_key": "realtime"},
        "delivery_tag": name,
        "body_encoding": None,
    }
    envelope = {
        "headers": {**head, names.JOB_HEADER: place, **headers},
        "body": json.dumps(body),
        "properties": properties,
    }
    return name, json.dumps({**envelope, "content-type": "application/json", "content-encoding": "utf-8"}).encode()


@pytest.mark.parametrize("how", [("--cpus", "1"), ("--pool", "prefork", "--concurrency", "1")])
def test_another_clients_message_records_nothing_in_a_job(
    user: User, client: Celery, redis: Redis, start: Any, how: tuple[str, ...]
) -> None:
    """Answers, failures and chunks that were never sent: such a message only gets its own result."""
    rows = user.write("rows.jsonl", "".join(f"{n}\n" for n in range(ROWS)))
    job = user.json("submit", str(rows), "--chunk", "2")["job"]
    follows = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    places: list[Any] = [[job, n, 2] for n in (0, 1, 2, 3, MOST_CHUNKS - 1)]
    answered = []
    for place in places:
        name, raw = forge_message(place, [[["forged", "forged"]], {}, follows], mlq_job_token="0" * 32)
        answered.append(name)
        redis.rpush("realtime", raw)
        redis.rpush("realtime", forge_message(place, "malformed")[1])
    start(*how)
    for name in answered:
        assert [a["row"] for a in client.AsyncResult(name).get(timeout=GET_S)] == ["forged", "forged"]
    done = user.run("result", job, "--wait")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["result"]["row"] for line in done.stdout.splitlines()] == list(range(ROWS))
    assert redis.strlen(f"{keys.ends(job)}:done") <= 1


def test_purging_another_clients_message_fails_no_row(user: User, redis: Redis) -> None:
    """A purge fails the rows only of messages that belong to the job."""
    assert redis.ping()
    job = user.json("submit", str(user.write("rows.json", [1, 2, 3])), "--chunk", "1")["job"]
    redis.rpush("realtime", forge_message([job, 1, 1], [])[1])
    assert user.run("queues", "purge", "realtime", "--yes").returncode == 0
    assert user.json("job", "show", job)["failed"] == 0
    assert user.run("queues", "purge", "batch", "--yes").returncode == 0
    assert user.json("job", "show", job)["failed"] == 3


def test_a_job_may_be_sent_in_turns_with_a_version_without_tokens(redis: Redis) -> None:
    """Messages of that version have no token. They are known by their chunk's number, and none of them is refused."""
    job, tokens = Job("job", "batch", "rows", "f", 100), JobTokens(lambda: redis)  # Celery closes the client

    def vouched(chunk: int, token: str | None = None) -> bool:
        return tokens.belongs_to_job(JobChunkRef("job", chunk, 1, token))

    def old_version_sends(sender: str, next_chunk: int) -> None:
        redis.hset(keys.job("job"), mapping={"sender": sender, "alive": sender, "next": next_chunk})

    assert not vouched(0)
    assert record.create(redis, job)
    assert not vouched(0)
    old_version_sends("old", 3)
    assert vouched(2)
    assert not vouched(3)
    token = take_over(redis, "job", "new")
    redis.hset(keys.job("job"), "next", 5)
    assert vouched(2)
    assert vouched(4, token)
    assert not vouched(4)
    assert not vouched(4, "0" * 32)
    old_version_sends("old again", 7)
    assert vouched(6)
    assert vouched(4, token)
    assert take_over(redis, "job", "new again") == token
    redis.hset(keys.job("job"), "next", 9)
    assert vouched(6)
    assert vouched(8, token)
    assert not vouched(8)
    assert take_over(redis, "job", "a third") == token
    assert not vouched(8)
