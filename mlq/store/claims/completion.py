"""Completion: how a claim ends, recorded in one step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from mlq.protocol.claim import Claim
from mlq.protocol.result import Answer


@dataclass(frozen=True)
class Successor:
    """A message that a task's end publishes: a link, the next of a chain, a retry, the body of a chord."""

    queue_key: str
    raw: bytes


@dataclass
class Consequences:
    """What follows from the end of a task, in the order in which it was stored and published.

    `answers` are the results of other tasks that end with this one: the rest of a chain, the body of a chord.
    `has_failed`: these are of a body that fails instead of being published.
    """

    answers: list[Answer] = field(default_factory=list)
    successors: list[Successor] = field(default_factory=list)
    parts: list[ChordPart] = field(default_factory=list)
    additions: list[ChordAddition] = field(default_factory=list)
    has_failed: bool = False

    def answer_at(self, key: str) -> Answer | None:
        """Return the last answer for a key of the result store, or None."""
        return next((answer for answer in reversed(self.answers) if answer.key == key), None)


@dataclass(frozen=True)
class ChordAddition:
    """One more part of a chord: its size grows with the end of the task that added the part.

    `key` is the beginning of the keys that the result store keeps of the chord, in database `db`.
    """

    key: str
    db: int


@dataclass
class ChordPart:
    """A part of a chord that ends with the claim. The script counts it in the step that ends the claim.

        `key` is the beginning of the keys that the result store keeps of the chord, in database `db`.
        `value` is what Celery keeps of the part for the body. Each such value of this task begins with `known_by`.
    `index` is the part's place in the chord. `is_ordered`: values are kept in a sorted set, not in a list.
    `keep_s` is how long the keys are kept after the last part (0: without limit), `keep_group_s` the same for the
    stored structure of the chord.
    `compose` makes the body for a completion that holds the part; `body` is None until the script has said that the
    part is the last.
    """

    key: str
    db: int
    task_id: str
    value: bytes
    known_by: bytes
    index: str
    is_ordered: bool
    keep_s: int
    keep_group_s: int
    compose: Callable[[ChordPart, Completion], Consequences]
    body: Consequences | None = None


@dataclass(frozen=True)
class Completion:
    """How a claim ends: the answer, if its sender wants one, and what follows from it.

    `afterwards` is called once it is recorded: for what may be missing after a death, but must not come too soon.
    `others` are the consequences besides `successors`.
    """

    claim: Claim
    answer: Answer | None = None
    successors: tuple[Successor, ...] = ()
    afterwards: tuple[Callable[[], object], ...] = ()

    @property
    def size(self) -> int:
        """Count the bytes that it holds in memory until it is recorded: its message and all that it writes."""
        answered = len(self.answer.payload) if self.answer is not None else 0
        return len(self.claim.raw) + answered + sum(len(s.raw) for s in self.successors)

    others: Consequences | None = None

    def consequences(self) -> Iterator[Consequences]:
        """Yield the consequences besides `successors`, then those of each chord that ends with this end."""
        pending = [self.others] if self.others is not None else []
        while pending:
            found = pending.pop(0)
            yield found
            pending += [part.body for part in found.parts if part.body is not None]


@dataclass(frozen=True)
class Completed:
    """The answer is recorded, its successors are queued, and the claim is no more."""


@dataclass(frozen=True)
class BodyDue:
    """Nothing is recorded: `part` is the last of its chord, and the completion lacks the chord's body."""

    part: ChordPart


@dataclass(frozen=True)
class BodyUndue:
    """Nothing is recorded: the completion has the body of a chord of which `part` is not the last."""

    part: ChordPart
