"""Leases: which workers live, by the server's clock, and what becomes of the claims of those that do not."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from mlq.broker.script import Script
from mlq.protocol import keys
from mlq.store.claims.held import claims_of

if TYPE_CHECKING:
    from redis import Redis

    from mlq.broker.script import Word
    from mlq.store.claims.claims import Side

LEASE_MS: Final = 3000

_MOST_AT_ONCE: Final = 1000
"""Claims given back in one step: meanwhile the server does nothing else, not even renew a lease."""

_register: Final = Script("claims/register")
_renew: Final = Script("claims/renew")
_reap: Final = Script("claims/reap")
_release: Final = Script("claims/release")
_suspect: Final = Script("claims/suspect")


@dataclass(frozen=True)
class Crash:
    """A death that somebody is to blame for: a signal, or an exit code that is none of ours.

    `limit` is how many a message may cause; `circumstances` go into the dead letter of one that has reached it.
    `claims` are those that it was for, none if they have ended; None: it may be any that the worker held.
    """

    limit: int = 3
    circumstances: Mapping[str, str] = field(default_factory=dict)
    claims: Collection[str] | None = None


@dataclass(frozen=True)
class Reaped:
    """The worker is fenced. `buried` names the dead letter of the message that was blamed once too often."""

    released: int
    buried: str | None


@dataclass(frozen=True)
class Look:
    """Whose work is void, whose lease has run out (with its deadline), and whether a delayed message is due.

    `next_s` is when the next lease runs out, if nobody renews it.
    """

    fenced: frozenset[str]
    expired: dict[str, int]
    due: bool
    next_s: float


@dataclass(frozen=True)
class Alive:
    """Its lease was renewed since the caller looked."""


@dataclass(frozen=True)
class AlreadyReaped:
    """Somebody else was first, or the worker never had a lease: there is nothing to give back."""


@dataclass(frozen=True)
class Differing:
    """A live worker that serves a queue with a model of another fingerprint."""

    queue: str
    wid: str
    fingerprint: str


class Leases:
    """All workers' leases. No key expires by itself, so there is nothing to evict."""

    def __init__(self, redis: Redis, lease_ms: int = LEASE_MS) -> None:
        self._redis = redis
        self.lease_ms = lease_ms

    def register(
        self, wid: str, queues: Sequence[str] = (), fingerprint: str = "", *, rollout: bool = False
    ) -> Differing | None:
        """Give a new worker its lease, before its first claim; or say who serves one of its queues with another model.

        With `rollout` it may differ from all of them; without, there must be one like it, if there are any.
        """
        words: list[Word] = [wid, self.lease_ms, fingerprint, int(rollout)]
        reply = _register(self._redis, [keys.LEASES, *map(keys.models, queues)], words)
        if not reply:
            return None
        number, other, theirs = reply
        return Differing(queues[number - 1], other.decode(), theirs.decode())

    def renew(self, wids: Collection[str]) -> frozenset[str]:
        """Renew, and tell who is fenced: their work is void, and they must be killed."""
        return self.look(wids).fenced

    def expired(self) -> dict[str, int]:
        """Look for leases that have run out: worker and deadline."""
        return self.look(()).expired

    def look(self, wids: Collection[str]) -> Look:
        """Renew, and look for others' leases that have run out and for delayed messages, in one request."""
        fenced, flat, due, next_ms = _renew(self._redis, [keys.LEASES, keys.DELAYS], [self.lease_ms, *wids])
        found = [(wid, float(at)) for wid, at in zip(flat[::2], flat[1::2], strict=True) if _is_text(wid)]
        expired = {wid.decode(): int(at) for wid, at in found if math.isfinite(at)}  # others may write there, too
        next_s = next_ms / 1000 if next_ms >= 0 else math.inf
        return Look(frozenset(wid.decode() for wid in fenced), expired, bool(due), next_s)

    def reap(self, wid: str, *, to: Side, crash: Crash | None = None) -> Reaped | AlreadyReaped:
        """Fence a worker whose end the caller has seen (waitpid), and give back what it held.

        To the head after a drain; to the tail after a crash, so that a message which kills does not meet the
        next worker while innocent ones wait.
        """
        return _reaped(self._reap(wid, seen="", to=to, crash=crash))

    def reap_expired(self, wid: str, deadline: int) -> Reaped | Alive | AlreadyReaped:
        """Fence a worker of another host if its lease still ends at `deadline`; nobody is blamed.

        Only for a lease that `Silence` has confirmed: right after Redis was away every lease has run out.
        """
        reply = self._reap(wid, seen=deadline, to="head", crash=None)
        return Alive() if reply[0] == b"ALIVE" else _reaped(reply)

    def _reap(self, wid: str, *, seen: int | Literal[""], to: Side, crash: Crash | None) -> list[Any]:
        """Reap in one step; a worker that held very much in several, which anybody may finish."""
        verdict, *rest = self._reap_step(wid, seen=seen, to=to, crash=crash)
        if verdict != b"MANY":
            return [verdict, *rest]
        buried, released = rest[1], 0
        again: int | Literal[""] = "" if seen == "" else 0
        while verdict == b"MANY":
            released += self._give_back(wid, to=to, crash=crash)
            verdict, *rest = self._reap_step(wid, seen=again, to=to, crash=None)
        return [verdict, released + rest[0], buried] if verdict == b"REAPED" else [verdict]

    def _give_back(self, wid: str, *, to: Side, crash: Crash | None) -> int:
        """Give back all that a worker holds, in portions, in their old order; several suspects are marked."""
        held = sorted((i for i, _ in claims_of(self._redis, wid)), key=_serial, reverse=to == "head")
        for_crash = frozenset(held if crash is None or crash.claims is None else crash.claims)
        released = 0
        for start in range(0, len(held), _MOST_AT_ONCE):
            portion = held[start : start + _MOST_AT_ONCE]
            suspects = [i for i in portion if i in for_crash]
            if crash is not None and len(for_crash) > 1 and suspects:
                _suspect(self._redis, [keys.claims(wid), keys.CRASHES], suspects)
            released += int(_release(self._redis, [keys.claims(wid)], [to, *portion]))
        return released

    def _reap_step(self, wid: str, *, seen: int | Literal[""], to: Side, crash: Crash | None) -> list[Any]:
        ours = [keys.LEASES, keys.claims(wid), keys.CRASHES, keys.WATCHES, keys.DEAD, keys.UNANSWERED, keys.DEAD_BYTES]
        known = crash.claims if crash else None
        told = [-1] if known is None else [len(known), *known]
        words: list[Word] = [wid, seen, to, crash.limit if crash else "", keys.dead_letter("")]
        pairs = [word for pair in crash.circumstances.items() for word in pair] if crash else []
        return cast("list[Any]", _reap(self._redis, ours, [*words, _MOST_AT_ONCE, *told, *pairs]))


def _serial(claim_id: str) -> int:
    """Tell which of two messages was claimed first, as parts/record.lua does."""
    return int(claim_id.rpartition("-")[2])


def _reaped(reply: list[Any]) -> Reaped | AlreadyReaped:
    if reply[0] == b"GONE":
        return AlreadyReaped()
    _, released, buried = reply
    return Reaped(released, buried.decode() or None)


class Silence:
    """Tells a dead host from one that Redis has not heard for a moment: pure, fed with `Leases.expired`.

    A lease is confirmed as lost when it was seen expired twice with the same deadline, `patience_s` apart: in
    between a living supervisor would have renewed, even if the server itself had been away.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._since: dict[tuple[str, int], float] = {}

    def confirm(self, expired: Mapping[str, int], at: float) -> list[tuple[str, int]]:
        """Add one look, at a time of the monotonic clock; give what is to be reaped."""
        self._since = {lease: self._since.get(lease, at) for lease in expired.items()}
        return [lease for lease, since in self._since.items() if at - since >= self._patience_s]

    def next_s(self, at: float) -> float:
        """Give the seconds until a lease that was seen expired may be confirmed."""
        return min((since + self._patience_s - at for since in self._since.values()), default=math.inf)


def _is_text(wid: bytes) -> bool:
    """Tell whether a member can be a worker's name."""
    try:
        wid.decode()
    except UnicodeDecodeError:
        return False
    return True
