"""Completion: how a claim ends, recorded in one step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlq.broker.answer import Answer
from mlq.broker.claim import Claim


@dataclass(frozen=True)
class Successor:
    """A message that a task's end publishes: a link, the next of a chain, a retry."""

    queue_key: str
    raw: bytes


@dataclass(frozen=True)
class Completion:
    """How a claim ends: the answer, if anybody is to see one, and what follows from it.

    `afterwards` is called once it is recorded: for what may be missing after a death, but must not come too soon.
    """

    claim: Claim
    answer: Answer | None = None
    successors: tuple[Successor, ...] = ()
    afterwards: tuple[Callable[[], object], ...] = ()


@dataclass(frozen=True)
class Completed:
    """The answer is recorded, its successors are queued, and the claim is no more."""
