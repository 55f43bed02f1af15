"""The main job: one worker per device, a file of rows in, answers out."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of an output file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.skipif(not (EXAMPLE / "model.pt2").exists(), reason="`make test` makes examples/digits/model.pt2 first")
def test_a_file_of_digits_is_answered_correctly_and_in_order(user: Any, start: Any) -> None:
    """1,797 rows give 1,797 lines with the ids in input order, of which more than 97% match the labels."""
    start("--cpus", "2", "--output", "classify", model=str(EXAMPLE / "model.pt2"), ready=2)
    out = user.directory / "out.jsonl"
    done = user.run("submit", str(EXAMPLE / "input.json"), "--wait", "-o", str(out))
    assert done.returncode == 0, done.stderr
    labels = json.loads((EXAMPLE / "labels.json").read_text())
    answers = read_lines(out)
    assert [a["id"] for a in answers] == list(labels)
    right = sum(a["result"]["class"] == labels[a["id"]] for a in answers)
    assert right / len(labels) > 0.97
    assert {a["result"]["device"] for a in answers} == {"cpu"}


def test_any_celery_client_gets_its_answer(client: Celery, start: Any) -> None:
    """It names the task, with a queue or without one. Then it publishes to `celery`, and is answered once."""
    start("--cpus", "1")
    assert client.send_task("mlq.predict", ["row"]).get(timeout=30)["row"] == "row"
    assert client.send_task("mlq.predict", ["r"], queue="realtime").get(timeout=30)["row"] == "r"
    answers = client.send_task("mlq.batch_predict", [[1, {"fail": "no"}, 3]], queue="batch").get(timeout=30)
    assert [a.get("row") for a in answers] == [1, None, 3]
    assert answers[1] == {"mlq.error": {"type": "ValueError", "message": "no", "retryable": False, "attempts": 1}}


def test_a_row_that_fails_is_an_error_row_and_the_others_are_answered(user: Any, start: Any) -> None:
    """Exit code 6 says that there are error rows; a malformed line is one, too."""
    start("--cpus", "1")
    rows = user.write("rows.jsonl", '{"id": "a", "input": 1}\n{oops\n{"id": "c", "input": {"fail": "too wide"}}\n4\n')
    done = user.run("submit", str(rows), "--wait")
    assert done.returncode == 6, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(a["id"], a["index"], a["status"]) for a in answers] == [
        ("a", 0, "ok"),
        (1, 1, "error"),
        ("c", 2, "error"),
        (3, 3, "ok"),
    ]
    assert answers[1]["error"]["message"].startswith("line 2: ")
    assert answers[2]["error"]["message"] == "too wide"
    assert "2 of 4 rows failed" in done.stderr


def test_a_jobs_answers_can_be_collected_later(user: Any, start: Any) -> None:
    """`submit` prints an id. `result` waits on request, and otherwise says what is missing."""
    start("--cpus", "1")
    gate = user.directory / "gate"
    rows = user.write("rows.json", [{"wait_for": str(gate)}, 2])
    job = user.run("submit", str(rows), "--chunk", "1").stdout.strip()
    early = user.run("result", job)
    assert early.returncode == 7
    assert f"mlq result {job} --wait" in early.stderr
    gate.touch()
    late = user.run("result", job, "--wait")
    assert late.returncode == 0, late.stderr
    assert [json.loads(line)["result"]["row"] for line in late.stdout.splitlines()][1] == 2


def test_a_single_row_goes_to_realtime_and_a_file_to_batch(user: Any, start: Any) -> None:
    """A row that a user waits for overtakes the rest of a long job."""
    start("--cpus", "1")
    one, many = user.write("one.json", {"a": 1}), user.write("many.json", [1, 2, 3])
    assert user.json("submit", str(one), "--wait", "-o", "one.out")["queue"] == "realtime"
    shown = user.json("submit", str(many), "--wait", "-o", "many.out")
    assert shown == {**shown, "schema": "mlq.job/1", "queue": "batch", "rows": 3, "tasks": 1, "ok": 3, "failed": 0}


def test_a_queue_without_workers_is_named_and_the_wait_goes_on(user: Any, start: Any) -> None:
    """--timeout ends the wait with exit code 7. No row is lost, and the hint says how to collect the answers."""
    start("--cpus", "1", "--queues", "realtime")
    rows = user.write("rows.json", [1, 2])
    done = user.run("submit", str(rows), "--wait", "--timeout", "6")
    assert done.returncode == 7
    assert "no worker serves queue 'batch'" in done.stderr
    assert "`mlq submit" in done.stderr
    assert "continues" in done.stderr
    assert {q["name"]: q["ready"] for q in user.json("queues")["queues"]}["batch"] == 1


def test_queues_and_workers_are_listed_while_they_are_busy(user: Any, start: Any) -> None:
    """A busy solo worker answers no control message, but its heartbeat says what it does.

    Running rows are in flight.
    """
    start("--cpus", "1")
    gate = user.directory / "gate"
    user.write("rows.json", [{"wait_for": str(gate)}, 2, 3])
    user.run("queues", "pause", "batch")  # so that the worker takes them together
    job = user.run("submit", "rows.json", "--chunk", "1", "--queue", "batch").stdout.strip()
    user.run("queues", "resume", "batch")
    user.until(lambda: user.json("worker")["workers"][0]["state"] == "busy", "the worker is busy")
    (worker,) = user.json("worker")["workers"]
    assert worker["task"] == f"{job}.0"
    batch = next(q for q in user.json("queues")["queues"] if q["name"] == "batch")
    # All three fit into one forward of this model, so one worker holds them.
    assert (batch["ready"], batch["in_flight"], batch["workers"]) == (0, 3, 1)
    gate.touch()
    assert user.run("result", job, "--wait").returncode == 0
    assert user.json("queues", "batch")["queues"][0]["ready"] == 0


def test_a_second_set_of_workers_shares_the_broker_and_takes_free_names(user: Any, start: Any) -> None:
    """One user has two terminals: the second command finds the broker and the workers of the first."""
    start("--cpus", "2", ready=2)
    second = start("--cpus", "1")
    assert second.pids().keys() == {"cpu2"}
    user.until(lambda: len(user.json("worker")["workers"]) == 3, "three workers are listed")
    assert second.end(signal.SIGINT) == 0
    assert len(user.json("worker")["workers"]) == 2


def test_a_paused_queue_keeps_its_messages_until_it_is_resumed(user: Any, start: Any) -> None:
    """No message is refused and none runs. The idle worker notices the resume without a new message."""
    start("--cpus", "1")
    user.write("rows.json", [1, 2])
    assert user.run("queues", "pause", "batch").returncode == 0
    job = user.run("submit", "rows.json").stdout.strip()
    (batch,) = user.json("queues", "batch")["queues"]
    assert (batch["paused"], batch["ready"]) == (True, 1)
    assert user.run("queues", "resume", "batch").stdout == "batch is resumed\n"
    assert user.run("result", job, "--wait", "--timeout", "30").returncode == 0


def test_purge_asks_and_drops_the_waiting_messages(user: Any, start: Any) -> None:
    """Without a terminal it cannot ask, so it needs --yes."""
    start("--cpus", "1", "--queues", "realtime")
    user.write("rows.json", [1, 2, 3])
    job = user.run("submit", "rows.json", "--chunk", "1").stdout.strip()
    refused = user.run("queues", "purge", "batch")
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert user.run("queues", "purge", "batch", "--yes").stdout == "3 dropped from batch\n"
    collected = user.run("result", job, "--wait", "--timeout", "30")
    assert collected.returncode == 6, "the command does not wait for purged rows"
    assert collected.stdout.count("its queue was purged") == 3
    assert user.run("queues", "purge", "nothing", "--yes").returncode == 5
