"""Answer: what a script stores of a task, and where its client looks for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """One value of Celery's result store, published on the channel of the same name; or the end of a job's chunk.

    `filed` is what filing.lua is told of a chunk. `db` is another database of the broker's server; None means the
    broker's own. 0 seconds keep it for ever.
    """

    key: str
    payload: bytes
    keep_s: int
    db: int | None = None
    filed: str = ""
