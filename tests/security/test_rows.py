"""Rows of a message: no number of a client decides how much a worker allocates, and every client gets an answer."""

from __future__ import annotations

import base64
import tracemalloc
from collections.abc import Iterator
from typing import Any, Final

import psutil
import pytest
from celery import Celery

from chaos.stock_client import stock_client
from mlq.protocol.packing import MOST_ROWS, rows_in
from tests import rabbitmq
from tests.conftest import Start, User
from tests.rabbitmq import RabbitServer

EIGHT: Final = base64.b64encode(bytes(8)).decode()
NAN: Final = float("nan")

WITHOUT_END: Final = {"dtype": "int64", "shape": [10**15, 0], "data": ""}
"""A message of 805 bytes, of which numpy makes an array. A worker took its rows until it had no memory left."""

NUMBERS: Final[list[Any]] = [1.0, True, "1", NAN, float("inf"), 10**400, None, [1]]
SHAPES: Final[list[Any]] = [[], "", {}, [-1], [-1, -1], [1, 0], None, 1, *([number] for number in NUMBERS)]
DTYPES: Final[list[Any]] = ["int8", "object", "O", "V1000000000", "", None, []]

BLOCKS: Final[list[Any]] = [
    WITHOUT_END,
    *({"dtype": "int64", "shape": shape, "data": EIGHT} for shape in SHAPES),
    {"dtype": "int64", "shape": [0, 10**15], "data": ""},
    {"dtype": "int64", "shape": [0, 0], "data": ""},
    {"dtype": "int64", "shape": [2**62, 4], "data": ""},  # the product is 0 as a number of 64 bits
    {"dtype": "int64", "shape": [1] * 100, "data": EIGHT},
    {"dtype": "int64", "shape": [2], "data": EIGHT},
    {"dtype": "int64", "shape": [1], "data": EIGHT + EIGHT},
    {"dtype": "int64", "shape": [1], "data": EIGHT[:-2]},  # truncated
    {"dtype": "int64", "shape": [1], "data": EIGHT[:-4] + "!!!="},
    {"dtype": "int64", "shape": [1], "data": "é" * 12},
    {"dtype": "int64", "shape": [1], "data": 12},
    *({"dtype": dtype, "shape": [1], "data": EIGHT} for dtype in DTYPES),
    {},
    [],
    "rows",
    None,
]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: str(block)[:60])
def test_inconsistent_packed_rows_are_refused_before_memory_is_allocated(block: Any) -> None:
    """The error names the number, so that the client's author finds it."""
    rows_in({"mlq.rows": {"dtype": "int64", "shape": [1], "data": EIGHT}})  # so that numpy is imported
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"mlq\.rows: "):
            rows_in({"mlq.rows": block})
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_packed_rows_of_other_writers_are_read() -> None:
    """They may have no rows, or fields of a later version."""
    assert len(rows_in({"mlq.rows": {"dtype": "float64", "shape": [0, 3], "data": ""}})) == 0
    assert list(rows_in({"mlq.rows": {"dtype": "int64", "shape": [1], "data": EIGHT, "order": "C"}})) == [0]


@pytest.mark.parametrize("rows", [[[]] * (MOST_ROWS + 1), {"mlq.rows": {"dtype": "int64", "shape": [MOST_ROWS + 1]}}])
def test_the_rows_of_one_message_are_counted(rows: Any) -> None:
    """Each row gets an answer: 30 MB of empty rows would become gigabytes."""
    if isinstance(rows, dict):
        rows["mlq.rows"]["data"] = base64.b64encode(bytes(8 * (MOST_ROWS + 1))).decode()
    with pytest.raises(ValueError, match="at most 65,536 rows in one message, not 65,537"):
        rows_in(rows)


def attack(client: Celery, workers: Any, name: str) -> None:
    """Send endless rows, and more rows than are allowed. The same process answers both, and then a valid message."""
    before = psutil.Process(workers.pids()[name])
    sent = [
        client.send_task("mlq.batch_predict", [{"mlq.rows": WITHOUT_END}], queue="realtime"),
        client.send_task("mlq.batch_predict", kwargs={"rows": {"mlq.rows": WITHOUT_END}}, queue="realtime"),
        client.send_task("mlq.batch_predict", [[[]] * 200_000], queue="realtime"),
    ]
    for result, error in zip(sent, ("mlq.rows: shape", "mlq.rows: shape", "at most 65,536 rows"), strict=True):
        with pytest.raises(ValueError, match=error):
            result.get(timeout=60)
    good = client.send_task("mlq.batch_predict", [[1, 2]], queue="realtime").get(timeout=60)
    assert [answer["row"] for answer in good] == [1, 2]
    assert before.is_running()
    assert workers.pids()[name] == before.pid
    assert before.memory_info().rss < 500 * 2**20


@pytest.mark.server
@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_a_worker_answers_endless_rows_and_lives(client: Celery, start: Start, pool: str) -> None:
    """One message of 805 bytes ended every worker that took it, one after the other."""
    if pool == "prefork":
        attack(client, start("--pool", "prefork", "--concurrency", "1"), "pool0")
    else:
        attack(client, start("--cpus", "1"), "cpu0")


@pytest.fixture
def node() -> Iterator[RabbitServer]:
    """Run a RabbitMQ server."""
    with rabbitmq.running() as server:
        yield server


@pytest.mark.server
@pytest.mark.timeout(300)
@pytest.mark.skipif(rabbitmq.missing() is not None, reason=str(rabbitmq.missing()))
def test_endless_rows_do_no_harm_on_rabbitmq(user: User, start: Start, broker: str, node: RabbitServer) -> None:
    """There Celery's own transport delivers the message."""
    user.environment |= {"MLQ_BROKER_URL": node.url(), "MLQ_STATE_URL": broker, "MLQ_RESULT_BACKEND": broker}
    with stock_client(node.url(), broker) as client:
        attack(client, start("--cpus", "1"), "cpu0")


@pytest.mark.server
def test_a_negative_number_of_retries_gives_no_more_retries(client: Celery, start: Start) -> None:
    """A task would get that many additional tries, five seconds apart."""
    start("--cpus", "1")
    numbers: list[Any] = [-(10**9), 2**40, True, 1.5]
    for retries in numbers:
        sent = client.send_task("mlq.predict", [1], queue="realtime", retries=retries)
        with pytest.raises(Exception, match="retries is"):
            sent.get(timeout=60)
    assert client.send_task("mlq.predict", [7], queue="realtime").get(timeout=60)["row"] == 7
