"""The ledger: the claims that this worker holds, and how each of them will end.

The result of a task and the messages that follow from it are kept here until its acknowledgement, and then recorded in
one step. Celery stores first and acknowledges later: if the worker died in between, what follows would run twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mlq.protocol.message import Claim
from mlq.protocol.result import Answer
from mlq.store.claims.completion import ChordAddition, ChordPart, Completion, Consequences, Successor


@dataclass
class _Entry:
    claim: Claim
    task_id: str
    answer: Answer | None = None
    follows: Consequences = field(default_factory=Consequences)
    afterwards: list[Callable[[], object]] = field(default_factory=list)
    has_run: bool = False


class _Scope(threading.local):
    """The task that the results and messages of a thread follow from."""

    into: Consequences | None = None
    """Where results and messages are kept; with None they are stored and published at once."""

    visible: tuple[Callable[[str], Answer | None], ...] = ()
    """Functions that find a result by its key among those that are kept and not stored yet."""


class Ledger:
    """The claims of this worker whose end is not recorded yet. Several threads may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: set[str] = set()
        self._running: dict[str, _Entry] = {}
        self._by_task: dict[str, _Entry] = {}
        self._scope = _Scope()

    @property
    def holding(self) -> frozenset[str]:
        """Ids of all claims that Redis files under this worker, as far as the worker knows."""
        with self._lock:
            return frozenset(self._held)

    def take(self, claims: Iterable[Claim]) -> None:
        """Add new claims."""
        with self._lock:
            self._held.update(c.id for c in claims)

    def drop(self, claims: Collection[Claim]) -> None:
        """Remove claims whose end is recorded, or that were given back or lost to another worker."""
        with self._lock:
            self._held.difference_update(c.id for c in claims)

    # From here on: messages that Celery runs, one at a time, in the main thread.

    def open(self, claim: Claim, task_id: str) -> None:
        """Begin to keep what Celery stores and publishes for a message."""
        entry = _Entry(claim, task_id)
        self._running[claim.id] = self._by_task[task_id] = entry

    def claim_of(self, task_id: str) -> Claim | None:
        """Return the claim under which a task runs here, or None."""
        entry = self._by_task.get(task_id)
        return entry.claim if entry else None

    def keep_answer(self, task_id: str, answer: Answer) -> None:
        """Keep the final state of a task until its acknowledgement."""
        self._by_task[task_id].answer = answer

    @property
    def is_collecting(self) -> bool:
        """Whether this thread keeps results and messages, because they follow from a task whose body has ended."""
        return self._scope.into is not None

    def keep_other_answer(self, answer: Answer) -> None:
        """Keep the final state of another task that follows from the task whose body has ended."""
        if self._scope.into is not None:
            self._scope.into.answers.append(answer)

    def keep_part(self, task_id: str, part: ChordPart) -> bool:
        """Keep a part of a chord until the end of a task is recorded; False if that end is not kept here.

        The part is the task itself, or another task that ends together with the task whose body has ended.
        """
        entry = self._by_task.get(task_id)
        follows = entry.follows if entry is not None else self._scope.into
        if follows is None:
            return False
        follows.parts.append(part)
        return True

    def keep_addition(self, addition: ChordAddition) -> bool:
        """Keep the growth of a chord until the end of the task that adds a part; False if it must not wait."""
        if self._scope.into is None:
            return False
        self._scope.into.additions.append(addition)
        return True

    def keep_for_afterwards(self, task_id: str, tidy: Callable[[], object]) -> None:
        """Keep a function that is called when the end of the message is recorded."""
        self._by_task[task_id].afterwards.append(tidy)

    def answer_at(self, key: str) -> Answer | None:
        """Return the result that the task which ends in this thread will store at a key, or None.

        Celery joins the parts of a chord while the end of the last of them is still kept here.
        """
        return next((answer for find in self._scope.visible if (answer := find(key)) is not None), None)

    def collect(self, task_id: str | None) -> None:
        """Keep what this thread publishes from now on for this task; with None, publish it at once again."""
        entry = self._by_task.get(task_id) if task_id is not None else None
        self._scope.into = entry.follows if entry is not None else None
        self._scope.visible = () if entry is None else (_own_answer(entry), entry.follows.answer_at)

    @contextmanager
    def following(self, task_id: str) -> Iterator[None]:
        """Keep what is published inside for a task whose body still runs, if it runs here under a claim."""
        entry = self._by_task.get(task_id)
        if entry is None:
            yield
            return
        with self.collecting(entry.follows):
            yield

    @contextmanager
    def collecting(self, into: Consequences, completion: Completion | None = None) -> Iterator[None]:
        """Keep what is stored and published inside in `into`, which is recorded with `completion`."""
        before = self._scope.into, self._scope.visible
        known = [] if completion is None else [found.answer_at for found in completion.consequences()]
        if completion is not None and completion.answer is not None:
            known.append(Consequences([completion.answer]).answer_at)
        self._scope.into, self._scope.visible = into, (into.answer_at, *known, *before[1])
        try:
            yield
        finally:
            self._scope.into, self._scope.visible = before

    def keep_successor(self, successor: Successor) -> bool:
        """Keep a message that follows from the task whose body has ended; False if there is no such task."""
        if self._scope.into is None:
            return False
        self._scope.into.successors.append(successor)
        return True

    def end(self, task_id: str) -> None:
        """Note that a task has run to its end, and only its acknowledgement is missing."""
        self.collect(None)
        entry = self._by_task.get(task_id)
        if entry is not None:
            entry.has_run = True

    def abandon(self) -> tuple[list[Completion], list[Claim]]:
        """Remove all open messages: return the completions of those that have run, and the claims of the others.

        Celery delays acknowledgements to the next turn of its loop, and loses them when the connection breaks.
        """
        entries = list(self._running.values())
        ended = [c for e in entries if e.has_run and (c := self.close(e.claim.id)) is not None]
        unrun = [e.claim for e in entries if not e.has_run and self.close(e.claim.id) is not None]
        return ended, unrun

    def close(self, claim_id: str) -> Completion | None:
        """Remove a message and return how it ends; None if it was not opened, or is closed already."""
        entry = self._running.pop(claim_id, None)
        if entry is None:
            return None
        self._by_task.pop(entry.task_id, None)
        if self._scope.into is entry.follows:
            self.collect(None)
        follows = entry.follows
        has_others = follows.answers or follows.parts or follows.additions
        others = Consequences(follows.answers, [], follows.parts, follows.additions) if has_others else None
        return Completion(entry.claim, entry.answer, tuple(follows.successors), tuple(entry.afterwards), others)


def _own_answer(entry: _Entry) -> Callable[[str], Answer | None]:
    return lambda key: entry.answer if entry.answer is not None and entry.answer.key == key else None
