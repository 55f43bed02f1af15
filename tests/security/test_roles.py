"""Roles: each user that `mlq acl` prints can do the work of its role, and nothing of another role."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from redis import Redis
from redis.exceptions import RedisError

from chaos.stock_client import stock_client
from mlq.store.workers import heartbeats
from tests.conftest import Start, User
from tests.heartbeats import heartbeat
from tests.security import users

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # raised by Celery's client

BEAT = heartbeat(queues=("batch",), supervisor=1)
GROUP = "celery-taskset-meta-0f3b1d5e-0000-4000-8000-00000000000a"
CONTROL = "/0.celery.pidbox"
NEXT = "\x06\x16"

CLIENT_MAY = [
    ["LPUSH", "realtime", "m"],
    ["LPUSH", f"realtime{NEXT}9", "m"],
    ["LPUSH", "celery", "m"],
    ["LLEN", f"batch{NEXT}3"],
    ["SADD", "_kombu.binding.realtime", "m"],
    ["SADD", "_kombu.binding_permanent.realtime", "m"],
    ["SMEMBERS", "_kombu.binding.realtime"],
    ["GET", "celery-task-meta-1"],
    ["MGET", "celery-task-meta-1", "celery-task-meta-2"],
    ["SUBSCRIBE", "celery-task-meta-1"],
    ["UNSUBSCRIBE", "celery-task-meta-1"],
    ["SETEX", GROUP, "1", "m"],
    ["SETEX", f"{GROUP}.s", "1", "2"],
    ["DEL", f"{GROUP}.c"],
    ["GET", GROUP],
    ["PUBLISH", GROUP, "m"],
    ["SET", f"{GROUP}.s", "2"],
    ["MULTI"],
    ["EXEC"],
    ["WAIT", "1", "9"],
    ["PING"],
]

CLIENT_MAY_NOT = [
    # Waiting messages: the payloads of other clients.
    ["LRANGE", "realtime", "0", "-1"],
    ["LINDEX", "realtime", "0"],
    ["RPOP", "realtime"],
    ["BRPOP", "realtime", "1"],
    ["RPOPLPUSH", "realtime", "batch"],
    ["LMOVE", "realtime", "batch", "RIGHT", "LEFT"],
    ["LTRIM", "realtime", "1", "0"],
    ["DEL", "realtime"],
    ["EXPIRE", "realtime", "1"],
    ["DUMP", "realtime"],
    ["SORT", "realtime"],
    ["LPUSH", "elsewhere", "m"],
    ["LPUSH", f"realtime{NEXT}9x", "m"],
    # Results: a client may read those whose id it knows, and no others.
    ["SET", "celery-task-meta-1", "m"],
    ["SETEX", "celery-task-meta-1", "1", "m"],
    ["DEL", "celery-task-meta-1"],
    ["EXPIRE", "celery-task-meta-1", "1"],
    ["PUBLISH", "celery-task-meta-1", "m"],
    ["PSUBSCRIBE", "celery-task-meta-*"],
    ["SUBSCRIBE", "__keyspace@0__:celery-task-meta-1"],
    ["CLIENT", "TRACKING", "ON", "BCAST"],
    ["SCAN", "0"],
    ["KEYS", "*"],
    ["RANDOMKEY"],
    # Chords: the parts that workers have stored, and the right to publish the body.
    ["SETEX", f"{GROUP}.j", "1", "m"],
    ["SETEX", f"{GROUP}.c", "1", "m"],
    ["DEL", f"{GROUP}.j"],
    ["GET", f"{GROUP}.j"],
    ["ZADD", f"{GROUP}.j", "1", "m"],
    # Orders to workers, and the keys of their replies.
    ["PUBLISH", CONTROL, "m"],
    ["PUBLISH", "/0.celeryev/worker.offline", "m"],
    ["SUBSCRIBE", CONTROL],
    ["PSUBSCRIBE", "*"],
    ["SADD", "_kombu.binding.celery.pidbox", "m"],
    ["SADD", "_kombu.binding.reply.celery.pidbox", "m"],
    ["SREM", "_kombu.binding.realtime", "m"],
    # mlq's own keys, and those of stock workers.
    ["SADD", "mlq:paused", "realtime"],
    ["LPUSH", "mlq:paused", "m"],
    ["HSET", "mlq:orders", "w", "m"],
    ["HGETALL", "mlq:claims:w"],
    ["GET", "mlq:heartbeat:w"],
    ["HGETALL", "mlq:job:1"],
    ["ZADD", "mlq:cancelled", "1", "1"],
    ["ZADD", "mlq:revoked", "1", "1"],
    ["HGETALL", "unacked"],
    # The server.
    ["EVAL", "return 1", "0"],
    ["EVALSHA", "0" * 40, "0"],
    ["SCRIPT", "LOAD", "return 1"],
    ["FUNCTION", "LIST"],
    ["SELECT", "1"],
    ["CONFIG", "GET", "*"],
    ["INFO"],
    ["CLIENT", "LIST"],
    ["CLIENT", "KILL", "TYPE", "normal"],
    ["MONITOR"],
    ["FLUSHALL"],
    ["SHUTDOWN"],
    ["ACL", "WHOAMI"],
    ["DEBUG", "SLEEP", "1"],
]

SUBMITTER_MAY = [
    *CLIENT_MAY,
    ["HGETALL", "mlq:job:1"],
    ["XREAD", "STREAMS", "mlq:job:1:ends", "0"],
    ["XDEL", "mlq:job:1:ends", "0-1"],
    ["ZADD", "mlq:cancelled", "1", "1"],
    ["ZREVRANGE", "mlq:jobs", "0", "-1"],
    ["SMEMBERS", "mlq:paused"],
    ["GET", "mlq:heartbeat:w"],
    ["EVALSHA", "0" * 40, "3", "mlq:job:1", "mlq:job:1:chunks", "realtime"],
    ["INFO", "memory"],
    ["TIME"],
]

SUBMITTER_MAY_NOT = [
    *(words for words in CLIENT_MAY_NOT if words[0] != "INFO" and words not in SUBMITTER_MAY and words[0] != "EVAL"),
    ["EVALSHA", "0" * 40, "1", "mlq:orders"],
    ["EVAL", "return 1", "1", "mlq:paused"],
    ["EVAL", "return 1", "1", "celery-task-meta-1"],
    ["SREM", "mlq:paused", "realtime"],
    ["SREM", "mlq:workers", "w"],
    ["SET", "mlq:heartbeat:w", "m"],
    ["SET", "mlq:schema", "9"],
    ["DEL", "mlq:job:1"],
    ["XADD", "mlq:job:1:ends", "*", "f", "m"],
    ["ZADD", "mlq:leases", "1", "w"],
    ["HGETALL", "mlq:dead:1-1"],
    ["ZRANGE", "mlq:dead", "0", "-1"],
    ["ZRANGE", "mlq:delays", "0", "-1"],
    ["SET", "mlq:autoscale:want:realtime", "9"],
]
SUBMITTER_MAY_NOT = [words for words in SUBMITTER_MAY_NOT if words != ["EVALSHA", "0" * 40, "0"]]

WORKER_MAY = [
    ["EVAL", "return 1", "1", "mlq:leases"],
    ["LPUSH", "of-a-task", "m"],
    ["PUBLISH", CONTROL, "m"],
    ["PSUBSCRIBE", CONTROL],
    ["CLIENT", "TRACKING", "ON"],
    ["SCAN", "0"],
    ["SELECT", "1"],
    ["INFO"],
]

WORKER_MAY_NOT = [
    ["FLUSHALL"],
    ["FLUSHDB"],
    ["CONFIG", "SET", "dir", "/"],
    ["CONFIG", "GET", "*"],
    ["ACL", "SETUSER", "x"],
    ["SHUTDOWN"],
    ["DEBUG", "SLEEP", "1"],
    ["REPLICAOF", "10.0.0.1", "6379"],
    ["MODULE", "LOAD", "x.so"],
    ["MIGRATE", "10.0.0.1", "6379", "realtime", "0", "1"],
    ["CLIENT", "KILL", "TYPE", "normal"],
    ["MONITOR"],
    ["KEYS", "*"],
    ["SWAPDB", "0", "1"],
]

ALLOWED = {"client": CLIENT_MAY, "submitter": SUBMITTER_MAY, "worker": WORKER_MAY}
DENIED = {"client": CLIENT_MAY_NOT, "submitter": SUBMITTER_MAY_NOT, "worker": WORKER_MAY_NOT}

CONNECTION = {
    "auth",
    "client",
    "command",
    "echo",
    "exec",
    "hello",
    "multi",
    "ping",
    "quit",
    "reset",
    "unsubscribe",
    "wait",
    "waitaof",
}
NO_KEY = {
    "client": CONNECTION,
    # The server finds no keys in the invalid arguments of the last three; the tables above have them with keys.
    "submitter": {*CONNECTION, "info", "time", "eval", "evalsha", "xread"},
}
"""The commands that a role may run without a key or a channel; `command` and `client` have subcommands."""


@pytest.fixture
def port(redis: Redis) -> int:
    """Create the users of `mlq acl` on a server, and return its port."""
    info: Any = redis.info("server")
    if int(info["redis_version"].partition(".")[0]) < 7:
        pytest.skip("selectors, of which the roles are made, come with Redis 7")
    return users.make_all(redis)


@pytest.mark.usefixtures("port")
@pytest.mark.parametrize("role", users.ROLES)
def test_each_role_may_run_its_commands_and_none_of_another_role(redis: Redis, role: str) -> None:
    """The server decides about each command."""
    replies = {" ".join(words): users.dry_run(redis, role, *words) for words in ALLOWED[role]}
    assert {words: why for words, why in replies.items() if why != "OK"} == {}
    replies = {" ".join(words): users.dry_run(redis, role, *words) for words in DENIED[role]}
    assert [words for words, why in replies.items() if why == "OK"] == []


@pytest.mark.usefixtures("port")
@pytest.mark.parametrize("role", ["client", "submitter"])
def test_no_command_of_the_server_opens_another_key_to_a_role(redis: Redis, role: str) -> None:
    """A later version of the server has commands that are in no list of mlq."""
    table: Any = redis.execute_command("COMMAND")  # type: ignore[no-untyped-call]
    opened = set()
    for name, about in table.items():
        victims = ["mlq:orders"] * max(1, abs(about["arity"]) - 1)
        try:
            if users.dry_run(redis, role, name, *victims) == "OK":
                opened.add(name.lower())
        except RedisError:  # these arguments do not fit that command
            continue
    assert opened - NO_KEY[role] == set()


@pytest.fixture
def worker_with_role(user: User, start: Start, port: int) -> User:
    """Run a worker as the user of its role."""
    user.environment["MLQ_BROKER_URL"] = users.url("worker", port)
    start("--cpus", "1")
    return user


@pytest.fixture
def client(port: int) -> Iterator[Celery]:
    """Return a stock client with the rights of a client."""
    with stock_client(users.url("client", port)) as app:
        yield app


def test_a_stock_client_sends_and_collects_with_the_rights_of_a_client(
    worker_with_role: User, client: Celery, redis: Redis
) -> None:
    """Tasks, priorities, countdowns, groups, chains and chords; none of its commands is refused."""
    del worker_with_role
    redis.execute_command("ACL", "LOG", "RESET")  # type: ignore[no-untyped-call]

    def one(row: Any, **options: Any) -> Any:
        return client.signature("mlq.predict", args=[row], queue="realtime", immutable=True, **options)

    body = client.signature("mlq.batch_predict", queue="batch")
    assert client.send_task("mlq.predict", [1], queue="realtime", priority=9).get(timeout=60)["row"] == 1
    assert client.send_task("mlq.predict", [2]).get(timeout=60)["row"] == 2
    assert client.send_task("mlq.predict", [3], queue="batch", countdown=0.1).get(timeout=60)["row"] == 3
    both: Any = group([one(1), one(2)], app=client).apply_async()
    both.save()
    assert [answer["row"] for answer in both.get(timeout=60)] == [1, 2]
    assert chain(one(1), one(2), app=client).apply_async().get(timeout=60)["row"] == 2
    for header, rows in (([one(1), one(2)], 2), ([group([one(1), one(2)], app=client), one(3)], 3)):
        assert len(chord(header, body, app=client).apply_async().get(timeout=60)) == rows
    failing = client.send_task("mlq.predict", [{"fail": "no"}], queue="realtime")
    with pytest.raises(ValueError, match="no"):
        failing.get(timeout=60)
    assert failing.state == "FAILURE"
    assert redis.execute_command("ACL", "LOG") == []  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "order",
    [
        lambda app: app.control.revoke("1"),
        lambda app: app.control.shutdown(),
        lambda app: app.control.rate_limit("mlq.predict", "1/h"),
        lambda app: app.control.pool_shrink(1),
        lambda app: app.control.purge(),
        lambda app: app.AsyncResult("1").forget(),
        lambda app: app.backend.store_result("1", {}, "SUCCESS"),
        lambda app: app.send_task("mlq.predict", [1], queue="mlq:paused"),
        lambda app: app.send_task("mlq.predict", [1], queue="another-team"),
    ],
    ids=["revoke", "shutdown", "rate-limit", "pool", "purge", "forget", "forge", "reserved-key", "other-queue"],
)
def test_a_stock_client_can_neither_operate_nor_touch_results(client: Celery, redis: Redis, order: Any) -> None:
    """The control commands of Celery's client reach no worker, no result and no other key."""
    with pytest.raises(Exception, match=r"(?i)permission"):
        order(client)
    assert {key for key in redis.scan_iter() if not key.startswith(b"_kombu.binding")} == set()


def test_the_error_for_a_client_that_uses_mlq_names_the_role_it_needs(user: User, port: int) -> None:
    """The rights of a client are for Celery; two lines say how to get more."""
    user.environment["MLQ_BROKER_URL"] = users.url("client", port)
    rows = user.write("rows.json", [1])
    for argv in (["submit", str(rows)], ["queues"], ["worker"], ["job"], ["dead"]):
        done = user.run(*argv)
        assert (done.returncode, len(done.stderr.splitlines())) == (4, 2), done.stderr
        assert "mlq acl submitter --user client" in done.stderr


@pytest.fixture
def submitter_house(user: User, port: int) -> User:
    """Configure the rights of a submitter."""
    user.environment["MLQ_BROKER_URL"] = users.url("submitter", port)
    return user


def test_a_submitter_submits_and_collects(worker_with_role: User, port: int) -> None:
    """Files of rows and of tasks are sent, and the answers are collected at once or later."""
    user = worker_with_role
    user.environment["MLQ_BROKER_URL"] = users.url("submitter", port)
    rows = user.write("rows.json", [1, 2, 3])
    assert len(user.run("submit", str(rows), "--wait").stdout.splitlines()) == 3
    tasks = user.write("tasks.jsonl", '{"task": "mlq.predict", "args": [7], "queue": "realtime"}\n')
    assert '"row":7' in user.run("submit", str(tasks), "--tasks", "--wait").stdout
    job = user.json("submit", str(rows))["job"]
    assert len(user.run("result", job, "--wait", "--timeout", "60").stdout.splitlines()) == 3


def test_a_submitter_sees_jobs_queues_and_workers(submitter_house: User, redis: Redis) -> None:
    """It may not read messages of others, so the age of the oldest and the number of running ones are unknown."""
    heartbeats.beat(redis, [BEAT])
    redis.sadd("mlq:workers", "gone")  # a user with the right to write would delete it
    rows = submitter_house.write("rows.json", [1, 2, 3])
    job = submitter_house.json("submit", str(rows))["job"]
    (batch,) = submitter_house.json("queues", "batch")["queues"]
    assert batch == {**batch, "ready": 1, "in_flight": None, "oldest_age_s": None, "delayed": 0}
    assert [worker["name"] for worker in submitter_house.json("worker")["workers"]] == ["cpu0"]
    assert submitter_house.run("job", "cancel", job).returncode == 0
    assert submitter_house.json("job", "show", job)["state"] == "cancelled"
    unknown = submitter_house.run("result", "0f3b1d5e-0000-4000-8000-00000000000a")
    assert unknown.returncode == 5
    assert "may not read" in unknown.stderr


@pytest.mark.parametrize(
    "argv",
    [
        "worker stop --all",
        "worker drain cpu0",
        "worker restart cpu0",
        "queues pause batch",
        "queues resume batch",
        "queues purge batch --yes",
        "queues --all",
        "dead",
        "dead show 1-1",
        "dead retry 1-1",
        "dead drop 1-1",
        "dead export -o dead.jsonl",
        "autoscale --once --cpus 1 --model serve.py:Model",
        "worker start --cpus 1 --model serve.py:Model",
    ],
)
def test_a_submitter_cannot_give_orders(submitter_house: User, redis: Redis, argv: str) -> None:
    """Every such command names the missing right and the fix in two lines, and changes nothing."""
    heartbeats.beat(redis, [BEAT])
    redis.sadd("mlq:paused", "batch")
    redis.lpush("batch", "{}")
    done = submitter_house.run(*argv.split())
    lines = [line for line in done.stderr.splitlines() if not line.startswith("broker ")]
    assert (done.returncode, len(lines)) == (4, 2), done.stderr
    assert lines[0].startswith("mlq: the broker at redis://submitter:***@127.0.0.1"), lines
    assert "mlq acl worker --user submitter" in lines[1], lines
    assert redis.llen("batch") == 1
    assert redis.smembers("mlq:paused") == {b"batch"}
    assert redis.hlen("mlq:orders") == 0


@pytest.mark.parametrize(
    "commands",
    [
        ["submit rows.json --wait", "queues --all", "worker restart cpu0", "worker stop --all"],
        ["queues pause batch", "queues resume batch", "queues purge batch --yes", "dead", "job"],
        ["autoscale --once --cpus 1 --model serve.py:Model"],
    ],
    ids=["workers", "queues", "autoscaler"],
)
def test_an_operator_with_the_rights_of_a_worker_can_run_every_command(
    worker_with_role: User, redis: Redis, commands: list[str]
) -> None:
    """No worker and no command of mlq needs a right that the role lacks."""
    worker_with_role.write("rows.json", [1, 2, 3])
    for argv in commands:
        done = worker_with_role.run(*argv.split())
        assert done.returncode == 0, (argv, done.stderr)
    assert redis.execute_command("ACL", "LOG") == []  # type: ignore[no-untyped-call]
