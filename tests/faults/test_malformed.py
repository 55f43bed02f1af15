"""Malformed messages one after another: the worker lives, each message is a dead letter, the next one is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from celery import Celery
from celery.exceptions import NotRegistered
from redis import Redis

from chaos.reliability.corpus import ANSWERED, EXECUTED, UNREADABLE, spoiled
from mlq.store.messages.dead_letters import DeadLetter, DeadLetters

Start = Callable[..., Any]
GET_S: Final = 60


@pytest.fixture
def redis(broker: str) -> Iterator[Redis]:
    """Return a client of the workers' server."""
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://"), socket_timeout=30) as client:
        yield client


def key_of(raw: bytes, size: int | None = None) -> tuple[int, bytes]:
    """Return a message's size and beginning, which identify it: of the largest messages no more is kept."""
    return size or len(raw), raw[:1024]


def letters(redis: Redis) -> dict[tuple[int, bytes], DeadLetter]:
    """Return all dead letters by the bytes that were sent."""
    dead = DeadLetters(redis)
    found = [dead.read(letter) for letter in dead.ids()]
    return {key_of(letter.raw, letter.size): letter for letter in found if letter is not None}


def make_id(name: str) -> str:
    """Return an id that names the message."""
    return name.replace(" ", "-")


@pytest.mark.timeout(180)
def test_no_message_stops_the_worker_or_is_lost(user: Any, client: Celery, start: Start, redis: Redis) -> None:
    """13 of these stop a stock worker, 4 of them every worker after it, and 20 leave only a log line."""
    workers = start("--cpus", "1")
    before = workers.pids()
    sent = {name: spoiled(change, make_id(name)) for name, (change, _) in {**ANSWERED, **UNREADABLE}.items()}
    for name, raw in sent.items():
        redis.lpush("celery", raw)
        user.until(lambda raw=raw: key_of(raw) in letters(redis), f"{name} is a dead letter")
    assert client.send_task("mlq.predict", [5]).get(timeout=GET_S)["row"] == 5
    assert workers.pids() == before
    assert_alive(before)
    reasons = {name: letters(redis)[key_of(raw)].circumstances["reason"] for name, raw in sent.items()}
    assert reasons == {name: reason for name, (_, reason) in {**ANSWERED, **UNREADABLE}.items()}


@pytest.mark.timeout(180)
def test_the_client_of_a_malformed_message_gets_a_failure(
    user: Any, client: Celery, start: Start, redis: Redis
) -> None:
    """With stock Celery it waits without end."""
    start("--cpus", "1")
    names = list(ANSWERED)
    for name in names:
        redis.lpush("celery", spoiled(ANSWERED[name][0], make_id(name)))
    user.until(
        lambda: all(client.AsyncResult(make_id(n)).state == "FAILURE" for n in names), "all clients have their failure"
    )


def test_the_client_of_an_unknown_task_gets_stock_celerys_failure(
    user: Any, client: Celery, start: Start, redis: Redis
) -> None:
    """The task may have been sent too early. If it is requeued after a worker knows it, the failure is deleted."""
    workers = start("--cpus", "1")
    task = client.send_task("no.such", queue="batch")
    with pytest.raises(NotRegistered, match=r"no task 'no\.such' is known here"):
        task.get(timeout=GET_S)
    workers.end()
    assert user.run("dead", "retry", *DeadLetters(redis).ids()).returncode == 0
    assert client.AsyncResult(task.id).state == "PENDING"


@pytest.mark.parametrize("name", EXECUTED)
def test_a_message_that_looks_well_formed_does_not_stop_the_worker_either(
    user: Any, client: Celery, start: Start, redis: Redis, name: str
) -> None:
    """It becomes a failure, a dead letter or an answer, and the next message gets its own answer."""
    workers = start("--cpus", "1")
    before = workers.pids()
    raw = spoiled(EXECUTED[name], make_id(name))
    redis.lpush("celery", raw)
    user.until(
        lambda: client.AsyncResult(make_id(name)).state in {"SUCCESS", "FAILURE"} or key_of(raw) in letters(redis),
        "it has ended",
    )
    assert client.send_task("mlq.predict", [5]).get(timeout=GET_S)["row"] == 5
    assert workers.pids() == before
    assert_alive(before)


def assert_alive(pids: dict[str, int]) -> None:
    """Check the processes themselves, because a list of them may be old."""
    assert all(Path(f"/proc/{pid}").exists() for pid in pids.values())
