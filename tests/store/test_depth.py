"""Depth is exact: 0 for an empty queue, null for a value that is not known, and running messages are counted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

import pytest
from celery import Celery
from kombu import Connection
from redis import Redis

from mlq.broker.embedded import Server
from mlq.errors import NoSuchQueue
from mlq.settings import config
from mlq.store.claims.claims import Claimed, ClaimLimit, Claims
from mlq.store.claims.leases import Leases
from mlq.store.messages.delays import Delays
from mlq.store.queues import depth, overview
from mlq.store.workers import heartbeats
from tests.heartbeats import heartbeat

WORKER = heartbeat()


@pytest.fixture
def app(server: Server) -> Iterator[Celery]:
    """Return a stock producer."""
    app = Celery("stranger", broker=server.url, set_as_current=False)
    yield app
    app.close()


@pytest.fixture
def connection(server: Server) -> Iterator[Connection]:
    """Return kombu's connection to the server."""
    with Connection(server.url) as connection:
        yield connection


def test_an_empty_queue_has_nothing_ready(connection: Connection) -> None:
    """Redis deletes empty lists, and kombu then raises NOT_FOUND."""
    (found,) = depth.read(connection, ["realtime"])
    assert (found.ready, found.in_flight, found.delayed, found.oldest_age_s) == (0, 0, 0, None)


def test_every_priority_is_counted(app: Celery, connection: Connection) -> None:
    """Stock kombu keeps one list for every three priorities."""
    for priority in (0, 3, 9, 9):
        app.send_task("any", queue="realtime", priority=priority)
    (found,) = depth.read(connection, ["realtime"])
    assert found.ready == 4
    assert found.by_priority == {"0": 1, "3": 1, "9": 2}


def test_a_message_that_a_stock_worker_holds_is_in_flight(app: Celery, connection: Connection) -> None:
    """It is neither ready nor gone."""
    app.send_task("any", ['a "quoted" payload'], queue="batch")
    taken = connection.SimpleQueue("batch").get(timeout=10)
    (found,) = depth.read(connection, ["batch"])
    assert (found.ready, found.in_flight) == (0, 1)
    taken.ack()
    (found,) = depth.read(connection, ["batch"])
    assert found.in_flight == 0


def test_messages_that_our_workers_hold_are_in_flight_on_the_queue_they_came_from(
    app: Celery, connection: Connection, redis: Redis
) -> None:
    """celery#6500: messages that a worker has prefetched are in no list.

    A scaler that counts only lists stops too many workers.
    """
    for queue in ("realtime", "batch", "batch"):
        app.send_task("mlq.predict", [[1.0]], queue=queue)
    Leases(redis, lease_ms=60_000).register("h:cpu0:1")
    Claims(redis, "h:cpu0:1", ("realtime", "batch"), together=["mlq.predict"]).claim(ClaimLimit(rows=64))
    found = depth.read(connection, ["realtime", "batch"])
    assert [(d.name, d.ready, d.in_flight) for d in found] == [("realtime", 0, 1), ("batch", 0, 2)]


def test_a_message_that_waits_for_its_time_is_delayed_and_not_ready(
    app: Celery, connection: Connection, redis: Redis
) -> None:
    """A retry that is due in an hour is in no queue list, and must still be counted."""
    app.send_task("mlq.predict", [1], queue="batch", priority=9)
    Leases(redis, lease_ms=60_000).register("h:cpu0:1")
    got = Claims(redis, "h:cpu0:1", ("batch",), together=()).claim(ClaimLimit(rows=1))
    assert isinstance(got, Claimed)
    Delays(redis).delay("h:cpu0:1", got.claims[0], until_ms=4_000_000_000_000)
    (found,) = depth.read(connection, ["batch"])
    assert (found.ready, found.in_flight, found.delayed) == (0, 0, 1)


def test_age_is_read_from_the_stamp_of_our_own_messages(connection: Connection, redis: Redis) -> None:
    """Messages of other clients have no stamp, and garbage is no message at all. Their age is unknown, not 0."""
    redis.lpush("realtime", "garbage")
    assert depth.read(connection, ["realtime"])[0].oldest_age_s is None
    redis.lpush("batch", '{"headers": {"mlq_sent_at": 100.0}}', '{"headers": {"mlq_sent_at": 105.0}}')
    assert depth.read(connection, ["batch"], now=107.5)[0].oldest_age_s == 7.5


def test_a_delayed_message_does_not_age_before_its_time(app: Celery, connection: Connection) -> None:
    """sidekiq-throttled#189: a retry that is due in an hour would look like an hour's delay to an autoscaler."""
    later = datetime.fromtimestamp(3700, timezone.utc)
    app.send_task("mlq.predict", [1], queue="realtime", headers={"mlq_sent_at": 100.0}, eta=later)
    assert depth.read(connection, ["realtime"], now=3705.0)[0].oldest_age_s == 5.0


def test_a_queue_that_is_not_configured_exists_only_if_it_holds_messages(server: Server, app: Celery) -> None:
    """A misspelled name is an error, not an empty queue; a queue of another application is shown."""
    settings = config.load({"MLQ_BROKER_URL": server.url})
    with overview.queues(settings, ["realtmie"]) as read, pytest.raises(NoSuchQueue, match="realtmie"):
        read()
    app.send_task("any", queue="theirs")
    with overview.queues(settings, ["theirs"]) as read:
        assert read()[0][0].ready == 1


def test_the_default_queue_of_celery_clients_is_shown_while_it_holds_messages(server: Server, app: Celery) -> None:
    """A client that names no queue publishes to `celery`."""
    settings = config.load({"MLQ_BROKER_URL": server.url})
    with overview.queues(settings, []) as read:
        assert [d.name for d in read()[0]] == ["realtime", "default", "batch"]
        app.send_task("mlq.predict", [1])
        assert [d.name for d in read()[0]] == ["realtime", "default", "batch", "celery"]


def test_a_silent_worker_is_lost_and_then_forgotten(redis: Redis) -> None:
    """The server's clock decides, not the clock of any host."""
    heartbeats.beat(redis, [WORKER])
    assert [w.state for w in heartbeats.read(redis)] == ["idle"]
    assert heartbeats.serving(heartbeats.read(redis), "realtime")
    redis.expire("mlq:heartbeat:h:cpu0:1", heartbeats.REMEMBERED_S - heartbeats.SILENT_S - 1)
    assert [w.state for w in heartbeats.read(redis)] == ["lost"]
    assert not heartbeats.serving(heartbeats.read(redis), "realtime")
    redis.delete("mlq:heartbeat:h:cpu0:1")
    assert heartbeats.read(redis) == []
    assert redis.smembers("mlq:workers") == set()
