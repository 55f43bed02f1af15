"""The inference as a dramatiq actor.

dramatiq benchmarks.rivals.dramatiq_actors --processes 1 --threads 1
"""

from __future__ import annotations

import os
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks import model

_URL = os.environ["BENCH_BROKER"]
broker = RedisBroker(url=_URL)  # type: ignore[no-untyped-call]
broker.add_middleware(Results(backend=RedisBackend(url=_URL)))  # type: ignore[no-untyped-call]
dramatiq.set_broker(broker)

_answer = model.answering(os.environ["BENCH_MODEL"])


@dramatiq.actor(queue_name="realtime", store_results=True)
def predict(row: Any) -> Any:
    """Answer one row."""
    return _answer([row])[0]
