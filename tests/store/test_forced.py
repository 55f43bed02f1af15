"""A server whose memory is full still accepts the commands that end work or make room."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import OutOfMemoryError

from mlq.broker import script
from mlq.engine.celery.patient_client import PatientRedis
from mlq.protocol import keys
from mlq.store.jobs import record
from mlq.store.messages import revocations

if TYPE_CHECKING:
    from redis import Redis


@pytest.fixture
def full_server(redis: Redis) -> Iterator[Redis]:
    """Return a client of a server whose memory is full."""
    redis.set("filler", b"x" * 4 * 2**20)
    redis.config_set("maxmemory", 2**20)
    with pytest.raises(OutOfMemoryError):
        redis.set("more", "x")
    yield redis
    redis.config_set("maxmemory", 0)


@pytest.fixture
def patient(full_server: Redis) -> PatientRedis:
    """Return the client that result backends have in a worker."""
    return PatientRedis(connection_pool=full_server.connection_pool)


OPERATIONS: dict[str, tuple[Callable[[Redis], object], str]] = {
    "cancel a job": (lambda redis: record.cancel(redis, "j"), keys.CANCELLED),
    "count a pipe's rows": (lambda redis: record.complete(redis, "j", 3), keys.job("j")),
    "revoke": (lambda redis: revocations.add(redis, [f"t{i}" for i in range(3000)]), keys.REVOKED),
    "pause a queue": (lambda redis: script.run_commands(redis, ["SADD", keys.PAUSED, "q"]), keys.PAUSED),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operators_commands_work_while_memory_is_full(name: str, full_server: Redis) -> None:
    """Operators need them at exactly that time."""
    operate, key = OPERATIONS[name]
    operate(full_server)
    assert full_server.exists(key)


def test_single_commands_and_transactions_return_what_redis_py_returns(patient: PatientRedis) -> None:
    """Celery reads the replies: text, numbers, true or false, None."""
    assert patient.set("k", "v", ex=60) is True
    pipe: Any
    with patient.pipeline() as pipe:
        pipe.zadd("z", {"one": 1}).zcount("z", "-inf", "+inf").get("none").expire("z", 60).zrange("z", 0, -1)
        assert pipe.execute() == [1, 1, None, True, [b"one"]]
        assert pipe.execute() == []
    assert patient.get("k") == b"v"


def test_an_error_of_the_command_itself_is_raised_at_once(patient: PatientRedis) -> None:
    """Waiting does not correct it."""
    patient.set("k", "v")
    with pytest.raises(Exception, match="WRONGTYPE"):
        patient.sadd("k", "x")


def test_a_command_that_would_count_twice_is_not_repeated(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost reply does not say whether the command was run."""
    calls: list[Any] = []

    def lost(*args: Any, **_: Any) -> None:
        calls.append(args)
        raise ConnectionError

    patient = PatientRedis(connection_pool=redis.connection_pool)
    monkeypatch.setattr("redis.Redis.execute_command", lost)
    with pytest.raises(ConnectionError):
        patient.incr("parts")
    assert len(calls) == 1
