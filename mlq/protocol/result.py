"""Answer: the result of a task as a script stores it, and the key under which its client looks for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """One value of Celery's result store, published on the channel of the same name; or the result of a job's chunk."""

    key: str
    payload: bytes
    keep_s: int
    """Seconds to keep the value; 0 sets no limit."""

    db: int | None = None
    """Number of a database on the broker's server; None is the broker's own."""

    filed: str = ""
    """For a job's chunk, the argument `filed` of filing.lua; otherwise empty."""
