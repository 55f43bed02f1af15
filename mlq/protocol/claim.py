"""Claim: a message in a worker's hands, and the right to answer it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Claim:
    """One message, filed under the worker that took it.

    `id` never stands for another message: whoever still has it in `mlq:claims:<wid>` may answer, nobody else.
    `crashes` is how many deaths the message is blamed for if it is a suspect; 0 means it was among several.
    """

    id: str
    queue_key: str
    claimed_at_ms: int
    raw: bytes
    crashes: int | None = None

    @property
    def is_suspect(self) -> bool:
        """Whether a worker has died with it in its hands: then it runs alone, with nothing staged behind it."""
        return self.crashes is not None

    @property
    def digest(self) -> str:
        """The name under which crashes are counted: see parts/crash.lua."""
        return hashlib.sha1(self.raw, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class ClaimLost:
    """The claim is no longer this worker's: given back, or answered already. What the caller did is void."""


def parse(claim: Any) -> Claim:
    """Read what claim.lua replies for one message."""
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
