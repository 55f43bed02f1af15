"""Nested JSON that is deep enough to fail a parser or a writer, in every place where a worker reads a client's JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import psutil
import pytest
from celery import Celery
from hypothesis import given, settings
from hypothesis import strategies as st
from kombu import Exchange, Producer
from redis import Redis

from chaos.stock_client import stock_client
from mlq.model.failure import ModelError
from mlq.model.outputs import answers
from mlq.protocol import keys
from mlq.protocol.json_text import MOST_LEVELS, MOST_LEVELS_OF_AN_ANSWER, is_deeper
from tests import rabbitmq
from tests.conftest import Running, Start, User
from tests.rabbitmq import RabbitServer

DEPTHS: Final = (240, 260, 900, 1020, 2000, 200_000)
"""orjson writes 254 levels and reads 1,024, Python's json fails at a depth between: each limit ended a worker."""

VALUE: Final = st.recursive(
    st.none() | st.text() | st.sampled_from(["[" * 300, '"]', "\\", '\\"[[[', "{}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


def nested_list(depth: int) -> str:
    """Return a list nested this many levels deep."""
    return "[" * depth + "]" * depth


def message(task_id: str, body: str, headers: str = "") -> str:
    """Return a message of Celery's protocol as text, because json.dumps would refuse it."""
    return (
        f'{{"body": {json.dumps(body)}, "content-encoding": "utf-8", "content-type": "application/json", "headers": '
        f'{{"lang": "py", "task": "mlq.predict", "id": "{task_id}", "root_id": "{task_id}", "parent_id": null, '
        f'"group": null, "argsrepr": "", "kwargsrepr": ""{headers}}}, "properties": {{"correlation_id": "{task_id}", '
        f'"reply_to": "r", "delivery_mode": 2, "delivery_info": {{"exchange": "", "routing_key": "realtime"}}, '
        f'"priority": 0, "delivery_tag": "{task_id}"}}}}'
    )


def attacks(depth: int) -> dict[str, str]:
    """Return a message for each place that may be nested, by its task's id."""
    deep = nested_list(depth)
    link = f'{{"task": "mlq.predict", "args": [{deep}], "kwargs": {{}}, "options": {{}}, "immutable": true}}'
    return {
        f"args-{depth}": message(f"args-{depth}", f"[[{deep}], {{}}, {{}}]"),
        f"job-{depth}": message(f"job-{depth}", f"[[{deep}], {{}}, {{}}]", ', "mlq_job": ["j", 0, null]'),
        f"header-{depth}": message(f"header-{depth}", "[[1], {}, {}]", f', "x": {deep}'),
        f"chain-{depth}": message(f"chain-{depth}", f'[[1], {{}}, {{"chain": {deep}}}]'),
        f"link-{depth}": message(f"link-{depth}", f'[[1], {{}}, {{"callbacks": [{link}]}}]'),
    }


def depth_of(value: Any) -> int:
    """Return the depth of a value by walking it; strings have no depth."""
    if isinstance(value, (list, dict)):
        return 1 + max(map(depth_of, value.values() if isinstance(value, dict) else value), default=0)
    return 0


@settings(deadline=None)
@given(VALUE, st.integers(0, 5))
def test_the_depth_of_a_text_is_measured_exactly(value: Any, levels: int) -> None:
    """Brackets in strings do not count: they are ordinary input for a language model."""
    assert is_deeper(json.dumps(value).encode(), levels) == (depth_of(value) > levels)


def test_the_limit_is_the_documented_one() -> None:
    """One level more is refused; a megabyte of brackets in a string is not."""
    assert not is_deeper(nested_list(MOST_LEVELS).encode())
    assert is_deeper(nested_list(MOST_LEVELS + 1).encode())
    assert not is_deeper(json.dumps({"prompt": "[{" * 500_000, "rows": [[1]] * 1000}).encode())


def test_an_answer_that_cannot_be_written_fails_only_its_row() -> None:
    """The set-up is a model that returns its row inside another list."""
    deep: Any = 1
    for _ in range(MOST_LEVELS_OF_AN_ANSWER):
        deep = [deep]
    fine, refused = answers([deep, {"row": deep}], 2)
    assert fine == deep
    assert isinstance(refused, ModelError)


def same_process(workers: Running, name: str) -> psutil.Process:
    """Return the worker's pid after a check that the process was not replaced."""
    return psutil.Process(workers.pids()[name])


@pytest.mark.server
def test_a_message_that_is_nested_too_deeply_is_a_dead_letter(
    user: User, client: Celery, start: Start, broker: str
) -> None:
    """Four of five such messages each ended the worker that took them, and their clients got no answer."""
    workers = start("--cpus", "1")
    before = same_process(workers, "cpu0")
    sent = {task_id: raw for depth in DEPTHS for task_id, raw in attacks(depth).items()}
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://")) as redis:
        for raw in sent.values():
            redis.lpush("realtime", raw)
        user.until(lambda: redis.zcard(keys.DEAD) == len(sent), "each message is a dead letter")
        for task_id in sent:
            if task_id.startswith(("args", "chain", "link")):
                assert b"nested deeper than 200 levels" in redis.get(f"celery-task-meta-{task_id}")
    assert client.send_task("mlq.predict", [7], queue="realtime").get(timeout=60)["row"] == 7
    assert same_process(workers, "cpu0") == before
    assert len(user.json("dead")["entries"]) == len(sent)
    assert user.run("dead", "show", user.json("dead")["entries"][0]["id"]).returncode == 0
    assert user.run("queues", "--all").returncode == 0


BROKEN: Final = (
    "{not json",
    "7",
    "[1, 2, 3]",
    "{}",
    '{"properties": 1}',
    message("half", "[[1], {}, {}]").replace('"delivery_tag": "half"', '"delivery_tag": 1'),
    message("tag", "[[1], {}, {}]").replace('"delivery_mode": 2', '"body_encoding": "base64"'),
    message("type", "[[1], {}, {}]").replace('"content-encoding": "utf-8"', '"content-encoding": {}'),
)
"""Each of these ended a prefork worker: kombu raised before Celery saw a message."""


@pytest.mark.server
def test_a_prefork_worker_survives_messages_that_cannot_be_read(
    user: User, client: Celery, start: Start, broker: str
) -> None:
    """A nested message ended each worker and went back to its queue, so no worker served that queue any more."""
    workers = start("--pool", "prefork", "--concurrency", "1")
    before = same_process(workers, "pool0")
    deep = {task_id: raw for depth in (900, 2000) for task_id, raw in attacks(depth).items()}
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://")) as redis:
        for raw in (*BROKEN, *deep.values()):
            redis.lpush("realtime", raw)
        assert client.send_task("mlq.predict", [7], queue="realtime").get(timeout=60)["row"] == 7
        user.until(lambda: not redis.exists("unacked") and not redis.llen("realtime"), "nothing is left")
        for task_id in deep:
            if task_id.startswith(("args", "chain", "link")):
                assert b"FAILURE" in redis.get(f"celery-task-meta-{task_id}")
    assert same_process(workers, "pool0") == before


@pytest.fixture
def node() -> Iterator[RabbitServer]:
    """Run a RabbitMQ server."""
    with rabbitmq.running() as server:
        yield server


@pytest.mark.server
@pytest.mark.timeout(300)
@pytest.mark.skipif(rabbitmq.missing() is not None, reason=str(rabbitmq.missing()))
def test_a_worker_on_rabbitmq_survives_nested_messages(
    user: User, start: Start, broker: str, node: RabbitServer
) -> None:
    """There Celery decodes the body, and the headers are not JSON."""
    user.environment |= {"MLQ_BROKER_URL": node.url(), "MLQ_STATE_URL": broker, "MLQ_RESULT_BACKEND": broker}
    workers = start("--cpus", "1")
    before = same_process(workers, "cpu0")
    with stock_client(node.url(), broker) as client:
        with client.connection_for_write() as connection:
            producer = Producer(connection, Exchange(""), routing_key="realtime")
            for depth in DEPTHS:
                for task_id, raw in attacks(depth).items():
                    envelope = json.loads(raw) if depth < 300 else {"headers": {"task": "mlq.predict", "id": task_id}}
                    body = f"[[{nested_list(depth)}], {{}}, {{}}]"
                    producer.publish(
                        body,
                        headers={k: v for k, v in envelope["headers"].items() if k != "x"},
                        content_type="application/json",
                        content_encoding="utf-8",
                        correlation_id=task_id,
                    )
        assert client.send_task("mlq.predict", [7], queue="realtime").get(timeout=60)["row"] == 7
    assert same_process(workers, "cpu0") == before
