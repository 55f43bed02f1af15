"""The storage for messages of clients is bounded, and each bound is reported when it takes effect."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from mlq.protocol import keys
from mlq.protocol.message import Claim
from mlq.store.claims.claims import Claimed, ClaimLimit, Claims
from mlq.store.claims.leases import Leases
from mlq.store.messages.dead_letters import DeadLettered, DeadLetters
from mlq.store.messages.delays import Delayed, Delays, Full
from tests.conftest import User

pytestmark = [pytest.mark.server, pytest.mark.timeout(180)]

GET_S = 60
GIB, MIB = 2**30, 2**20
WID = "host:cpu0:1"


@pytest.fixture
def broker_redis(broker: str) -> Iterator[Redis]:
    """Return a client of the embedded broker."""
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://"), socket_timeout=30) as client:
        yield client


def claimed(redis: Redis, *messages: bytes) -> list[Claim]:
    """Claim messages, the first one first."""
    claims = Claims(redis, WID, ["q"], together=["t"])
    Leases(redis, 60_000).register(WID)
    found: list[Claim] = []
    for message in messages:
        redis.rpush("q", message)
        taken = claims.claim(ClaimLimit(rows=1, bytes=GIB), holding=[c.id for c in found])
        assert isinstance(taken, Claimed)
        found += taken.claims
    return found


def test_a_truncated_dead_letter_says_so_and_cannot_be_requeued(user: User, broker_redis: Redis, start: Any) -> None:
    """An operator sees its original size, and no command offers an action that cannot work."""
    start("--cpus", "1")
    broker_redis.lpush("realtime", b"x" * 100_000)
    user.until(lambda: broker_redis.zcard(keys.DEAD) == 1, "it is a dead letter")
    broker_redis.set(keys.DEAD_BYTES, GIB)
    broker_redis.lpush("realtime", b"y" * 100_000)
    user.until(lambda: broker_redis.zcard(keys.DEAD) == 2, "it is another")
    whole, cut = user.json("dead")["entries"]
    assert (whole["bytes"], cut["bytes"]) == (100_000, 100_000)
    assert len(broker_redis.hget(keys.dead_letter(cut["id"]), "raw") or b"") == 8192
    refused = user.run("dead", "retry", cut["id"])
    assert (refused.returncode, "only the beginning and the end are kept" in refused.stderr) == (1, True)
    assert user.run("dead", "drop", cut["id"], "--yes").returncode == 0


def test_dead_letters_are_kept_whole_up_to_a_gibibyte_in_total(redis: Redis) -> None:
    """Beyond that only a message's beginning and end are kept; dropping or requeuing letters makes room."""
    one, other, third = claimed(redis, b"x" * MIB, b"y" * MIB, b"z" * MIB)
    letters = DeadLetters(redis)
    assert letters.dead_letter(WID, one, {}) == DeadLettered(one.id)
    assert int(redis.get(keys.DEAD_BYTES) or 0) == MIB
    redis.set(keys.DEAD_BYTES, GIB - MIB // 2)
    assert letters.dead_letter(WID, other, {}) == DeadLettered(other.id)
    cut, whole = letters.read(other.id), letters.read(one.id)
    assert cut is not None
    assert (cut.is_whole, cut.size, cut.raw) == (False, MIB, b"y" * 8192)
    assert whole is not None
    assert whole.is_whole
    assert not isinstance(letters.requeue(other.id, None), DeadLettered)
    assert letters.read(other.id) is not None
    assert letters.drop(one.id)
    assert letters.dead_letter(WID, third, {}) == DeadLettered(third.id)
    last = letters.read(third.id)
    assert last is not None
    assert last.is_whole


def test_the_oldest_dead_letters_are_deleted_when_there_are_too_many(redis: Redis) -> None:
    """A client with endless invalid messages cannot fill the server.

    The worker that adds a letter learns how many were deleted.
    """
    (claim,) = claimed(redis, b"x")
    redis.zadd(keys.DEAD, {f"old-{n}": n for n in range(100_001)})
    assert DeadLetters(redis).dead_letter(WID, claim, {}) == DeadLettered(claim.id, 2)
    assert redis.zcard(keys.DEAD) == 100_000
    assert redis.zscore(keys.DEAD, "old-1") is None
    assert redis.zscore(keys.DEAD, "old-2") is not None


def test_the_delay_list_is_bounded(redis: Redis) -> None:
    """By number and by bytes.

    A message that does not fit stays with the worker, which dead-letters it. Due messages make room.
    """
    one, other, third = claimed(redis, b"x" * 1000, b"y" * 1000, b"z" * 1000)
    assert Delays(redis).delay(WID, one, 1) == Delayed()
    assert Delays(redis, most=1).delay(WID, other, 1) == Full()
    assert Delays(redis, most_bytes=1500).delay(WID, other, 1) == Full()
    assert Delays(redis).move_due().moved == 1
    assert Delays(redis, most=1, most_bytes=1500).delay(WID, third, 1) == Delayed()


def test_a_message_for_a_time_too_far_ahead_is_refused_with_an_error(client: Celery, start: Any) -> None:
    """A year may be a plan; a century only keeps data on the server."""
    start("--cpus", "1")
    now = datetime.now(timezone.utc)
    far = client.send_task("mlq.predict", [1], eta=now + timedelta(days=36500), queue="realtime")
    with pytest.raises(Exception, match="not-delayed: it may run in 36,500 days at the earliest, the limit is 400"):
        far.get(timeout=GET_S)
    soon = client.send_task("mlq.predict", [2], countdown=0.5, queue="realtime")
    assert soon.get(timeout=GET_S)["row"] == 2
