"""Dead letters for people and scripts. The JSON shapes are a contract and only grow."""

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
"""So much of a payload is shown to a person."""


def entry(letter: DeadLetter) -> dict[str, Any]:
    """Describe one letter without its payload."""
    task, task_id = names_of(letter.raw)
    return {
        "id": letter.id,
        "task": task,
        "task_id": task_id,
        "queue": letter.queue,
        "deliveries": letter.deliveries,
        "reason": letter.reason,
        "why": letter.circumstances.get("why"),
        "at": at(letter.buried_at_ms),
        "worker": letter.circumstances.get("worker"),
        "host": letter.circumstances.get("host"),
        "bytes": letter.size or len(letter.raw),
    }


def whole(letter: DeadLetter) -> dict[str, Any]:
    """Describe one letter with all that is known of it, its bytes included: what `export` writes."""
    return {
        **entry(letter),
        "claimed_at": at(letter.claimed_at_ms),
        "queue_key": letter.queue_key,
        "circumstances": dict(letter.circumstances),
        "whole": letter.is_whole,
        "raw": base64.b64encode(letter.raw).decode(),
    }


def document(letters: Sequence[DeadLetter]) -> dict[str, Any]:
    """mlq.dead/1: one entry a dead letter, the oldest first."""
    return {"schema": "mlq.dead/1", "entries": [entry(letter) for letter in letters]}


def dead_table(letters: Sequence[DeadLetter]) -> Table:
    """Draw what died, where, when and why; the oldest first, so that the news is next to the prompt."""
    drawn = table("ID", TASK=False, QUEUE=False, REASON=False, DELIVERIES=True, AT=False, WHY=False)
    for e in map(entry, letters):
        row(drawn, e["id"], e["task"], e["queue"], e["reason"], e["deliveries"], e["at"], e["why"])
    return drawn


def in_words(letter: DeadLetter) -> list[tuple[str, str]]:
    """Give everything that is known of one letter as names and values; they are not escaped yet."""
    known = [(k, str(v)) for k, v in entry(letter).items() if v is not None]
    more = [(k, v) for k, v in letter.circumstances.items() if k not in dict(known)]
    return [*known, ("claimed_at", at(letter.claimed_at_ms)), *more]


def at(ms: int) -> str:
    """Write a time of the server's clock."""
    return datetime.fromtimestamp(ms / 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
