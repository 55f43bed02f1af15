"""Malformed messages, one after another into one worker: it lives, each is a dead letter, the next is answered."""

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
    """Speak to the workers' server."""
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://"), socket_timeout=30) as client:
        yield client


def named(raw: bytes, size: int | None = None) -> tuple[int, bytes]:
    """Tell messages apart by their size and their beginning: of the largest no more is kept."""
    return size or len(raw), raw[:1024]


def letters(redis: Redis) -> dict[tuple[int, bytes], DeadLetter]:
    """Give all dead letters, by the bytes that were sent."""
    dead = DeadLetters(redis)
    found = [dead.read(letter) for letter in dead.ids()]
    return {named(letter.raw, letter.size): letter for letter in found if letter is not None}


def id_of(name: str) -> str:
    """Make an id that says which message it is."""
    return name.replace(" ", "-")


@pytest.mark.timeout(180)
def test_no_message_stops_the_worker_or_is_lost(house: Any, client: Celery, start: Start, redis: Redis) -> None:
    """13 of these stop a stock worker, 4 of them every worker after it, and 20 leave a log line at most."""
    workers = start("--cpus", "1")
    before = workers.pids()
    sent = {name: spoiled(change, id_of(name)) for name, (change, _) in {**ANSWERED, **UNREADABLE}.items()}
    for name, raw in sent.items():
        redis.lpush("celery", raw)
        house.until(lambda raw=raw: named(raw) in letters(redis), f"{name} is a dead letter")
    assert client.send_task("mlq.predict", [5]).get(timeout=GET_S)["row"] == 5
    assert workers.pids() == before
    assert_alive(before)
    reasons = {name: letters(redis)[named(raw)].circumstances["reason"] for name, raw in sent.items()}
    assert reasons == {name: reason for name, (_, reason) in {**ANSWERED, **UNREADABLE}.items()}


@pytest.mark.timeout(180)
def test_whoever_waits_for_a_malformed_message_is_told(house: Any, client: Celery, start: Start, redis: Redis) -> None:
    """Under stock Celery its client waits for ever."""
    start("--cpus", "1")
    told = list(ANSWERED)
    for name in told:
        redis.lpush("celery", spoiled(ANSWERED[name][0], id_of(name)))
    house.until(lambda: all(client.AsyncResult(id_of(n)).state == "FAILURE" for n in told), "all are told")


def test_the_client_of_an_unknown_task_is_told_as_stock_celery_tells_it(
    house: Any, client: Celery, start: Start, redis: Redis
) -> None:
    """It was sent too early, perhaps: retried once a worker knows it, the failure is taken away again."""
    workers = start("--cpus", "1")
    task = client.send_task("no.such", queue="batch")
    with pytest.raises(NotRegistered, match=r"no task 'no\.such' is known here"):
        task.get(timeout=GET_S)
    workers.end()
    assert house.run("dead", "retry", *DeadLetters(redis).ids()).returncode == 0
    assert client.AsyncResult(task.id).state == "PENDING"


@pytest.mark.parametrize("name", EXECUTED)
def test_what_looks_well_formed_does_not_stop_the_worker_either(
    house: Any, client: Celery, start: Start, redis: Redis, name: str
) -> None:
    """It is a failure or a dead letter, or even an answer; the next message has its own."""
    workers = start("--cpus", "1")
    before = workers.pids()
    raw = spoiled(EXECUTED[name], id_of(name))
    redis.lpush("celery", raw)
    house.until(
        lambda: client.AsyncResult(id_of(name)).state in {"SUCCESS", "FAILURE"} or named(raw) in letters(redis),
        "it has ended",
    )
    assert client.send_task("mlq.predict", [5]).get(timeout=GET_S)["row"] == 5
    assert workers.pids() == before
    assert_alive(before)


def assert_alive(pids: dict[str, int]) -> None:
    """Look for the processes themselves: a list of them may be old."""
    assert all(Path(f"/proc/{pid}").exists() for pid in pids.values())
