"""The ends of a job's chunks are filed in one place, and once."""

from __future__ import annotations

from typing import Any

from redis import Redis

from mlq.broker.script import Script, Word
from mlq.protocol import job_result, keys
from mlq.protocol.job_result import KEPT_S, ChunkResult, JobChunkRef
from mlq.store.jobs import job_results


def end(redis: Redis, chunk: int, *results: bytes) -> None:
    """File a chunk's end."""
    job_results.file(redis, job_result.answer_of(JobChunkRef("j", chunk, 2), ChunkResult("SUCCESS", results)))


def test_a_chunk_that_ran_twice_counts_once(redis: Redis) -> None:
    """The first end stands, also when it was collected long ago."""
    end(redis, 0, b"1", b"2")
    end(redis, 0, b"8", b"9")
    entries: Any = redis.xrange(keys.ends("j"))
    ((entry, fields),) = entries
    assert job_result.read(fields[b"end"]).results == [b"1", b"2"]
    redis.xdel(keys.ends("j"), entry)
    end(redis, 0, b"8", b"9")
    end(redis, 1, b'{"mlq.error":{}}', b"2")
    assert redis.xlen(keys.ends("j")) == 1
    assert redis.hgetall(f"{keys.ends('j')}:tally") == {b"ok": b"3", b"failed": b"1"}
    for key in redis.keys("*"):
        assert 0 < redis.ttl(key) <= KEPT_S


def test_an_end_of_the_wrong_length_counts_as_failed(redis: Redis) -> None:
    """Nobody can tell which row an answer is of."""
    end(redis, 0, b"1")
    assert redis.hgetall(f"{keys.ends('j')}:tally") == {b"ok": b"0", b"failed": b"2"}


def test_a_chunk_is_sent_once_in_order_and_by_one_sender(redis: Redis) -> None:
    """A number never stands for two chunks: rows would be given each other's answers."""
    send = Script("jobs/send")
    redis.hset(keys.job("j"), "sender", "me")

    def say(sender: str, chunk: int) -> bytes:
        words: list[Word] = [sender, chunk, "record", 2, 0, 60, "message"]
        reply: bytes = send(redis, [keys.job("j"), keys.chunks("j"), "batch"], words)
        return reply

    assert say("me", 0) == b"SENT"
    assert say("me", 0) == b"AGAIN"
    assert say("me", 2) == b"EARLY"
    assert say("another", 1) == b"TAKEN"
    assert say("me", 1) == b"SENT"
    assert redis.llen("batch") == 2
