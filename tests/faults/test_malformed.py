"""Malformed messages, one after another into one worker: it lives, each is a dead letter, the next is answered."""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from celery import Celery
from redis import Redis

from mlq.broker.dead_letters import DeadLetter, DeadLetters

Start = Callable[..., Any]
Change = Callable[[dict[str, Any]], Any]
"""Spoils a stock message in place, or gives the bytes to send instead."""

GET_S: Final = 60


def put(path: str, value: Any) -> Change:
    """Say something else in one place."""

    def change(message: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for name in parents:
            message = message[name]
        message[last] = value

    return change


def drop(path: str) -> Change:
    """Leave one place out."""

    def change(message: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for name in parents:
            message = message[name]
        del message[last]

    return change


def body(content: bytes) -> Change:
    """Send another body."""
    return put("body", base64.b64encode(content).decode())


def nested(levels: int) -> bytes:
    """Write a list in a list in a list."""
    return b"[" * levels + b"]" * levels


NOTHING: Final = b'{"callbacks": null, "errbacks": null, "chain": null, "chord": null}'

ANSWERED: Final[dict[str, tuple[Change, str]]] = {
    "bad base64": (put("body", "%%%"), "malformed"),
    "body that is no ASCII": (put("body", "übel"), "malformed"),
    "unknown body_encoding": (put("properties.body_encoding", "rot13"), "malformed"),
    "body_encoding a list": (put("properties.body_encoding", []), "malformed"),
    "body of wrong shape": (body(b'{"row": 1}'), "malformed"),
    "body null": (put("body", None), "malformed"),
    "task name a dict": (put("headers.task", {"a": 1}), "malformed"),
    "missing properties": (drop("properties"), "malformed"),
    "missing tag": (drop("properties.delivery_tag"), "malformed"),
    "missing delivery_info": (drop("properties.delivery_info"), "malformed"),
    "bad body JSON": (body(b"[[1,"), "malformed"),
    "non-UTF-8 body": (body(b'[["\xff"], {}, {}]'), "malformed"),
    "pickle": (put("content-type", "application/x-python-serialize"), "malformed"),
    "pickled body": (body(pickle.dumps([[1], {}, {}])), "malformed"),
    "unknown content type": (put("content-type", "application/x-unknown"), "malformed"),
    "content encoding a number": (put("content-encoding", 5), "malformed"),
    "bad eta": (put("headers.eta", "tomorrow"), "malformed"),
    "retries a text": (put("headers.retries", "x"), "malformed"),
    "time limit a number": (put("headers.timelimit", 5), "malformed"),
    "nested body": (body(b"[[" + nested(100_000) + b"], {}, " + NOTHING + b"]"), "malformed"),
    "unknown task": (put("headers.task", "nobody.knows"), "unknown-task"),
}
"""Where the id can be read, its client is told; what each is buried for."""

UNREADABLE: Final[dict[str, tuple[Change, str]]] = {
    "not JSON": (lambda _: b"hello", "malformed"),
    "not UTF-8": (lambda _: b"\xff\xfe{}", "malformed"),
    "scalar": (lambda _: b"42", "malformed"),
    "null": (lambda _: b"null", "malformed"),
    "list": (lambda _: b"[1, 2]", "malformed"),
    "truncated": (lambda message: json.dumps(message).encode()[:-40], "malformed"),
    "deeply nested envelope": (lambda _: nested(100_000), "malformed"),
    "missing id": (drop("headers.id"), "malformed"),
    "an empty object": (lambda _: b"{}", "malformed"),
    "headers null": (put("headers", None), "malformed"),
    "50 MB payload": (lambda _: b'{"body": "' + b"x" * 50 * 2**20 + b'"}', "too-large"),
}

EXECUTED: Final[dict[str, Change]] = {
    "wrong arguments": body(b"[[1, 2, 3], {}, " + NOTHING + b"]"),
    "more levels than can be answered": body(b"[[" + nested(300) + b"], {}, " + NOTHING + b"]"),
    "expires that is no time": put("headers.expires", "tomorrow"),
    "a chain that is none": body(b'[[1], {}, {"chain": 5}]'),
    "a chord that is none": body(b'[[1], {}, {"chord": 5, "callbacks": 7}]'),
    "an integer of 70 bits": body(b"[[1180591620717411303424], {}, " + NOTHING + b"]"),
}
"""Well-formed as far as the envelope goes: Celery or the model have the last word."""


@pytest.fixture
def redis(broker: str) -> Iterator[Redis]:
    """Speak to the workers' server."""
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://"), socket_timeout=30) as client:
        yield client


def spoiled(change: Change, task_id: str) -> bytes:
    """Write a stock message and spoil it."""
    message = {
        "body": base64.b64encode(b"[[1], {}, " + NOTHING + b"]").decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": "mlq.predict", "id": task_id, "root_id": task_id, "retries": 0},
        "properties": {
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "delivery_tag": task_id,
            "body_encoding": "base64",
            "priority": 0,
        },
    }
    instead = change(message)
    return instead if isinstance(instead, bytes) else json.dumps(message).encode()


def letters(redis: Redis) -> dict[bytes, DeadLetter]:
    """Give all dead letters, by the bytes that were sent."""
    dead = DeadLetters(redis)
    found = [dead.read(letter) for letter in dead.ids()]
    return {letter.raw: letter for letter in found if letter is not None}


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
        house.until(lambda raw=raw: raw in letters(redis), f"{name} is a dead letter")
    assert client.send_task("mlq.predict", [5]).get(timeout=GET_S)["row"] == 5
    assert workers.pids() == before
    assert_alive(before)
    reasons = {name: letters(redis)[raw].circumstances["reason"] for name, raw in sent.items()}
    assert reasons == {name: reason for name, (_, reason) in {**ANSWERED, **UNREADABLE}.items()}


@pytest.mark.timeout(180)
def test_whoever_waits_for_a_malformed_message_is_told(house: Any, client: Celery, start: Start, redis: Redis) -> None:
    """Under stock Celery its client waits for ever."""
    start("--cpus", "1")
    told = [name for name, (_, reason) in ANSWERED.items() if reason == "malformed"]
    for name in told:
        redis.lpush("celery", spoiled(ANSWERED[name][0], id_of(name)))
    house.until(lambda: all(client.AsyncResult(id_of(n)).state == "FAILURE" for n in told), "all are told")


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
        lambda: client.AsyncResult(id_of(name)).state in {"SUCCESS", "FAILURE"} or raw in letters(redis), "it has ended"
    )
    assert client.send_task("mlq.predict", [5]).get(timeout=GET_S)["row"] == 5
    assert workers.pids() == before
    assert_alive(before)


def assert_alive(pids: dict[str, int]) -> None:
    """Look for the processes themselves: a list of them may be old."""
    assert all(Path(f"/proc/{pid}").exists() for pid in pids.values())
