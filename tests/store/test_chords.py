"""A part of a chord is counted in the step that ends its claim, also beside workers of other versions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import pytest
from redis import Redis

from mlq.protocol.message import Claim, ClaimLost
from mlq.protocol.result import Answer
from mlq.store.claims.claims import Claimed, ClaimLimit, Claims
from mlq.store.claims.completion import (
    BodyDue,
    BodyUndue,
    ChordAddition,
    ChordPart,
    Completed,
    Completion,
    Consequences,
    Successor,
    count_part,
    forget_chord,
)
from mlq.store.claims.leases import Leases

KEY = "celery-taskset-meta-g"
BODY = Successor("batch", b"the body")
SUFFIXES = "jtsdc"


@dataclass
class Chord:
    """A chord in Redis, and a worker that holds its parts."""

    redis: Redis
    worker: Claims

    def begin(self, size: int) -> None:
        """Write the number of parts, as a client does after it has sent all of them."""
        self.redis.set(f"{KEY}.s", size)

    def claim(self) -> Claim:
        """Take one message."""
        self.redis.lpush("default", b"{}")
        reply = self.worker.claim(ClaimLimit(rows=1), holding=["what it has"])
        assert isinstance(reply, Claimed)
        return reply.claims[0]

    def kept(self) -> list[bytes]:
        """Return the results of the parts that are kept for the body."""
        return cast("list[bytes]", self.redis.zrange(f"{KEY}.j", 0, -1))

    def left(self) -> list[str]:
        """Return the keys of the chord that still exist."""
        return [s for s in SUFFIXES if self.redis.exists(f"{KEY}.{s}")]


@pytest.fixture
def chord(redis: Redis) -> Chord:
    """Return a chord, and a worker with a lease."""
    Leases(redis, lease_ms=60_000).register("host:cpu0:1")
    return Chord(redis, Claims(redis, "host:cpu0:1", ("default", "batch"), ()))


def value(task: str, result: object) -> bytes:
    """Return what Celery keeps of a part."""
    return json.dumps([1, task, "SUCCESS", result]).encode()


def part(task: str, index: str = "0", result: object = 1, *, ordered: bool = True, db: int = 0) -> ChordPart:
    """Return a part that has ended."""
    known_by = value(task, None).partition(b', "SUCCESS"')[0]
    compose: Callable[[ChordPart, Completion], Consequences] = lambda *_: Consequences(successors=[BODY])  # noqa: E731
    return ChordPart(KEY, db, task, value(task, result), known_by, index, ordered, 600, 0, compose)


def ending(claim: Claim, *parts: ChordPart, additions: Sequence[ChordAddition] = ()) -> Completion:
    """Return the end of a claim that brings parts of chords."""
    answer = Answer(f"result-{parts[0].task_id}", b"done", 60)
    return Completion(claim, answer, others=Consequences(parts=list(parts), additions=list(additions)))


def test_the_last_part_ends_and_publishes_the_body_in_one_step(chord: Chord) -> None:
    """Whether a part is the last one is known only when it is counted.

    Until the body is published, nothing has changed.
    """
    chord.begin(2)
    assert chord.worker.complete(ending(chord.claim(), part("a", "0"))) == Completed()
    last = part("b", "1")
    end = ending(chord.claim(), last)
    assert chord.worker.complete(end) == BodyDue(last)
    assert (chord.kept(), chord.redis.exists("result-b")) == ([value("a", 1)], 0)
    last.body = last.compose(last, end)
    assert chord.worker.complete(end) == Completed()
    assert (chord.redis.lrange("batch", 0, -1), chord.redis.get("result-b")) == ([BODY.raw], b"done")
    assert chord.left() == []
    assert chord.worker.complete(end) == ClaimLost()
    assert chord.redis.llen("batch") == 1


def test_a_worker_that_was_declared_dead_does_not_count_its_part(chord: Chord, redis: Redis) -> None:
    """By then another worker runs the part, and the end of that run counts."""
    chord.begin(1)
    end = ending(chord.claim(), part("a"))
    Leases(redis, lease_ms=60_000).reap("host:cpu0:1", to="head")
    assert chord.worker.complete(end) == ClaimLost()
    assert chord.left() == ["s"]


def test_parts_that_end_before_their_number_is_known_are_counted(chord: Chord) -> None:
    """The client writes the number of parts after it has sent the last part."""
    assert chord.worker.complete(ending(chord.claim(), part("a", "0"))) == Completed()
    chord.begin(2)
    last = part("b", "1")
    assert chord.worker.complete(ending(chord.claim(), last)) == BodyDue(last)


def test_parts_that_share_an_index_are_all_counted(chord: Chord) -> None:
    """A part that is added later has the index of the part that adds it.

    The parts of a nested group share one index.
    """
    chord.begin(3)
    for task in ("a", "b"):
        assert chord.worker.complete(ending(chord.claim(), part(task, "7"))) == Completed()
    last = part("c", "+inf")
    assert chord.worker.complete(ending(chord.claim(), last)) == BodyDue(last)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("result", ["the same", "another"])
def test_a_part_that_a_dead_worker_of_another_version_counted_is_counted_once(
    chord: Chord, result: str, *, ordered: bool
) -> None:
    """Celery and older versions of mlq count a part before its end is recorded.

    If such a part runs twice, the recorded run counts.
    """
    chord.begin(2)
    first = value("a", "the same")
    if ordered:
        chord.redis.zadd(f"{KEY}.j", {first: 0})
    else:
        chord.redis.rpush(f"{KEY}.j", first)
    assert chord.worker.complete(ending(chord.claim(), part("a", "0", result, ordered=ordered))) == Completed()
    kept = chord.kept() if ordered else chord.redis.lrange(f"{KEY}.j", 0, -1)
    assert kept == [value("a", result)]


def test_a_part_that_celery_5_7_counted_is_counted_once(chord: Chord) -> None:
    """Celery 5.7 keeps the parts in a set, and finds the parts that mlq counted there."""
    chord.begin(2)
    chord.redis.zadd(f"{KEY}.j", {value("a", 1): 0})
    chord.redis.sadd(f"{KEY}.d", "a:0")
    assert chord.worker.complete(ending(chord.claim(), part("a", "0", 2))) == Completed()
    assert chord.kept() == [value("a", 2)]
    last = part("b", "1")
    assert chord.worker.complete(ending(chord.claim(), last)) == BodyDue(last)
    assert chord.redis.smembers(f"{KEY}.d") == {b"a:0"}


def test_a_last_part_that_runs_again_publishes_the_body_unless_another_worker_is_about_to(chord: Chord) -> None:
    """Its first worker may have counted it and died before it published the body.

    Or the worker of another part is about to publish it.
    """
    chord.begin(2)
    chord.redis.zadd(f"{KEY}.j", {value("a", 1): 0, value("b", 1): 1})
    again = part("a", "0")
    end = ending(chord.claim(), again)
    assert chord.worker.complete(end) == BodyDue(again)
    chord.redis.set(f"{KEY}.c", "the token of a worker that runs Celery 5.7")
    assert chord.worker.complete(end) == Completed()


def test_a_body_is_not_published_for_a_chord_that_has_grown_or_has_ended(chord: Chord) -> None:
    """The chord may have changed since the completion was composed, so the script decides."""
    chord.begin(1)
    last = part("a")
    end = ending(chord.claim(), last)
    last.body = last.compose(last, end)
    chord.redis.incr(f"{KEY}.t")
    assert chord.worker.complete(end) == BodyUndue(last)
    chord.redis.delete(f"{KEY}.s")
    assert chord.worker.complete(end) == BodyUndue(last)
    last.body = None
    assert chord.worker.complete(end) == Completed()
    assert not chord.redis.exists("batch")


def test_the_kept_results_of_a_failed_chord_stay(chord: Chord) -> None:
    """Clients look there for the parts that succeeded. The body is not failed or published a second time."""
    chord.begin(2)
    chord.worker.complete(ending(chord.claim(), part("a", "0")))
    last = part("b", "1")
    last.body = Consequences(answers=[Answer("result-body", b"failed", 60)], has_failed=True)
    assert chord.worker.complete(ending(chord.claim(), last)) == Completed()
    assert (chord.kept(), chord.left()) == ([value("a", 1), value("b", 1)], ["j", "d"])
    assert chord.worker.complete(ending(chord.claim(), part("b", "1"))) == Completed()


def test_several_parts_may_end_with_one_claim(chord: Chord) -> None:
    """A chain that fails ends all its tasks, and each of them may be a part of the same chord."""
    chord.begin(2)
    first, last = part("a", "0"), part("b", "1")
    end = ending(chord.claim(), first, last)
    assert chord.worker.complete(end) == BodyDue(last)
    last.body = last.compose(last, end)
    assert chord.worker.complete(end) == Completed()
    assert (chord.redis.llen("batch"), chord.left()) == (1, [])


def test_a_chord_that_ends_another_chord_is_counted_in_the_same_step(chord: Chord) -> None:
    """A body that fails may be a part of another chord. Both ends are recorded, or neither."""
    chord.begin(1)
    inner = part("a")
    outer = ChordPart("outer", 0, "body", b'[1, "body"]', b'[1, "body"', "0", True, 600, 0, inner.compose)  # noqa: FBT003
    chord.redis.set("outer.s", 1)
    end = ending(chord.claim(), inner)
    assert chord.worker.complete(end) == BodyDue(inner)
    inner.body = Consequences(answers=[Answer("result-body", b"failed", 60)], parts=[outer])
    assert chord.worker.complete(end) == BodyDue(outer)
    assert not chord.redis.exists("result-a", "result-body")
    outer.body = Consequences(successors=[BODY])
    assert chord.worker.complete(end) == Completed()
    assert chord.redis.exists("result-a", "result-body") == 2
    assert (chord.redis.llen("batch"), chord.left(), chord.redis.keys("outer*")) == (1, [], [])


def test_a_chord_grows_with_the_end_of_the_part_that_adds_one(chord: Chord) -> None:
    """The growth and the message of the added part are one step.

    A chord that grew without that message would wait without end.
    """
    chord.begin(1)
    adder = part("a")
    end = ending(chord.claim(), adder, additions=[ChordAddition(KEY, 0)])
    assert chord.worker.complete(end) == Completed()
    assert chord.redis.get(f"{KEY}.t") == b"1"
    last = part("b", "0")
    assert chord.worker.complete(ending(chord.claim(), last)) == BodyDue(last)


def test_kept_results_of_a_chord_expire_like_other_results(chord: Chord) -> None:
    """Nothing stays of a chord that never completes."""
    chord.begin(2)
    chord.worker.complete(ending(chord.claim(), part("a")))
    assert all(0 < int(chord.redis.ttl(f"{KEY}.{suffix}")) <= 600 for suffix in "jsd")


def test_chords_are_counted_in_the_database_of_the_results(chord: Chord, redis: Redis) -> None:
    """Messages and claims may be in another database of the same server."""
    here = redis.connection_pool.connection_kwargs.get("db") or 0
    chord.worker.complete(ending(chord.claim(), part("a", db=here + 1)))
    assert chord.left() == []
    redis.select(here + 1)
    assert chord.left() == ["j", "d"]
    redis.select(here)


@pytest.mark.parametrize("ordered", [True, False])
def test_on_a_separate_results_server_a_part_that_runs_again_is_the_last_again_and_no_other_is(
    chord: Chord, *, ordered: bool
) -> None:
    """On another server a part is counted before its claim ends.

    The body is published once, even if a worker dies between these two steps.
    """
    chord.begin(2)
    first, last = part("a", "0", ordered=ordered), part("b", "1", ordered=ordered)
    assert not count_part(chord.redis, first)
    assert count_part(chord.redis, last)
    assert not count_part(chord.redis, first), "its worker died; the body is the other one's to publish"
    assert count_part(chord.redis, last), "its worker died with the body"
    forget_chord(chord.redis, last)
    assert chord.left() == []
    assert not count_part(chord.redis, last)
