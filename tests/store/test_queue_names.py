"""Queue names are noted by the processes that use a queue, and found among a broker's keys without taking messages."""

from __future__ import annotations

import json

import pytest
from celery import Celery
from redis import Redis

from mlq.broker.embedded import Server
from mlq.protocol import keys
from mlq.protocol.keys import queue_key
from mlq.settings import config
from mlq.store.queues import queue_names
from mlq.store.workers import heartbeats
from tests.heartbeats import heartbeat

MESSAGE = json.dumps({"body": "", "headers": {"task": "their.task", "id": "1"}, "properties": {}})
WORKER = heartbeat(queues=("served",))


def test_a_name_is_kept_for_thirty_days_after_its_last_use(redis: Redis) -> None:
    """The server's clock decides; the next use of any queue removes expired names."""
    queue_names.note(redis, ["old", "used"])
    redis.zincrby(keys.QUEUES, -queue_names.KEPT_MS - 1, "old")
    queue_names.note(redis, ["used"])
    assert queue_names.noted(redis) == ["used"]
    queue_names.forget(redis, "used")
    assert queue_names.noted(redis) == []


def test_the_number_of_names_is_bounded(redis: Redis) -> None:
    """A client that makes up names pushes out the least recently used names, and cannot fill the memory."""
    redis.zadd(keys.QUEUES, {f"q{n}": 4e15 - n for n in range(queue_names.MOST)})
    queue_names.note(redis, ["newest"])
    assert redis.zcard(keys.QUEUES) == queue_names.MOST
    assert redis.zscore(keys.QUEUES, "q0") is not None


def test_names_are_noted_while_memory_is_full(redis: Redis) -> None:
    """They are noted together with heartbeats, which must not fail then."""
    redis.set("filler", b"x" * 10_000_000)
    redis.config_set("maxmemory", 1_000_000)
    queue_names.note(redis, ["realtime"])
    assert queue_names.noted(redis) == ["realtime"]


def test_known_queues_come_from_the_configuration_live_workers_and_earlier_uses(redis: Redis) -> None:
    """A worker of an earlier version notes no names, but its heartbeat names its queues."""
    heartbeats.beat(redis, [WORKER])
    queue_names.note(redis, ["noted", "served"])
    settings = config.load({"MLQ_QUEUES": "b,a", "MLQ_WORKER_QUEUES": "c", "MLQ_QUEUE": '{"d": {}}'})
    assert queue_names.known(settings, redis) == ["b", "a", "c", "d", "celery", "served", "noted"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("realtim", "did you mean 'realtime'?"),
        ("Batch", "did you mean 'batch'?"),
        ("bacth", "did you mean 'batch'?"),
        ("xyz", "known queues are realtime, batch;"),
    ],
)
def test_the_hint_suggests_the_nearest_name(name: str, hint: str) -> None:
    """If no name is near, the hint lists all names."""
    assert queue_names.hint(name, ["realtime", "batch"]) == hint


def test_queues_are_found_among_the_keys_of_a_broker(server: Server, redis: Redis) -> None:
    """Queues are found at every priority.

    Lists without task messages are no queues, and neither are the lists of mlq and kombu themselves.
    """
    app = Celery("stranger", broker=server.url, set_as_current=False)
    app.send_task("their.task", queue="theirs")
    app.send_task("their.task", queue="urgent only", priority=9)
    app.close()
    redis.rpush("lines", MESSAGE, "not a message")
    redis.rpush("numbers", 1)
    redis.rpush("mlq:made-up", MESSAGE)
    redis.rpush("node.celery.pidbox", MESSAGE)
    redis.rpush(b"\xff\xfe", MESSAGE)
    redis.hset("a hash", "a", MESSAGE)
    assert queue_names.scan(redis) == queue_names.Scan(["theirs", "urgent only"], complete=True)


def test_a_scan_of_too_many_keys_says_that_it_is_not_complete(redis: Redis) -> None:
    """A command must not wait for a server with ten million results."""
    with redis.pipeline() as pipe:
        for n in range(5000):
            pipe.set(f"celery-task-meta-{n}", "x")
        pipe.execute()
    assert not queue_names.scan(redis, seconds=0.0).complete


def test_heads_are_the_oldest_messages_and_stay_in_their_queues(redis: Redis) -> None:
    """Messages that are too large are left out, and a key that is not a list has no head."""
    large = "x" * (256 * 1024 + 1)
    redis.lpush("batch", "1", large, "2", "3")
    redis.lpush(queue_key("batch", 9), "9")
    redis.set("realtime", "no list")
    lists = ["batch", queue_key("batch", 9), "realtime", "missing"]
    assert queue_names.heads(redis, lists, 3) == [[b"1", b"2"], [b"9"], [], []]
    assert redis.llen("batch") == 4
