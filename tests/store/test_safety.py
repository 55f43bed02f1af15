"""A server that would lose messages is refused, or causes a warning, before workers rely on it."""

from __future__ import annotations

import pytest
from redis import Redis

from mlq.broker import safety, schema
from mlq.broker.connection import Address
from mlq.broker.embedded import Server
from mlq.broker.errors import EvictingBroker, OtherSchema
from mlq.protocol import keys


def test_a_server_that_evicts_keys_is_refused_with_the_command_that_fixes_it(server: Server, redis: Redis) -> None:
    """It would drop whole queues without an error."""
    address = Address(server.url, "MLQ_BROKER_URL")
    assert safety.check(redis, address) == []
    redis.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(EvictingBroker, match="allkeys-lru") as caught:
        safety.check(redis, address)
    assert "maxmemory-policy noeviction" in caught.value.hint
    redis.config_set("maxmemory-policy", "volatile-lru")
    assert safety.check(redis, address) == [], "mlq's keys and queues have no time to live"


@pytest.mark.parametrize(
    ("url", "aof", "words"),
    [
        ("redis://127.0.0.1/0", 1, []),
        ("redis+socket:///x.sock", 1, []),
        ("redis://127.0.0.1/0", 0, ["append-only"]),
        ("redis://queue.example/0", 1, ["TLS"]),
        ("rediss://queue.example/0", 1, []),
    ],
)
def test_a_server_with_a_weakness_is_used_with_a_warning(url: str, aof: int, words: list[str]) -> None:
    """The weaknesses are a broker without persistence, and a connection without encryption."""
    warnings = safety.warnings(url, {"aof_enabled": aof})
    assert len(warnings) == len(words)
    assert all(word in text for word, text in zip(words, warnings, strict=True))


def test_keys_of_another_version_are_left_alone(server: Server, redis: Redis) -> None:
    """The first version decides; of two versions that start at the same time the second is refused."""
    address = Address(server.url, "MLQ_BROKER_URL")
    schema.enter(redis, address)
    schema.enter(redis, address)
    redis.set(keys.SCHEMA, "2")
    with pytest.raises(OtherSchema, match="version 2, but this mlq uses version 1"):
        schema.enter(redis, address)
    assert redis.get(keys.SCHEMA) == b"2"
    redis.delete(keys.SCHEMA)
    redis.set("filler", b"x" * 10_000_000)
    redis.config_set("maxmemory", 1_000_000)
    schema.enter(redis, address)
