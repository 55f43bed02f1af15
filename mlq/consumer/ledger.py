"""Ledger: what this worker holds, and how each of it will end.

A message's answer and what follows from it are kept here until its acknowledgement, and then recorded in one step:
Celery stores first and acknowledges later, and a death in between would run what follows twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from mlq.broker.answer import Answer
from mlq.broker.claim import Claim
from mlq.broker.completion import Completion, Successor


@dataclass
class _Entry:
    claim: Claim
    task_id: str
    answer: Answer | None = None
    successors: list[Successor] = field(default_factory=list)
    afterwards: list[Callable[[], object]] = field(default_factory=list)
    has_run: bool = False


class Ledger:
    """The claims of this worker that are not recorded as ended yet. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: set[str] = set()
        self._running: dict[str, _Entry] = {}
        self._by_task: dict[str, _Entry] = {}
        self._collecting: _Entry | None = None

    @property
    def holding(self) -> frozenset[str]:
        """Ids of all claims that are filed under this worker, as far as it knows."""
        with self._lock:
            return frozenset(self._held)

    def take(self, claims: Iterable[Claim]) -> None:
        """Add what was claimed."""
        with self._lock:
            self._held.update(c.id for c in claims)

    def drop(self, claims: Collection[Claim]) -> None:
        """Remove what is recorded as ended, given back, or lost to another worker."""
        with self._lock:
            self._held.difference_update(c.id for c in claims)

    # From here on: messages that Celery runs, one at a time, in the main thread.

    def open(self, claim: Claim, task_id: str) -> None:
        """Begin to keep what Celery stores and publishes for a message."""
        entry = _Entry(claim, task_id)
        self._running[claim.id] = self._by_task[task_id] = entry

    def claim_of(self, task_id: str) -> Claim | None:
        """Give the claim under which a task runs here, if it does."""
        entry = self._by_task.get(task_id)
        return entry.claim if entry else None

    def keep_answer(self, task_id: str, answer: Answer) -> None:
        """Keep a final state until the acknowledgement."""
        self._by_task[task_id].answer = answer

    def answer_of(self, task_id: str) -> Answer | None:
        """Give the final state that is kept for a task, if there is one yet."""
        entry = self._by_task.get(task_id)
        return entry.answer if entry else None

    def keep_for_afterwards(self, task_id: str, tidy: Callable[[], object]) -> None:
        """Keep what is to be done once the message's end is recorded."""
        self._by_task[task_id].afterwards.append(tidy)

    def collect(self, task_id: str | None) -> None:
        """From now on, what is published follows from this task; None: from none, it goes out at once."""
        self._collecting = self._by_task.get(task_id) if task_id is not None else None

    def keep_successor(self, successor: Successor) -> bool:
        """Keep a message that follows from the task whose body has ended; False if there is no such task."""
        if self._collecting is None or threading.current_thread() is not threading.main_thread():
            return False
        self._collecting.successors.append(successor)
        return True

    def end(self, task_id: str) -> None:
        """A task was run to its end; only its acknowledgement is missing."""
        self._collecting = None
        entry = self._by_task.get(task_id)
        if entry is not None:
            entry.has_run = True

    def abandon(self) -> tuple[list[Completion], list[Claim]]:
        """Take out all that is open: what has run, to be recorded, and what has not, to be given back.

        A connection that breaks takes the acknowledgements along that Celery had put off to its next moment.
        """
        entries = list(self._running.values())
        ended = [c for e in entries if e.has_run and (c := self.close(e.claim.id)) is not None]
        unrun = [e.claim for e in entries if not e.has_run and self.close(e.claim.id) is not None]
        return ended, unrun

    def close(self, claim_id: str) -> Completion | None:
        """Take out how a message ends; None if it was not opened, or is closed already."""
        entry = self._running.pop(claim_id, None)
        if entry is None:
            return None
        self._by_task.pop(entry.task_id, None)
        if self._collecting is entry:
            self._collecting = None
        return Completion(entry.claim, entry.answer, tuple(entry.successors), tuple(entry.afterwards))
