"""The event log: who gave which order, when, from which host, and its result. A record never stops an order."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from mlq.protocol import keys
from mlq.store import event_log
from tests.conftest import Start, User


def read_events(user: User, *argv: str) -> list[dict[str, Any]]:
    """Return the output of `mlq events --json`."""
    done = user.run("events", "--json", *argv)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def summary(found: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Return the parts of the events that are the same in every run."""
    return [(event["order"], event["what"], event["result"]) for event in found]


def test_orders_about_queues_are_recorded_with_their_results(user: User, client: Celery) -> None:
    """A failed order is recorded, too, with the reason."""
    client.send_task("mlq.predict", [1], queue="batch")
    user.run("queues", "pause", "batch")
    user.run("queues", "purge", "batch", "--yes")
    assert user.run("queues", "pause", "nosuch").returncode == 5
    found = read_events(user, "--orders")
    assert summary(found) == [
        ("queues pause", "batch", "done"),
        ("queues purge", "batch", "done"),
        ("queues pause", "nosuch", "failed"),
    ]
    assert found[1]["detail"] == "1 dropped"
    assert "nosuch" in found[2]["detail"]
    me = pwd.getpwuid(os.getuid()).pw_name
    assert {(event["user"], event["host"]) for event in found} == {(me, socket.gethostname())}
    shown = user.run("events", "--since", "1h").stdout
    assert f"{me}@{socket.gethostname()} (pid {found[0]['pid']})" in shown


def test_since_is_a_time(user: User, broker_redis: Redis) -> None:
    """A time in the future has no events; a word is wrong usage."""
    event_log.begin(broker_redis, "queues purge", "batch", "me", "here", 1)
    assert len(read_events(user, "--since", "1h")) == 1
    assert read_events(user, "--since", "2999-01-01") == []
    assert user.run("events", "--since", "yesterday").returncode == 2


def test_orders_about_work_and_workers_are_recorded(user: User, start: Start, broker_redis: Redis) -> None:
    """A dry run is no order."""
    workers = start("--cpus", "1")
    user.write("rows.jsonl", '{"wait_for": "gate"}\n')
    job = user.json("submit", "rows.jsonl")["job"]
    user.run("job", "cancel", job)
    broker_redis.lpush("realtime", "{")
    user.write("gate", "")
    user.until(lambda: broker_redis.zcard(keys.DEAD) == 1, "there is a dead letter")
    user.run("dead", "drop", "--all", "--dry-run")
    assert user.run("dead", "drop", "--all", "--yes").returncode == 0
    assert user.run("worker", "drain", "cpu0").returncode == 0
    workers.wait()
    found = read_events(user)
    letter = found[1]["what"]
    assert letter.startswith("1: ")
    assert summary(found) == [
        ("job cancel", job, "done"),
        ("dead drop", letter, "done"),
        ("worker drain", f"cpu0@{socket.gethostname()}", "done"),
    ]


def test_an_order_whose_command_was_killed_has_its_own_result(user: User, client: Celery, start: Start) -> None:
    """The order stands, and the record says that it was given, not that it was carried out."""
    start("--cpus", "1")
    gate = user.directory / "gate"
    running = client.send_task("mlq.predict", [{"wait_for": str(gate)}], queue="realtime")
    user.until(lambda: user.json("worker")["workers"][0]["state"] == "busy", "it is busy")
    command = user.command("worker", "drain", "cpu0")
    user.until(lambda: [e["result"] for e in read_events(user)] == ["pending"], "the order is given")
    command.end(signal.SIGKILL)
    assert user.run("worker", "drain", "cpu0", "--timeout", "0.2").returncode == 7
    assert [e["result"] for e in read_events(user)] == ["pending", "pending"]
    gate.touch()
    assert running.get(timeout=60)


def test_an_order_without_a_result_is_shown_as_such(user: User, broker_redis: Redis) -> None:
    """Its command died before it recorded the result."""
    event_log.begin(broker_redis, "queues purge", "batch", "me", "here", 1)
    assert [e["result"] for e in read_events(user)] == [None]
    assert "no end recorded" in user.run("events").stdout


def test_an_order_is_carried_out_though_its_record_fails(user: User, broker_redis: Redis) -> None:
    """With a key of the wrong type the order is carried out, and a warning names the missing record.

    With full memory both work.
    """
    broker_redis.lpush("batch", "x")
    broker_redis.set(keys.EVENTS, "not a stream")
    done = user.run("queues", "pause", "batch")
    assert (done.returncode, broker_redis.smembers(keys.PAUSED)) == (0, {b"batch"})
    assert "warning: the order is not recorded for `mlq events`: WRONGTYPE" in done.stderr
    shown = user.run("events")
    assert shown.returncode == 4
    assert "Traceback" not in shown.stderr
    broker_redis.delete(keys.EVENTS)
    broker_redis.config_set("maxmemory", 1)
    assert user.run("queues", "resume", "batch").returncode == 0
    assert user.run("queues", "pause", "batch").returncode == 0
    broker_redis.config_set("maxmemory", 0)
    assert summary(read_events(user)) == [("queues resume", "batch", "done"), ("queues pause", "batch", "done")]


def test_invalid_entries_are_left_out_and_no_text_controls_the_terminal(user: User, broker_redis: Redis) -> None:
    """Every client that may write to the server may write to the stream, and later versions add kinds of events."""
    event_log.begin(broker_redis, "queues pause", "b\x1b[2J\nforged\u202e", "me", "here", 1)
    for fields in (
        {"x": "y"},
        {"kind": "order", "body": "{"},
        {"kind": "order", "body": "7"},
        {"kind": "order", "body": '{"order": 1, "what": [], "pid": "x"}'},
        {"kind": "order-end", "body": '{"of": 5}'},
        {"kind": "order-end", "body": '{"of": "1-1", "result": "done"}'},
        {"kind": "tomorrow", "body": "{}"},
        {"kind": b"\xff", "body": "[" * 100_000},
    ):
        broker_redis.xadd(keys.EVENTS, fields)  # type: ignore[arg-type]  # dict is invariant
    shown = user.run("events")
    assert shown.returncode == 0, shown.stderr
    assert "\x1b" not in shown.stdout
    assert "\\x1b[2J\\nforged\\u202e" in shown.stdout
    assert "\u202e" not in shown.stdout


def test_the_event_log_is_capped(broker_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of entries is limited, and the length of each text."""
    monkeypatch.setattr(event_log, "MOST_ENTRIES", 200)
    for _ in range(1000):
        event_log.begin(broker_redis, "queues pause", "b" * 100_000, "me", "here", 1)
    assert 200 <= broker_redis.xlen(keys.EVENTS) < 400
    assert {len(order.what) for order in event_log.read(broker_redis)} == {event_log.MOST_CHARACTERS}


def test_events_can_be_followed_until_ctrl_c(user: User, broker_redis: Redis) -> None:
    """An order prints a line, and its result another one. Ctrl-C is the normal end."""
    broker_redis.lpush("batch", "x")
    user.run("queues", "pause", "batch")
    following = user.command("events", "--follow", "--since", "1h", "--json")
    assert following.process.stdout is not None
    first = [json.loads(following.process.stdout.readline()) for _ in range(2)]
    assert [e["result"] for e in first] == [None, "done"]
    assert len({e["id"] for e in first}) == 1
    user.run("queues", "resume", "batch")
    assert json.loads(following.process.stdout.readline())["order"] == "queues resume"
    assert following.end(signal.SIGINT) == 0


def test_the_start_and_the_end_of_an_autoscaler_are_recorded(user: User, broker_redis: Redis) -> None:
    """Its decisions are not: they are in its own output."""
    del broker_redis
    scaling = user.command("autoscale", "--queue", "realtime", "--cpus", "1", "--min", "0", "--model", "serve.py:Model")
    user.until(lambda: [e["order"] for e in read_events(user)] == ["autoscale start"], "it is recorded")
    scaling.end(signal.SIGTERM)
    assert summary(read_events(user)) == [
        ("autoscale start", "realtime", "done"),
        ("autoscale stop", "realtime", "done"),
    ]
