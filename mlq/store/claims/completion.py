"""Completion: the end of a claim, with its result and all that follows from it, recorded in one step.

Below are the forms in which scripts read a result (`answer_words`) and a part of a chord (`part_words`), and the keys
of a chord where results and claims are on different servers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from mlq.broker.script import Call, Script, Word
from mlq.protocol import keys
from mlq.protocol.message import Claim
from mlq.protocol.result import Answer

if TYPE_CHECKING:
    from redis import Redis

_count_part: Final = Script("claims/count_part")


@dataclass(frozen=True)
class Successor:
    """A message published when a task ends: a link, the next task of a chain, a retry, the body of a chord."""

    queue_key: str
    raw: bytes


@dataclass
class Consequences:
    """What follows from the end of a task, in the order in which it is stored and published."""

    answers: list[Answer] = field(default_factory=list)
    """Results of other tasks that end with this one: the rest of a chain, the body of a chord."""

    successors: list[Successor] = field(default_factory=list)
    """Messages to publish."""

    parts: list[ChordPart] = field(default_factory=list)
    """Parts of chords that end with the task."""

    additions: list[ChordAddition] = field(default_factory=list)
    """Parts that the task adds to chords."""

    has_failed: bool = False
    """True if these are the consequences of a chord's body that fails instead of being published."""

    def answer_at(self, key: str) -> Answer | None:
        """Return the last answer for a key of the result store, or None."""
        return next((answer for answer in reversed(self.answers) if answer.key == key), None)


@dataclass(frozen=True)
class ChordAddition:
    """A part that a task adds to a chord; the size of the chord grows when that task ends."""

    key: str
    """Prefix of the chord's keys in the result store."""

    db: int
    """Number of the database that holds them."""


@dataclass
class ChordPart:
    """A part of a chord that ends with the claim. The script counts it in the step that ends the claim."""

    key: str
    """Prefix of the chord's keys in the result store."""

    db: int
    """Number of the database that holds them."""

    task_id: str
    value: bytes
    """The result of the part, as Celery stores it for the body."""

    known_by: bytes
    """The beginning of each such value of this task: the script recognizes by it that the part was counted before."""

    index: str
    """Position of the part in the chord."""

    is_ordered: bool
    """True if the values are kept in a sorted set, False if in a list."""

    keep_s: int
    """Seconds to keep the keys after the last part; 0 sets no limit."""

    keep_group_s: int
    """Seconds to keep the stored structure of the chord after the last part; 0 sets no limit."""

    compose: Callable[[ChordPart, Completion], Consequences]
    """Makes the chord's body for a completion that holds the part."""

    body: Consequences | None = None
    """None until the script has replied that the part is the last."""


@dataclass(frozen=True)
class Completion:
    """The end of a claim: the result of its task, and what follows from it."""

    claim: Claim
    answer: Answer | None = None
    """None if the task's result is not stored."""

    successors: tuple[Successor, ...] = ()
    afterwards: tuple[Callable[[], object], ...] = ()
    """Called after the completion is recorded. They must not run earlier; a crash of the worker may skip them."""

    @property
    def size(self) -> int:
        """Bytes kept in memory until the completion is recorded: the message, its result and its successors."""
        answer_bytes = len(self.answer.payload) if self.answer is not None else 0
        return len(self.claim.raw) + answer_bytes + sum(len(s.raw) for s in self.successors)

    others: Consequences | None = None
    """The consequences besides `successors`."""

    def consequences(self) -> Iterator[Consequences]:
        """Yield the consequences besides `successors`, then those of each chord that ends with this completion."""
        pending = [self.others] if self.others is not None else []
        while pending:
            consequences = pending.pop(0)
            yield consequences
            pending += [part.body for part in consequences.parts if part.body is not None]


@dataclass(frozen=True)
class Completed:
    """The result is stored, the successors are queued, and the claim has ended."""


@dataclass(frozen=True)
class BodyDue:
    """Nothing is recorded: `part` is the last of its chord, and the completion lacks the chord's body."""

    part: ChordPart


@dataclass(frozen=True)
class BodyUndue:
    """Nothing is recorded: the completion has the body of a chord of which `part` is not the last."""

    part: ChordPart


_ANSWER_WORDS: Final = 6
_ADDITION_WORDS: Final = 2
_PART_WORDS: Final = 10


def complete_call(
    *,
    claims: str,
    claim_id: str,
    digest: str,
    answers: Sequence[Word],
    additions: Sequence[Word] = (),
    parts: Sequence[Word] = (),
    successors: Sequence[Word] = (),
) -> Call:
    """Return the keys and arguments of complete.lua, in the order of its contract.

    Args:
        claims: The key of the worker's claims.
        claim_id: The claim to end.
        digest: The digest of a suspect's message; otherwise empty.
        answers: The `answer_words` of each result, the claim's own first.
        additions: Database and key of each addition to a chord.
        parts: The `part_words` of each part of a chord.
        successors: Queue key and bytes of each message to publish.
    """
    return [claims, keys.CRASHES], [
        claim_id,
        digest,
        len(answers) // _ANSWER_WORDS,
        len(additions) // _ADDITION_WORDS,
        len(parts) // _PART_WORDS,
        *answers,
        *additions,
        *parts,
        *successors,
    ]


def answer_words(redis: Redis, answer: Answer | None) -> tuple[Word, ...]:
    """Return the six arguments that answer.lua reads; with None it stores nothing."""
    here = database(redis)
    if answer is None:
        return (here, here, "", "", 0, "")
    there = here if answer.db is None else answer.db
    return (here, there, answer.key, answer.payload, answer.keep_s, answer.filed)


def part_words(part: ChordPart) -> tuple[Word, ...]:
    """Return the ten arguments that chord.lua reads."""
    return (
        part.db,
        part.key,
        part.task_id,
        part.index,
        part.value,
        part.known_by,
        int(part.is_ordered),
        part.keep_s,
        part.keep_group_s,
        "" if part.body is None else "failed" if part.body.has_failed else "published",
    )


def database(redis: Redis) -> int:
    """Return the number of the database that the client's connections select."""
    return int(redis.connection_pool.connection_kwargs.get("db") or 0)


def count_part(results: Redis, part: ChordPart) -> bool:
    """Count a part where results and claims are on different servers; return True if it is the last of its chord.

    A part that runs again because its worker died is counted once. If it was the last part, it is the last again.
    """
    return bool(_count_part(results, [], [database(results), *part_words(part)]))


def chord_values(results: Redis, part: ChordPart) -> list[bytes]:
    """Return the stored values of a chord whose parts have no order."""
    return cast("list[bytes]", results.lrange(f"{part.key}.j", 0, -1))


def indexed_chord_values(results: Redis, part: ChordPart) -> list[tuple[float, bytes]]:
    """Return the stored values of a chord whose parts have an order, each with the index of its part."""
    scored = cast("list[tuple[bytes, float]]", results.zrange(f"{part.key}.j", 0, -1, withscores=True))
    return [(index, value) for value, index in scored]


def forget_chord(results: Redis, part: ChordPart) -> None:
    """Delete the keys of a chord that has ended, as chord.lua does. The client must select the part's database."""
    suffixes = "tsc" if part.body is not None and part.body.has_failed else "jtsdc"
    results.delete(*(f"{part.key}.{suffix}" for suffix in suffixes))
