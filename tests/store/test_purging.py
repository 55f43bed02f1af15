"""Purging a queue also removes what is kept about the dropped messages."""

from __future__ import annotations

import hashlib

from redis import Redis

from mlq.broker.embedded import Server
from mlq.jobs.purge import purge
from mlq.protocol import keys
from mlq.protocol.keys import queue_key
from mlq.settings import config


def test_a_dropped_message_is_no_longer_a_suspect(server: Server, redis: Redis) -> None:
    """Otherwise its entry would stay without end.

    The queue has more messages than a page, with several priorities; the suspect of another queue stays one.
    """
    sent = [b"message %d" % n for n in range(250)]
    for n, raw in enumerate(sent):
        redis.lpush(queue_key("batch", 9 if n % 2 else 0), raw)
    redis.lpush("realtime", b"theirs")
    for raw in (sent[3], sent[200], b"theirs"):
        redis.hset(keys.CRASHES, hashlib.sha1(raw, usedforsecurity=False).hexdigest(), 2)
    assert purge(config.load({"MLQ_BROKER_URL": server.url}), "batch") == 250
    assert redis.hkeys(keys.CRASHES) == [hashlib.sha1(b"theirs", usedforsecurity=False).hexdigest().encode()]
    assert redis.llen("realtime") == 1
