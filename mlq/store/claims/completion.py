"""Completion: the end of a claim, with its result and all that follows from it, recorded in one step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from mlq.protocol.message import Claim
from mlq.protocol.result import Answer


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
    """How every such value of this task begins."""

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
        answered = len(self.answer.payload) if self.answer is not None else 0
        return len(self.claim.raw) + answered + sum(len(s.raw) for s in self.successors)

    others: Consequences | None = None
    """The consequences besides `successors`."""

    def consequences(self) -> Iterator[Consequences]:
        """Yield the consequences besides `successors`, then those of each chord that ends with this completion."""
        pending = [self.others] if self.others is not None else []
        while pending:
            found = pending.pop(0)
            yield found
            pending += [part.body for part in found.parts if part.body is not None]


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
