"""Texts of exceptions may contain a row: if they are withheld, no log, result or dead letter contains one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
from celery import Celery, chord
from celery.result import AsyncResult
from redis import Redis

from tests.conftest import Start, User

CANARY: Final = "canary-7d21aa"

OWN: Final = """
from celery import shared_task
from celery.exceptions import Reject

SECRET = "-".join(("canary", "7d21aa"))  # a traceback shows the lines of the source

@shared_task(name="own.raises")
def raises():
    try:
        raise KeyError(SECRET)
    except KeyError as exc:
        raise ValueError(SECRET) from exc

@shared_task(name="own.retries", bind=True, max_retries=1)
def retries(self):
    raise self.retry(exc=ValueError(SECRET), countdown=0)

@shared_task(name="own.again", autoretry_for=(ValueError,), max_retries=1, retry_backoff=False, default_retry_delay=0)
def again():
    raise ValueError(SECRET)

@shared_task(name="own.memory")
def memory():
    raise MemoryError(SECRET)

@shared_task(name="own.rejects")
def rejects():
    raise Reject(ValueError(SECRET), requeue=False)

@shared_task(name="own.add")
def add(x, y=0):
    return x
"""

MODEL: Final = """
SECRET = "-".join(("canary", "7d21aa"))

class Model:
    max_batch_size = 4

    def predict(self, rows):
        return [ValueError(SECRET) if row == "slot" else self.answer(row) for row in rows]

    def answer(self, row):
        if row == "raise":
            raise LookupError(SECRET)
        if row == "passing":
            raise TimeoutError(SECRET)
        return row
"""


def read_all(redis: Redis) -> bytes:
    """Read all keys of Redis, of any type."""
    found = []
    for key in redis.scan_iter():
        found += [key, redis.dump(key) or b"", redis.get(key) if redis.type(key) == b"string" else b""]
        if redis.type(key) == b"hash":
            found += [part for pair in redis.hgetall(key).items() for part in pair]
        if redis.type(key) == b"stream":
            found += [json.dumps(str(redis.xrange(key))).encode()]
    return b"\n".join(part for part in found if part)


def fail_in_every_way(client: Celery) -> list[AsyncResult[Any]]:
    """Cause each kind of failure, and return the results that will arrive."""
    sent = [
        client.send_task("mlq.predict", ["raise"]),
        client.send_task("mlq.predict", ["slot"]),
        client.send_task("mlq.predict", ["slot"], expires=600),
        client.send_task("mlq.batch_predict", [["slot", "fine", "raise"]]),
        *(client.send_task(f"own.{name}") for name in ("raises", "retries", "again", "memory", "rejects")),
    ]
    header = [client.signature("own.raises"), client.signature("own.add", (1,))]
    return [*sent, chord(header, app=client)(client.signature("own.add", (2,)))]


@pytest.mark.server
@pytest.mark.parametrize(
    "pool", [["--cpus", "1"], ["--pool", "prefork", "--concurrency", "1"]], ids=["solo", "prefork"]
)
def test_a_withheld_text_is_nowhere(
    user: User, client: Celery, start: Start, broker_redis: Redis, pool: list[str]
) -> None:
    """Not in results, retries, chord errors, tracebacks, job answers, dead letters or logs.

    The types of the errors are.
    """
    user.write("own.py", OWN)
    user.write("secretive.py", MODEL)
    options = {"MLQ_WORKER_IMPORTS": "own", "MLQ_WORKER_ERROR_TEXTS": "withhold"}
    workers = start(*pool, "--verbose", model="secretive.py:Model", **options)
    user.write("rows.jsonl", '"slot"\n"fine"\n"raise"\n')
    user.run("submit", "rows.jsonl", "--wait", "-o", "out.jsonl")
    sent = fail_in_every_way(client)
    answers = []
    for result in sent:
        if result is sent[-2] and "prefork" in pool:  # stock Celery stores no result of a task that rejects
            continue
        answers.append(result.get(timeout=60, propagate=False))
    kinds = [type(answer).__name__ for answer in answers]
    assert kinds[:3] == ["LookupError", "ValueError", "ValueError"]
    assert [row["mlq.error"]["type"] for row in (answers[3][0], answers[3][2])] == ["ValueError", "LookupError"]
    assert kinds[4:8] == ["ValueError", "ValueError", "ValueError", "MemoryError"]
    assert client.send_task("mlq.predict", ["fine"]).get(timeout=60) == "fine"
    logs = "".join(path.read_text() for path in Path(user.state).rglob("*.log"))
    output = (user.directory / "out.jsonl").read_text()
    for place, text in {"log": "\n".join(workers.lines), "files": logs, "output": output}.items():
        assert "withheld" in text or place == "log"
        assert CANARY not in text, place
    assert CANARY.encode() not in read_all(broker_redis)
