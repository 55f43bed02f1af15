"""The results of a job's chunks are recorded in one place, and once."""

from __future__ import annotations

from typing import Any

from redis import Redis

from mlq.broker.script import Script, Word
from mlq.protocol import job_result, keys
from mlq.protocol.job_result import KEPT_S, ChunkResult, JobChunkRef
from mlq.store.jobs import job_results


def record_end(redis: Redis, chunk: int, *results: bytes) -> None:
    """Record a chunk's result."""
    job_results.file(redis, job_result.answer_of(JobChunkRef("j", chunk, 2), ChunkResult("SUCCESS", results)))


def test_a_chunk_that_ran_twice_counts_once(redis: Redis) -> None:
    """The first result stands, even if it was collected long ago."""
    record_end(redis, 0, b"1", b"2")
    record_end(redis, 0, b"8", b"9")
    entries: Any = redis.xrange(keys.ends("j"))
    ((entry, fields),) = entries
    assert job_result.read(fields[b"end"]).results == [b"1", b"2"]
    redis.xdel(keys.ends("j"), entry)
    record_end(redis, 0, b"8", b"9")
    record_end(redis, 1, b'{"mlq.error":{}}', b"2")
    assert redis.xlen(keys.ends("j")) == 1
    assert redis.hgetall(f"{keys.ends('j')}:tally") == {b"ok": b"3", b"failed": b"1"}
    for key in redis.keys("*"):
        assert 0 < redis.ttl(key) <= KEPT_S


def test_a_result_with_the_wrong_number_of_rows_counts_as_failed(redis: Redis) -> None:
    """It is unknown which row each of its values belongs to."""
    record_end(redis, 0, b"1")
    assert redis.hgetall(f"{keys.ends('j')}:tally") == {b"ok": b"0", b"failed": b"2"}


def test_a_chunk_is_sent_once_in_order_and_by_one_sender(redis: Redis) -> None:
    """A chunk number never stands for two chunks: rows would get the answers of other rows."""
    send = Script("jobs/send")
    redis.hset(keys.job("j"), "sender", "me")

    def send_chunk(sender: str, chunk: int) -> bytes:
        words: list[Word] = [sender, chunk, "record", 2, 0, 60, "message"]
        reply: bytes = send(redis, [keys.job("j"), keys.chunks("j"), "batch"], words)
        return reply

    assert send_chunk("me", 0) == b"SENT"
    assert send_chunk("me", 0) == b"AGAIN"
    assert send_chunk("me", 2) == b"EARLY"
    assert send_chunk("another", 1) == b"TAKEN"
    assert send_chunk("me", 1) == b"SENT"
    assert redis.llen("batch") == 2
