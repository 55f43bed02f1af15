"""The version of the keys on a server: which versions of mlq may use them, and how they are migrated and back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Final

import pytest
from redis import Redis

from mlq.broker import schema
from mlq.broker.connection import Address
from mlq.broker.embedded import Server
from mlq.broker.errors import MigrationTaken, OtherSchema, WorkersRun
from mlq.broker.schema import Migration
from mlq.errors import UsageError
from mlq.protocol import keys

SAMPLES: Final[list[Callable[[Redis], None]]] = []
"""For each of schema.MIGRATIONS, a function that writes keys of the older version, as workers would."""


def split(redis: Redis) -> None:
    """Migrate one made-up key to the two keys of the next version."""
    value = redis.get("mlq:made-up")
    if isinstance(value, bytes):
        left, right = value.split(b",")
        redis.mset({"mlq:made-up:left": left, "mlq:made-up:right": right})
        redis.delete("mlq:made-up")


def join(redis: Redis) -> None:
    """Migrate the two keys back."""
    left, right = redis.get("mlq:made-up:left"), redis.get("mlq:made-up:right")
    if isinstance(left, bytes) and isinstance(right, bytes):
        redis.set("mlq:made-up", left + b"," + right)
        redis.delete("mlq:made-up:left", "mlq:made-up:right")


def stay(_: Redis) -> None:
    """Change nothing."""


MADE_UP: Final = (Migration("one key becomes two", split, join), Migration("nothing changes", stay, stay))


@pytest.fixture
def address(server: Server) -> Address:
    """Return the test's server as an operator names it."""
    return Address(server.url, "MLQ_BROKER_URL")


def read_all(redis: Redis) -> dict[bytes, Any]:
    """Read every key of a server, of any type."""
    return {key: redis.dump(key) for key in redis.scan_iter() if key != keys.SCHEMA.encode()}


def migrate_made_up(redis: Redis, address: Address, to: int, workers: Callable[[], list[str]] = list) -> list[str]:
    """Migrate with made-up migrations."""
    return list(schema.migrate(redis, address, to, workers, MADE_UP))


def test_every_migration_can_be_undone(redis: Redis, address: Address) -> None:
    """A change of keys or messages adds a migration, and a sample of the keys that it changes."""
    assert len(schema.MIGRATIONS) == len(SAMPLES) == keys.SCHEMA_VERSION - 1
    for number, sample in enumerate(SAMPLES, 1):
        redis.flushdb()
        redis.set(keys.SCHEMA, number)
        sample(redis)
        before = read_all(redis)
        list(schema.migrate(redis, address, number + 1, list))
        assert read_all(redis) != before
        list(schema.migrate(redis, address, number, list))
        assert read_all(redis) == before


def test_the_recorded_version_is_the_one_that_base_accepts(redis: Redis, address: Address) -> None:
    """BASE compares bytes. Its supervisors and these run beside each other as long as the keys are compatible."""
    schema.enter(redis, address)
    schema.enter(redis, address)
    assert redis.get(keys.SCHEMA) == b"1"


def test_keys_are_migrated_over_several_versions_and_back(redis: Redis, address: Address) -> None:
    """Each migration is reported; the current version needs none."""
    redis.mset({keys.SCHEMA: "1", "mlq:made-up": "a,b"})
    before = read_all(redis)
    assert migrate_made_up(redis, address, 3) == ["version 2: one key becomes two", "version 3: nothing changes"]
    assert (redis.get(keys.SCHEMA), redis.get("mlq:made-up:left")) == (b"3", b"a")
    assert migrate_made_up(redis, address, 3) == []
    assert len(migrate_made_up(redis, address, 1)) == 2
    assert read_all(redis) == before
    assert redis.get(keys.SCHEMA) == b"1"


@pytest.mark.parametrize("to", [1, 2])
def test_an_interrupted_migration_is_completed_or_undone(redis: Redis, address: Address, to: int) -> None:
    """In the meantime no mlq uses the keys: even one without migrations refuses the recorded version."""
    redis.mset({keys.SCHEMA: "1", "mlq:made-up": "a,b"})

    def fail(_: Redis) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        list(schema.migrate(redis, address, 2, list, [Migration("it fails", fail, fail)]))
    assert redis.get(keys.SCHEMA) == b"1>2"
    with pytest.raises(OtherSchema, match=r"1>2 \(a migration that has not ended\)") as raised:
        schema.demand(redis, address)
    assert "`python -m mlq.migrate` again" in raised.value.hint
    migrate_made_up(redis, address, to)
    assert redis.get(keys.SCHEMA) == str(to).encode()
    assert (redis.get("mlq:made-up") is None) == (to == 2)


def test_keys_are_not_migrated_while_a_worker_lives(redis: Redis, address: Address) -> None:
    """The worker would write to the keys that change. The version stays as it was."""
    redis.mset({keys.SCHEMA: "1", "mlq:made-up": "a,b"})
    with pytest.raises(WorkersRun, match="h:cpu0:1"):
        migrate_made_up(redis, address, 2, lambda: ["h:cpu0:1"])
    assert (redis.get(keys.SCHEMA), redis.get("mlq:made-up")) == (b"1", b"a,b")


def test_of_two_migrations_at_the_same_time_one_is_refused(redis: Redis, address: Address) -> None:
    """The recorded version is compared and replaced in one step."""
    redis.set(keys.SCHEMA, "1")

    def change_version(_: Redis) -> None:
        redis.set(keys.SCHEMA, "2")

    with pytest.raises(MigrationTaken):
        list(schema.migrate(redis, address, 2, list, [Migration("", change_version, stay)]))


@pytest.mark.parametrize(
    ("recorded", "hint"), [("2", "led|lead"), ("17", "leads the keys back"), ("what", "MLQ_BROKER_URL")]
)
def test_keys_that_this_mlq_cannot_use_are_refused_with_a_hint(
    redis: Redis, address: Address, recorded: str, hint: str
) -> None:
    """No key is changed."""
    redis.set(keys.SCHEMA, recorded)
    for use in (schema.enter, schema.demand):
        with pytest.raises(OtherSchema, match=recorded) as raised:
            use(redis, address)
        assert any(word in raised.value.hint for word in hint.split("|"))
    with pytest.raises(OtherSchema):
        list(schema.migrate(redis, address, 1, list))
    with pytest.raises(UsageError, match="versions 1 to 1"):
        list(schema.migrate(redis, address, 2, list))
    assert redis.get(keys.SCHEMA) == recorded.encode()


@pytest.fixture
def run(server: Server, tmp_path: Any) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a module of mlq against the test's server."""

    def call(module: str, *argv: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "MLQ_BROKER_URL": server.url, "XDG_STATE_HOME": str(tmp_path)}
        command = [sys.executable, "-m", module, *argv]
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )

    return call


@pytest.mark.parametrize(
    "command",
    [
        ["queues"],
        ["worker"],
        ["dead"],
        ["job"],
        ["result", "some-task"],
        ["submit", "rows.json"],
        ["worker", "drain", "cpu0"],
        ["queues", "pause", "batch"],
        ["worker", "start", "--cpus", "1", "--model", "missing.py:Model"],
        ["autoscale", "--once"],
    ],
    ids=" ".join,
)
def test_every_command_refuses_keys_that_it_cannot_use(
    run: Callable[..., Any], redis: Redis, tmp_path: Any, command: list[str]
) -> None:
    """Clients do, too: workers of the other version could not read their messages."""
    (tmp_path / "rows.json").write_text("[1, 2]")
    redis.set(keys.SCHEMA, "2")
    done = run("mlq", *command)
    assert done.returncode == 3, done.stderr
    assert "have version 2, but this mlq uses version 1" in done.stderr
    assert set(redis.scan_iter()) == {keys.SCHEMA.encode()}


def test_the_operator_migrates_with_a_separate_module(run: Callable[..., Any], redis: Redis) -> None:
    """There is one version so far: the module says so, and refuses others."""
    redis.set(keys.SCHEMA, "1")
    done = run("mlq.migrate")
    assert (done.returncode, done.stderr) == (0, "")
    assert "are of version 1" in done.stdout
    refused = run("mlq.migrate", "--to", "2")
    assert refused.returncode == 2
    assert "knows versions 1 to 1 of the keys, not 2" in refused.stderr
    redis.set(keys.SCHEMA, "2")
    assert run("mlq.migrate").returncode == 3
