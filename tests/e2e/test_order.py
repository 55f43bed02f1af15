"""The order of service: by queue, by priority, and between two forwards of a long message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis import Redis

GET_S = 60
MODEL = '''
"""Writes each forward down when it begins and waits for its gate: forward n ends when the file gates/n is there."""
import os, time

class Model:
    max_batch_size = {rows}

    def setup(self, device):
        self.forwards = 0
        os.makedirs("gates", exist_ok=True)

    def predict(self, rows):
        self.forwards += 1
        with open("forwards.log", "a") as file:
            file.write(" ".join(map(str, rows)) + "\\n")
        while not os.path.exists(f"gates/{{self.forwards}}") and not os.path.exists("gates/all"):
            time.sleep(0.005)
        return rows
'''


class Forwards:
    """The forwards that the model has begun, and the gates that let each one end."""

    def __init__(self, user: Any) -> None:
        self._house = user
        self._directory: Path = user.directory

    def seen(self) -> list[list[str]]:
        """Return the rows of each forward that began."""
        log = self._directory / "forwards.log"
        return [line.split() for line in log.read_text().splitlines()] if log.exists() else []

    def wait_for(self, number: int) -> None:
        """Wait until this number of forwards have begun."""
        self._house.until(lambda: len(self.seen()) >= number, f"forward {number} has begun")

    def let(self, number: int | str) -> None:
        """Let one forward end, or "all" from now on."""
        self._house.write(f"gates/{number}", "")


@pytest.fixture
def forwards(user: Any) -> Forwards:
    """Write the models, one for each batch size of these tests."""
    for rows in (1, 3, 100):
        user.write(f"gated_{rows}.py", MODEL.format(rows=rows))
    return Forwards(user)


@pytest.mark.parametrize(
    ("priority_order", "promised"),
    # No priority is the same as 0: these two are served in the order of their arrival.
    [
        ("mlq", ["9-1", "9-2", "0-1", "none-1", "0-2", "none-2"]),
        ("stock", ["0-1", "none-1", "0-2", "none-2", "9-1", "9-2"]),
    ],
)
def test_priorities_and_queues_are_served_in_the_promised_order(
    user: Any, client: Celery, start: Any, forwards: Forwards, broker: str, priority_order: str, promised: list[str]
) -> None:
    """Stock workers serve priority 9 last and alternate between queues, so urgent messages wait longest."""
    start("--cpus", "1", model="gated_1.py:Model", MLQ_PRIORITY_ORDER=priority_order)
    running = [client.send_task("mlq.predict", [n], queue="batch") for n in ("running", "staged")]
    forwards.wait_for(1)
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://")) as redis:
        user.until(lambda: not redis.llen("batch"), "one runs and one is staged behind it")
    options: dict[str, dict[str, Any]] = {"0": {"priority": 0}, "none": {}, "9": {"priority": 9}}
    tasks = [
        client.send_task("mlq.predict", [f"{queue}-{priority}-{turn}"], queue=queue, **options[priority])
        for turn in (1, 2)
        for queue in ("batch", "default", "realtime")
        for priority in options
    ]
    # One by one at first: while the staged message waits behind more urgent ones, each has a forward of its own.
    for number in range(1, 6):
        forwards.let(number)
        forwards.wait_for(number + 1)
    forwards.let("all")
    for task in [*running, *tasks]:
        task.get(timeout=GET_S)
    order = [row for rows in forwards.seen() for row in rows if row not in {"running", "staged"}]
    assert [row.split("-")[0] for row in order] == ["realtime"] * 6 + ["default"] * 6 + ["batch"] * 6
    for queue in ("realtime", "default", "batch"):
        served = [row.removeprefix(f"{queue}-") for row in order if row.startswith(queue)]
        assert served == promised


def test_rows_wait_for_a_full_batch_only_with_max_wait(client: Celery, start: Any, forwards: Forwards) -> None:
    """By default the waiting rows are computed at once. With --max-wait they wait for more rows, but not longer."""
    workers = start("--cpus", "1", "--max-wait", "60", model="gated_3.py:Model")
    forwards.let("all")
    tasks = [client.send_task("mlq.predict", [n]) for n in range(2)]
    tasks.append(client.send_task("mlq.batch_predict", [[2, 3]]))
    assert [task.get(timeout=GET_S) for task in tasks] == [0, 1, [2, 3]]
    assert forwards.seen() == [["0", "1", "2"], ["3"]]
    assert workers.end() == 0
    start("--cpus", "1", "--max-wait", "0.001", model="gated_3.py:Model")
    assert client.send_task("mlq.predict", ["alone"]).get(timeout=GET_S) == "alone"


def test_a_realtime_row_waits_for_one_forward_of_a_foreign_clients_chunk(
    client: Celery, start: Any, forwards: Forwards
) -> None:
    """A thousand rows in one message keep the device for ten forwards. An urgent row runs between two of them."""
    start("--cpus", "1", model="gated_100.py:Model")
    chunk = client.send_task("mlq.batch_predict", [list(range(1000))], queue="batch")
    forwards.wait_for(1)
    urgent = [client.send_task("mlq.predict", [f"urgent{n}"], queue="realtime") for n in range(3)]
    forwards.let(1)
    forwards.wait_for(2)
    assert forwards.seen()[1] == ["urgent0", "urgent1", "urgent2", *map(str, range(100, 197))]
    forwards.let(2)
    # Their answers are recorded before the next forward, which waits for its gate, ends.
    assert [task.get(timeout=GET_S) for task in urgent] == ["urgent0", "urgent1", "urgent2"]
    assert not chunk.ready()
    forwards.let("all")
    assert chunk.get(timeout=GET_S) == list(range(1000))


def test_a_realtime_row_runs_after_any_forward_of_a_long_message(
    client: Celery, start: Any, forwards: Forwards
) -> None:
    """Not only after the first one."""
    start("--cpus", "1", model="gated_100.py:Model")
    chunk = client.send_task("mlq.batch_predict", [list(range(500))], queue="batch")
    for number in (1, 2, 3):
        forwards.wait_for(number)
        client.send_task("mlq.predict", [f"urgent{number}"], queue="realtime")
        forwards.let(number)
    forwards.let("all")
    assert chunk.get(timeout=GET_S) == list(range(500))
    assert [rows[0] for rows in forwards.seen()[:4]] == ["0", "urgent1", "urgent2", "urgent3"]


def test_batch_rows_do_not_overtake_a_chunk_of_their_own_queue(
    client: Celery, start: Any, forwards: Forwards, broker: str
) -> None:
    """Between two forwards only more urgent rows are claimed. The others stay in the queue for an idle worker."""
    start("--cpus", "1", model="gated_100.py:Model")
    chunk = client.send_task("mlq.batch_predict", [list(range(300))], queue="default")
    forwards.wait_for(1)
    later = client.send_task("mlq.predict", ["later"], queue="batch")
    forwards.let(1)
    forwards.wait_for(2)
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://")) as redis:
        assert redis.llen("batch") == 1
    forwards.let("all")
    assert later.get(timeout=GET_S) == "later"
    assert chunk.get(timeout=GET_S) == list(range(300))
    assert forwards.seen()[-1] == ["later"]
