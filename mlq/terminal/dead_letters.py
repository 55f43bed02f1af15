"""Dead letters as tables and JSON documents. Scripts rely on the fields of the documents: add fields, remove none."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from mlq.protocol.message import names_of
from mlq.terminal.tables import row, table

if TYPE_CHECKING:
    from rich.table import Table

    from mlq.store.messages.dead_letters import DeadLetter

SHOWN_BYTES: Final = 4000
"""Characters of a payload that `dead show` prints, at most."""


def entry(letter: DeadLetter) -> dict[str, Any]:
    """Describe a dead letter without its payload."""
    task, task_id = names_of(letter.raw)
    return {
        "id": letter.id,
        "task": task,
        "task_id": task_id,
        "queue": letter.queue,
        "deliveries": letter.deliveries,
        "reason": letter.reason,
        "why": letter.circumstances.get("why"),
        "at": at(letter.dead_lettered_at_ms),
        "worker": letter.circumstances.get("worker"),
        "host": letter.circumstances.get("host"),
        "bytes": letter.size or len(letter.raw),
    }


def whole(letter: DeadLetter) -> dict[str, Any]:
    """Describe a dead letter with its bytes, as `dead export` writes it."""
    return {
        **entry(letter),
        "claimed_at": at(letter.claimed_at_ms),
        "queue_key": letter.queue_key,
        "circumstances": dict(letter.circumstances),
        "whole": letter.is_whole,
        "raw": base64.b64encode(letter.raw).decode(),
    }


def document(letters: Sequence[DeadLetter]) -> dict[str, Any]:
    """Describe dead letters as mlq.dead/1: one entry for each, the oldest first."""
    return {"schema": "mlq.dead/1", "entries": [entry(letter) for letter in letters]}


def dead_table(letters: Sequence[DeadLetter]) -> Table:
    """Draw dead letters; the newest one comes last, next to the prompt of the shell."""
    drawn = table("ID", TASK=False, QUEUE=False, REASON=False, DELIVERIES=True, AT=False, WHY=False)
    for e in map(entry, letters):
        row(drawn, e["id"], e["task"], e["queue"], e["reason"], e["deliveries"], e["at"], e["why"])
    return drawn


def in_words(letter: DeadLetter) -> list[tuple[str, str]]:
    """Return every field of a dead letter as (name, value), not escaped yet."""
    known = [(k, str(v)) for k, v in entry(letter).items() if v is not None]
    more = [(k, v) for k, v in letter.circumstances.items() if k not in dict(known)]
    return [*known, ("claimed_at", at(letter.claimed_at_ms)), *more]


def at(ms: int) -> str:
    """Write a time in milliseconds since 1970 as ISO 8601 in UTC."""
    return datetime.fromtimestamp(ms / 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
