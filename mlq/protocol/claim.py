"""Claim: a message in a worker's hands, and the right to complete it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Claim:
    """One message, recorded for the worker that claimed it."""

    id: str
    """Never used for another message. Only the worker that has it in `mlq:claims:<wid>` may complete the message."""

    queue_key: str
    """The Redis list from which the message came."""

    claimed_at_ms: int
    """By the server's clock, in ms since 1970."""

    raw: bytes
    """The message as its sender wrote it."""

    crashes: int | None = None
    """Crashes that a suspect is blamed for (0: it was one of several claims); None if it is not a suspect."""

    @property
    def is_suspect(self) -> bool:
        """True if a worker crashed while it held the message; then the message runs alone, without prefetching."""
        return self.crashes is not None

    @property
    def digest(self) -> str:
        """The field under which crashes are counted, see parts/crash.lua."""
        return hashlib.sha1(self.raw, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class ClaimLost:
    """The claim is no longer this worker's: it was given back or completed already. The caller's change is void."""


def parse(claim: Any) -> Claim:
    """Parse the reply of claim.lua for one message."""
    claim_id, record, crashes = claim
    at_ms, length, rest = record.split(b" ", 2)
    key_ends = int(length)
    return Claim(
        id=claim_id.decode(),
        queue_key=rest[:key_ends].decode(),
        claimed_at_ms=int(at_ms),
        raw=rest[key_ends:],
        crashes=None if crashes < 0 else crashes,
    )
