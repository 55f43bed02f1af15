"""Claims: how one worker takes messages, answers them and gives them back.

Every message is at every moment in one place: a queue, a claim, the delay list, the dead letters, or answered.
Each method here is one script, so nobody can see it in between or die in between.
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
from mlq.protocol.claim import Claim, ClaimLost, parse
from mlq.protocol.priorities import PriorityOrder, queue_keys
from mlq.protocol.result import Answer
from mlq.store.claims import chord_parts, stored_results
from mlq.store.claims.completion import BodyDue, BodyUndue, ChordPart, Completed, Completion, Consequences

if TYPE_CHECKING:
    from redis import Redis

Ended: TypeAlias = Completed | ClaimLost | BodyDue | BodyUndue
"""What came of a completion."""

Side: TypeAlias = Literal["head", "tail"]
"""The end of a queue: what is at its head is served next, what is at its tail last."""

_WATCH_MS: Final = 7500
"""How long a watcher is believed without a word. It looks every three seconds anyway, and so confirms its role."""

_claim: Final = Script("claims/claim")
_complete: Final = Script("claims/complete")
_progress: Final = Script("claims/progress")
_release: Final = Script("claims/release")
_unsendable: Final = Script("claims/unsendable")

_END_BYTES: Final = 4096
"""Of a message that cannot be read whole, each end: the headers are in one of them."""


@dataclass(frozen=True)
class ClaimLimit:
    """How much a worker takes at once: a batch's worth of rows, and no more bytes than it can hold.

    `wait_s` is how long rows that leave room wait for others. `batch_rows` is what the script counts for a
    `mlq.batch_predict` message that does not say its number of rows, as those of stock clients do not.
    """

    rows: int
    bytes: int = 16 * 1024 * 1024
    batch_rows: int = 1
    wait_s: float = 0.0


@dataclass(frozen=True)
class Claimed:
    """Messages for this worker, in the order in which they are to be served.

    `misplaced` are keys of another type than they ought to be, without which the claim did what it could.
    """

    claims: tuple[Claim, ...]
    misplaced: tuple[str, ...] = ()


@dataclass(frozen=True)
class QueueEmpty:
    """Nothing waits. Exactly one idle worker of those that serve the same queues is told to watch them.

    The watcher asks EXISTS of `Claims.watched` on a tracking connection, claims again if anything is there,
    and waits for Redis to push a change. The others wait in BRPOP on `Claims.bell`.
    """

    watch: bool
    misplaced: tuple[str, ...] = ()


@dataclass(frozen=True)
class LeaseLost:
    """The worker has no lease: what it held is others' now, and it must end."""


@dataclass(frozen=True)
class Recorded:
    """The state is stored; the claim goes on."""


@dataclass(frozen=True)
class Released:
    """The message is back on its queue."""


@dataclass(frozen=True)
class Unsendable:
    """A message of so many bytes that the server cannot send in one reply; the claim's own bytes are its headers."""

    claim: Claim
    bytes: int


class Claims:
    """The claims of one incarnation of one worker.

    `queues` are what it serves, most urgent first; `together` are the tasks that may share a batch. The client
    must give bytes, and speak to the database of the broker.
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
        """The keys whose change can mean work: every list of every queue, and the set of paused queues."""
        return [key for queue in self.queues for key in queue_keys(queue)] + [keys.PAUSED]

    def claim(
        self, room: ClaimLimit, *, holding: Collection[str] = (), order: Sequence[str] | None = None
    ) -> Claimed | QueueEmpty | LeaseLost:
        """Take messages, queue by queue: in `order`, if somebody's share demands another than usual.

        `holding` are the ids that the worker really has; whatever else is filed under it is handed out again.
        A worker that holds something is not idle, so it is never told to watch, and never given a suspect. One
        that holds a suspect must not claim at all until that is answered.
        """
        queues = self.queues if order is None else order
        verdict, *rest = _claim(self._redis, self._claim_keys(queues), self._claim_words(room, holding, queues))
        if verdict == b"FENCED":
            return LeaseLost()
        if verdict == b"TAKEN":
            return Claimed(tuple(map(parse, rest[0])), tuple(key.decode() for key in rest[1:]))
        return QueueEmpty(verdict == b"WATCH", tuple(key.decode() for key in rest))

    def describe_key(self, key: str) -> Misplaced | None:
        """Look whether a key is of another type than it ought to be."""
        return key_types.describe(self._redis, key)

    def explain(self, exc: Exception) -> str:
        """Write an error for a log, with the key that it means if that is of another type."""
        return key_types.explain(self._redis, exc, tuple(self.watched))

    def find_unsendable(self, holding: Collection[str]) -> Unsendable | None:
        """Describe the oldest message that is filed under this worker and never arrived."""
        found = _unsendable(self._redis, [self._key], [_END_BYTES, *holding])
        if not found:
            return None
        claim_id, at_ms, queue_key, size, beginning, end = found
        return Unsendable(Claim(claim_id.decode(), queue_key.decode(), at_ms, _without_body(beginning, end)), size)

    def complete(self, completion: Completion) -> Ended:
        """Answer a claim in one step: the result, what follows from it, and the end of the claim.

        A second caller gets `ClaimLost`, and so does a worker that was declared dead: complete.lua looks for the
        claim first, so neither can overwrite a result, or answer for a message that another now runs.

        `BodyDue` and `BodyUndue`: nothing was done, because a part of a chord turned out to be its last, or not to be
        it. The caller composes the body of that part, or removes it, and completes again.
        """
        return _ended(completion, _complete(self._redis, *self._completing(completion)))

    def complete_all(self, completions: Sequence[Completion]) -> list[Ended]:
        """Answer a batch in one round trip.

        A batch whose reply got lost can be sent again: what had been recorded then comes back as `ClaimLost`.
        """
        replies = _complete.batch(self._redis, map(self._completing, completions))
        return [*map(_ended, completions, replies)]

    def record(self, claim: Claim, state: Answer) -> Recorded | ClaimLost:
        """Store a state that is not the last: it can never overwrite one that is."""
        stored = _progress(self._redis, [self._key], [claim.id, *stored_results.words(self._redis, state)])
        return Recorded() if stored else ClaimLost()

    def release(self, claim: Claim, to: Side) -> Released | ClaimLost:
        """Put a claim's message back on its queue, once."""
        return Released() if self.release_many([claim], to) else ClaimLost()

    def release_many(self, claims: Collection[Claim], to: Side) -> int:
        """Put several back in one step, in their old order: all but the suspect, the surplus of a batch."""
        if not claims:  # to the script, none means all
            return 0
        return int(_release(self._redis, [self._key], [to, *(claim.id for claim in claims)]))

    def release_all(self, to: Side) -> int:
        """Put back whatever is filed under this worker, what it never heard of included."""
        return int(_release(self._redis, [self._key], [to]))

    def _claim_keys(self, queues: Sequence[str]) -> list[str]:
        ours = [keys.LEASES, self._key, keys.CLAIM_SERIAL, keys.CRASHES, keys.PAUSED, keys.WATCHES, self.bell]
        return ours + [key for queue in queues for key in queue_keys(queue, self._priority_order)]

    def _claim_words(self, room: ClaimLimit, holding: Collection[str], queues: Sequence[str]) -> list[Word]:
        watch_ms = 0 if holding else _WATCH_MS
        words: list[Word] = [self.wid, next(self._calls), room.rows, room.bytes, room.batch_rows, watch_ms]
        return [*words, len(queues), len(self.together), *queues, *self.together, *holding]

    def _completing(self, completion: Completion) -> Call:
        claim, others = completion.claim, completion.others
        digest = claim.digest if claim.is_suspect else ""
        here = stored_results.words(self._redis, completion.answer)
        followers = [word for s in completion.successors for word in (s.queue_key, s.raw)]
        if others is None:
            return [self._key, keys.CRASHES], [claim.id, digest, 1, 0, 0, *here, *followers]
        found = list(completion.consequences())
        answers = [word for c in found for a in c.answers for word in stored_results.words(self._redis, a)]
        additions = [word for c in found for a in c.additions for word in (a.db, a.key)]
        parts = [word for c in found for part in c.parts for word in chord_parts.words(part)]
        followers += [word for c in found for s in c.successors for word in (s.queue_key, s.raw)]
        counts = [sum(len(c.answers) for c in found), sum(len(c.additions) for c in found), len(_parts_of(found))]
        head: list[Word] = [claim.id, digest, 1 + counts[0], counts[1], counts[2]]
        return [self._key, keys.CRASHES], [*head, *here, *answers, *additions, *parts, *followers]


def _parts_of(found: Iterable[Consequences]) -> list[ChordPart]:
    return [part for consequences in found for part in consequences.parts]


def _ended(completion: Completion, reply: Any) -> Ended:
    """Read the reply of complete.lua: 1, 0, or which part is the last (from 2 on), or is not (from -1 down)."""
    if reply in {0, 1}:
        return Completed() if reply else ClaimLost()
    parts = _parts_of(completion.consequences())
    return BodyDue(parts[reply - 2]) if reply > 1 else BodyUndue(parts[-reply - 1])


def _without_body(beginning: bytes, end: bytes) -> bytes:
    """Make an envelope of the headers alone: ours begin with them, in kombu's they follow the body."""
    head, body, _ = beginning.partition(b',"body"')
    if body:
        return head + b"}"
    return b"{" + end[end.find(b'"headers"') :] if b'"headers"' in end else b"{}"
