"""Two versions serve the same queues: no message is lost or recorded twice, and each reads what the other wrote."""

from __future__ import annotations

import json
import signal
from functools import partial
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from chaos.faultkit import until
from mlq.protocol import keys
from tests.conftest import User
from tests.upgrade.conftest import MODEL, Fleets

DIRECTIONS = [("base", "this"), ("this", "base")]


@pytest.mark.timeout(240)
def test_workers_are_upgraded_and_rolled_back_one_by_one_under_load(fleets: Fleets) -> None:
    """No message is lost or recorded twice, and none begins twice, because a drain gives none back."""
    old = [fleets.start("base"), fleets.start("base")]
    for version in ("this", "base"):
        new = []
        for leaving in old:
            new.append(fleets.start(version))
            until(
                partial(fleets.has_answered, new[-1]), f"{new[-1].log.name} answers", why_not=fleets.world.whereabouts
            )
            fleets.drain(leaving)
        old = new
    fleets.end()
    assert set(fleets.world.starts().values()) == {1}


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("dead", "survivor"), DIRECTIONS)
def test_the_messages_of_a_dead_host_of_one_version_are_taken_over_by_the_other(
    fleets: Fleets, dead: str, survivor: str
) -> None:
    """A supervisor and its worker die together. The supervisor of the other version sees that the lease expires."""
    dying = fleets.start(dead)
    until(partial(fleets.has_answered, dying), "it answers")
    fleets.start(survivor)
    gate = fleets.world.directory / "gate"
    held: list[str] = []

    def both_hold_some() -> bool:
        held.append(
            fleets.world.send({"gate": str(gate)})
        )  # one more message each time, because a worker may claim several at once
        return len([i for i in held if fleets.world.has_begun(i)]) >= 2

    until(both_hold_some, "both hold some", why_not=fleets.world.whereabouts)
    dying.kill()
    fleets.running.remove(dying)
    gate.touch()
    fleets.end()
    assert set(fleets.world.starts().values()) <= {1, 2}


def read_lines(user: User, name: str) -> list[Any]:
    """Return the lines of an output file, as far as it is written."""
    path = user.directory / name
    return (
        [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        if path.exists()
        else []
    )


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("first", "second"), DIRECTIONS)
def test_a_job_of_one_version_is_resumed_and_collected_by_the_other(
    houses: dict[str, User], shared: Any, first: str, second: str
) -> None:
    """The client dies midway, and workers of both versions answer. The output has one line for each row, in order."""
    for version in houses:
        shared(version, "worker", "start", "--cpus", "1", "--name", version, "--model", MODEL, ready=1)
    rows = houses[first].write("rows.jsonl", "".join(f'{{"sleep": 0.03, "n": {n}}}\n' for n in range(120)))
    words = ("submit", str(rows), "--wait", "-o", "out.jsonl", "--chunk", "4")
    begun = shared(first, *words)
    houses[first].until(lambda: len(read_lines(houses[first], "out.jsonl")) >= 8, "some are answered")
    begun.process.send_signal(signal.SIGKILL)
    begun.process.wait()
    assert len(read_lines(houses[first], "out.jsonl")) < 120
    done = houses[second].run(*words, "--resume")
    assert done.returncode == 0, done.stderr
    found = read_lines(houses[second], "out.jsonl")
    assert [line["result"]["row"]["n"] for line in found] == list(range(120))
    sent = houses[first].json("submit", str(rows))["job"]
    collected = houses[second].run("result", sent, "--wait")
    assert collected.returncode == 0, collected.stderr
    assert [json.loads(line)["index"] for line in collected.stdout.splitlines()] == list(range(120))


@pytest.mark.timeout(240)
def test_each_version_lists_the_data_of_the_other(houses: dict[str, User], shared: Any, client: Celery) -> None:
    """Both list the same workers, queues, jobs and dead letters, and either can drop the dead letters."""
    for version in houses:
        shared(version, "worker", "start", "--cpus", "1", "--name", version, "--model", MODEL, ready=1)
    check_same(houses, "worker", "workers", ("name", "host", "pid", "queues", "fingerprint", "supervisor"))
    check_same(houses, "queues", "queues", ("name", "ready", "workers", "paused"))
    jobs = {}
    for version, user in houses.items():
        jobs[version] = user.json("submit", str(user.write("rows.json", [1, 2, 3])))["job"]
        user.until(lambda job=jobs[version], user=user: user.json("job", "show", job)["done"] == 3, "it is done")  # type: ignore[misc]
    check_same(houses, "job", "jobs", ("job", "state", "rows", "ok", "failed", "queue", "source"))
    for _ in range(2):
        client.send_task("nobody.knows.it", queue="realtime")
    houses["this"].until(lambda: len(houses["this"].json("dead")["entries"]) == 2, "they are dead letters")
    check_same(houses, "dead", "entries", ("id", "task", "queue", "reason"))
    one, other = (entry["id"] for entry in houses["this"].json("dead")["entries"])
    assert houses["base"].run("dead", "drop", one, "--yes").returncode == 0
    assert houses["this"].run("dead", "drop", other, "--yes").returncode == 0


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("version", "other"), DIRECTIONS)
def test_a_worker_of_one_version_carries_out_orders_of_the_other(
    houses: dict[str, User], shared: Any, version: str, other: str
) -> None:
    """Its supervisor reads them with a heartbeat, and the command that gave the order sees the result."""
    shared(version, "worker", "start", "--cpus", "1", "--model", MODEL, ready=1)
    for words in (("restart",), ("stop", "--drain-timeout", "1")):
        done = houses[other].run("worker", *words, "cpu0")
        assert done.returncode == 0, done.stderr
    assert houses[version].json("worker")["workers"] == []


def check_same(houses: dict[str, User], command: str, entries: str, fields: tuple[str, ...]) -> None:
    """Check that both versions list the same, field by field."""
    found = {
        version: [{name: entry[name] for name in fields} for entry in user.json(command)[entries]]
        for version, user in houses.items()
    }
    assert found["base"] == found["this"]
    assert found["base"]


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("first", "second"), DIRECTIONS)
def test_autoscalers_of_both_versions_agree_on_one_leader_and_one_maximum(
    houses: dict[str, User], shared: Any, client: Celery, first: str, second: str
) -> None:
    """The leader dies while tasks wait.

    The autoscaler of the other version counts its workers, and becomes the leader.
    """
    user = houses[second]
    argv = ("autoscale", "--queue", "realtime", "--cpus", "2", "--min", "1", "--max", "2", "--preset", "economy")
    rest = ("--model", MODEL, "--interval", "0.5", "-v")
    one = shared(first, *argv, "--name", "one", *rest)
    user.until(lambda: worker_names(user) == ["one-cpu0"], "it decides")
    other = shared(second, *argv, "--name", "other", *rest)
    other.wait_for("broker ")
    sent = [client.send_task("mlq.predict", [{"sleep": 0.1, "n": n}], queue="realtime") for n in range(150)]
    user.until(lambda: len(worker_names(user)) == 2, "both places are filled")
    sent[10].get(timeout=60)
    one.process.kill()
    one.process.wait()
    answers = [task.get(timeout=90) for task in sent]
    assert sorted(answer["row"]["n"] for answer in answers) == list(range(150))
    user.until(lambda: set(worker_names(user)) <= {"other-cpu0", "other-cpu1"}, "the other's have replaced them")
    assert not [line for line in [*one.lines, *other.lines] if "want 3" in line or "want 4" in line]
    assert other.end() == 0


def test_base_refuses_keys_of_a_later_version_with_an_error(houses: dict[str, User], broker: str) -> None:
    """After a migration its supervisors do not start, and change no key."""
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://")) as redis:
        redis.set(keys.SCHEMA, "2")
    refused = houses["base"].run("worker", "start", "--cpus", "1", "--model", MODEL)
    assert refused.returncode == 3
    assert "are of version 2, this mlq's of version 1" in refused.stderr


def worker_names(user: User) -> list[str]:
    """Return the names of the workers."""
    return [w["name"] for w in user.json("worker")["workers"] if w["state"] not in {"lost", "failed"}]
