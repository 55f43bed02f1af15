"""Claims: how one worker claims messages, completes them and gives them back.

At every moment a message is in one place: a queue, a claim, the delay list, the dead letters, or completed.
Each method is one Lua script, so no client sees a half-done change, and no crash leaves one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from mlq.broker import key_types
from mlq.broker.key_types import Misplaced
from mlq.broker.script import Call, Script, Word
from mlq.protocol import keys
from mlq.protocol.keys import PriorityOrder, queue_keys
from mlq.protocol.message import Claim, ClaimLost, parse_claim
from mlq.protocol.result import Answer
from mlq.store.claims.completion import (
    BodyDue,
    BodyUndue,
    ChordPart,
    Completed,
    Completion,
    Consequences,
    answer_words,
    complete_call,
    part_words,
)

if TYPE_CHECKING:
    from redis import Redis

Ended: TypeAlias = Completed | ClaimLost | BodyDue | BodyUndue
"""The result of a completion."""

Side: TypeAlias = Literal["head", "tail"]
"""An end of a queue: the message at the head is served next, the message at the tail last."""

_WATCH_MS: Final = 7500
"""A watcher that has not claimed for this long is replaced. It claims every three seconds and so keeps its role."""

_claim: Final = Script("claims/claim")
_complete: Final = Script("claims/complete")
_progress: Final = Script("claims/progress")
_release: Final = Script("claims/release")
_unsendable: Final = Script("claims/unsendable")

_END_BYTES: Final = 4096
"""Bytes to read from each end of a message that is too large to be sent whole: one of the ends has the headers."""


def _run_progress(redis: Redis, *, claims: str, claim_id: str, answer: Sequence[Word]) -> bool:
    return bool(_progress(redis, [claims], [claim_id, *answer]))


def run_release(redis: Redis, *, claims: str, side: Side, claim_ids: Collection[str]) -> int:
    """Run release.lua, which puts these claims back on their queues, or without ids all claims; return their number."""
    return int(_release(redis, [claims], [side, *claim_ids]))


def _run_unsendable(redis: Redis, *, claims: str, end_bytes: int, holding: Collection[str]) -> list[Any]:
    found: list[Any] = _unsendable(redis, [claims], [end_bytes, *holding])
    return found


@dataclass(frozen=True)
class ClaimLimit:
    """The most that a worker claims at once."""

    rows: int
    """Rows of one batch."""

    bytes: int = 16 * 1024 * 1024
    """Bytes of all messages together, which the worker keeps in memory."""

    batch_rows: int = 1
    """Rows to count for a `mlq.batch_predict` message of a stock client, which does not say how many it has."""

    wait_s: float = 0.0
    """Seconds that the rows of a partial batch wait for more rows."""


@dataclass(frozen=True)
class Claimed:
    """Messages that this worker has claimed."""

    claims: tuple[Claim, ...]
    """In the order in which they are to run."""

    misplaced: tuple[str, ...] = ()
    """Keys that have another Redis type than expected; the script skipped them."""


@dataclass(frozen=True)
class QueueEmpty:
    """No message waits. Among the idle workers that serve the same queues, exactly one is chosen to watch them.

    The watcher calls EXISTS with `Claims.watched` on a tracking connection, claims again if a key exists, and
    otherwise waits for Redis to push a change. The other workers wait in BRPOP on `Claims.bell`.
    """

    watch: bool
    """True if this worker is the watcher."""

    misplaced: tuple[str, ...] = ()
    """As in `Claimed`."""


_WATCHER: Final = QueueEmpty(watch=True)
_NOT_WATCHER: Final = QueueEmpty(watch=False)


@dataclass(frozen=True)
class LeaseLost:
    """The worker has lost its lease: other workers run its messages now, and it must exit."""


@dataclass(frozen=True)
class Recorded:
    """The state is stored; the worker keeps the claim."""


@dataclass(frozen=True)
class Released:
    """The message is back on its queue."""


@dataclass(frozen=True)
class Unsendable:
    """A message that is too large for one reply of the server."""

    claim: Claim
    """Its `raw` has only the headers of the message."""

    bytes: int
    """Size of the whole message."""


class Claims:
    """The claims of one process of a worker.

    Args:
        redis: A client that returns bytes and selects the broker's database.
        wid: The id of the worker process.
        queues: The queues that the worker serves, the most urgent first.
        together: Names of the tasks that may share a batch.
        priority_order: Which of the lists of a queue is served first.
    """

    def __init__(
        self,
        redis: Redis,
        wid: str,
        queues: Sequence[str],
        together: Collection[str],
        priority_order: PriorityOrder = "mlq",
    ) -> None:
        self._redis = redis
        self.wid = wid
        self.queues = tuple(queues)
        self.together = tuple(together)
        self._priority_order = priority_order
        self._key = keys.claims(wid)
        self._calls = count(1)
        self.bell = keys.bell(queues)

    @property
    def watched(self) -> list[str]:
        """The keys to watch for new work: every list of every queue, and the set of paused queues."""
        return [key for queue in self.queues for key in queue_keys(queue)] + [keys.PAUSED]

    def claim(
        self, room: ClaimLimit, *, holding: Collection[str] = (), order: Sequence[str] | None = None
    ) -> Claimed | QueueEmpty | LeaseLost:
        """Claim messages, queue by queue.

        A worker that already holds a claim is not idle: it never becomes the watcher and never gets a suspect. A worker
        that holds a suspect must not claim until the suspect is completed.

        Args:
            room: The most to claim.
            holding: The claims that the worker knows. Any other claim recorded for it is returned again, because the
                reply that returned it the first time was lost.
            order: The queues in another order than usual, which shares between queues may demand.
        """
        queues = self.queues if order is None else order
        call = self._claim_call(room=room, watch_ms=0 if holding else _WATCH_MS, queues=queues, holding=holding)
        verdict, *rest = _claim(self._redis, *call)
        if verdict == b"FENCED":
            return LeaseLost()
        if verdict == b"TAKEN":
            return Claimed(tuple(map(parse_claim, rest[0])), tuple(key.decode() for key in rest[1:]))
        empty = _WATCHER if verdict == b"WATCH" else _NOT_WATCHER
        return QueueEmpty(empty.watch, tuple(key.decode() for key in rest)) if rest else empty

    def describe_key(self, key: str) -> Misplaced | None:
        """Return what is wrong with a key of another Redis type than expected; None for the expected type."""
        return key_types.describe(self._redis, key)

    def explain(self, exc: Exception) -> str:
        """Return the text of an error, with the key that caused it if the key has another type than expected."""
        return key_types.explain(self._redis, exc, tuple(self.watched))

    def find_unsendable(self, holding: Collection[str]) -> Unsendable | None:
        """Return the oldest claim of this worker whose message never arrived; `holding` are those that did."""
        found = _run_unsendable(self._redis, claims=self._key, end_bytes=_END_BYTES, holding=holding)
        if not found:
            return None
        claim_id, at_ms, queue_key, size, beginning, end = found
        return Unsendable(Claim(claim_id.decode(), queue_key.decode(), at_ms, _without_body(beginning, end)), size)

    def complete(self, completion: Completion) -> Ended:
        """Store the result of a claim, publish what follows from it, and end the claim, in one step.

        A second caller gets `ClaimLost`, and so does a worker that was declared dead: complete.lua looks for the
        claim first, so neither can overwrite a result, or complete a message that another worker now runs.

        With `BodyDue` and `BodyUndue` nothing was changed, because a part of a chord turned out to be its last, or not
        to be its last. The caller composes the body of that part, or removes it, and completes again.
        """
        return _ended(completion, _complete(self._redis, *self._complete_call(completion)))

    def complete_all(self, completions: Sequence[Completion]) -> list[Ended]:
        """Complete a batch in one round trip.

        If the reply was lost, the batch can be sent again: completions that were recorded return `ClaimLost`.
        """
        replies = _complete.batch(self._redis, map(self._complete_call, completions))
        return [*map(_ended, completions, replies)]

    def record(self, claim: Claim, state: Answer) -> Recorded | ClaimLost:
        """Store an intermediate state of a task; it never overwrites a final one."""
        answer = answer_words(self._redis, state)
        is_stored = _run_progress(self._redis, claims=self._key, claim_id=claim.id, answer=answer)
        return Recorded() if is_stored else ClaimLost()

    def release(self, claim: Claim, to: Side) -> Released | ClaimLost:
        """Put a claim's message back on its queue, once."""
        return Released() if self.release_many([claim], to) else ClaimLost()

    def release_many(self, claims: Collection[Claim], to: Side) -> int:
        """Put several messages back in one step, in their old order; return their number."""
        if not claims:  # Without ids the script releases all claims of the worker.
            return 0
        return run_release(self._redis, claims=self._key, side=to, claim_ids=[claim.id for claim in claims])

    def release_all(self, to: Side) -> int:
        """Put back every message that is recorded for this worker, including claims whose reply was lost."""
        return run_release(self._redis, claims=self._key, side=to, claim_ids=())

    def _claim_call(self, *, room: ClaimLimit, watch_ms: int, queues: Sequence[str], holding: Collection[str]) -> Call:
        """Return the keys and arguments of claim.lua, in the order of its contract."""
        script_keys = [
            keys.LEASES,
            self._key,
            keys.CLAIM_SERIAL,
            keys.CRASHES,
            keys.PAUSED,
            keys.WATCHES,
            self.bell,
            *[key for queue in queues for key in queue_keys(queue, self._priority_order)],
        ]
        words: list[Word] = [
            self.wid,
            next(self._calls),
            room.rows,
            room.bytes,
            room.batch_rows,
            watch_ms,
            len(queues),
            len(self.together),
            *queues,
            *self.together,
            *holding,
        ]
        return script_keys, words

    def _complete_call(self, completion: Completion) -> Call:
        claim, redis = completion.claim, self._redis
        digest = claim.digest if claim.is_suspect else ""
        own = answer_words(redis, completion.answer)
        successors = [word for s in completion.successors for word in (s.queue_key, s.raw)]
        if completion.others is None:
            return complete_call(claims=self._key, claim_id=claim.id, digest=digest, answers=own, successors=successors)
        found = list(completion.consequences())
        return complete_call(
            claims=self._key,
            claim_id=claim.id,
            digest=digest,
            answers=[*own, *(word for c in found for a in c.answers for word in answer_words(redis, a))],
            additions=[word for c in found for a in c.additions for word in (a.db, a.key)],
            parts=[word for part in _parts_of(found) for word in part_words(part)],
            successors=successors + [word for c in found for s in c.successors for word in (s.queue_key, s.raw)],
        )


def _parts_of(found: Iterable[Consequences]) -> list[ChordPart]:
    return [part for consequences in found for part in consequences.parts]


_COMPLETED: Final = Completed()


def _ended(completion: Completion, reply: Any) -> Ended:
    """Read the reply of complete.lua.

    1 is completed and 0 lost; 2 + i means that part i is the last of its chord, -1 - i that it is not.
    """
    if reply in {0, 1}:
        return _COMPLETED if reply else ClaimLost()
    parts = _parts_of(completion.consequences())
    return BodyDue(parts[reply - 2]) if reply > 1 else BodyUndue(parts[-reply - 1])


def _without_body(beginning: bytes, end: bytes) -> bytes:
    """Return an envelope with the headers alone: messages of mlq begin with them, in kombu's they follow the body."""
    head, body, _ = beginning.partition(b',"body"')
    if body:
        return head + b"}"
    return b"{" + end[end.find(b'"headers"') :] if b'"headers"' in end else b"{}"
