"""Leases: which workers are alive, by the server's clock, and how the claims of dead workers return to their queues."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from mlq.broker.script import Script
from mlq.protocol import keys
from mlq.store.claims.claims import Side, run_release
from mlq.store.claims.held import claims_of

if TYPE_CHECKING:
    from redis import Redis

    from mlq.broker.script import Word

LEASE_MS: Final = 3000

_MOST_AT_ONCE: Final = 1000
"""Claims given back in one step. The step blocks the server, and meanwhile no lease can be renewed."""

_register: Final = Script("claims/register")
_renew: Final = Script("claims/renew")
_reap: Final = Script("claims/reap")
_suspect: Final = Script("claims/suspect")


def _run_register(
    redis: Redis, *, queues: Sequence[str], wid: str, lease_ms: int, fingerprint: str, rollout: bool
) -> list[Any]:
    script_keys = [keys.LEASES, *map(keys.models, queues)]
    return cast("list[Any]", _register(redis, script_keys, [wid, lease_ms, fingerprint, int(rollout)]))


def _run_renew(redis: Redis, *, lease_ms: int, wids: Collection[str]) -> list[Any]:
    return cast("list[Any]", _renew(redis, [keys.LEASES, keys.DELAYS], [lease_ms, *wids]))


def _run_suspect(redis: Redis, *, claims: str, claim_ids: Sequence[str]) -> None:
    _suspect(redis, [claims, keys.CRASHES], claim_ids)


def _run_reap(
    redis: Redis, *, wid: str, expired_deadline: int | Literal[""], side: Side, crash: Crash | None
) -> list[Any]:
    script_keys = [
        keys.LEASES,
        keys.claims(wid),
        keys.CRASHES,
        keys.WATCHES,
        keys.DEAD,
        keys.UNANSWERED,
        keys.DEAD_BYTES,
    ]
    known = crash.claims if crash else None
    words: list[Word] = [
        wid,
        expired_deadline,
        side,
        crash.limit if crash else "",
        keys.dead_letter(""),
        _MOST_AT_ONCE,
        -1 if known is None else len(known),
        *(known or ()),
        *(word for pair in (crash.circumstances.items() if crash else ()) for word in pair),
    ]
    return cast("list[Any]", _reap(redis, script_keys, words))


@dataclass(frozen=True)
class Crash:
    """A worker's death that a message may have caused: a signal, or an exit code that mlq does not use."""

    limit: int = 3
    """Crashes that one message may cause before it becomes a dead letter."""

    circumstances: Mapping[str, str] = field(default_factory=dict)
    """Fields for the dead letter of a message that has reached the limit."""

    claims: Collection[str] | None = None
    """The claims that may have caused the crash: empty if all of them have ended meanwhile.

    None means that any claim of the worker may have caused it.
    """


@dataclass(frozen=True)
class Reaped:
    """The worker is fenced, and its messages are back on their queues."""

    released: int
    """Messages that went back to their queues."""

    dead_lettered: str | None
    """Id of the dead letter, if a message has reached its limit of crashes."""


@dataclass(frozen=True)
class Look:
    """The state of leases and delayed messages, read in one request."""

    fenced: frozenset[str]
    """Workers of the caller that have lost their lease: their work is void."""

    expired: dict[str, int]
    """Other workers whose lease has run out, each with its deadline in ms."""

    due: bool
    """True if a delayed message is due."""

    next_s: float
    """Seconds until the next lease runs out, unless it is renewed."""


@dataclass(frozen=True)
class Alive:
    """The lease was renewed after the caller read its deadline."""


@dataclass(frozen=True)
class AlreadyReaped:
    """Another process has reaped the worker, or it never had a lease: there is nothing to give back."""


@dataclass(frozen=True)
class Differing:
    """A live worker that serves a queue with a model of another fingerprint."""

    queue: str
    wid: str
    fingerprint: str


class Leases:
    """All workers' leases. Their key has no expiry, so a server that evicts volatile keys does not evict it."""

    def __init__(self, redis: Redis, lease_ms: int = LEASE_MS) -> None:
        self._redis = redis
        self.lease_ms = lease_ms

    def register(
        self, wid: str, queues: Sequence[str] = (), fingerprint: str = "", *, rollout: bool = False
    ) -> Differing | None:
        """Give a new worker its lease, before its first claim.

        Returns:
            None if the worker got its lease. Otherwise it got none, because live workers serve one of its queues, and
            none of them has its model; the reply names one of them. With `rollout`, this is not checked.
        """
        reply = _run_register(
            self._redis, queues=queues, wid=wid, lease_ms=self.lease_ms, fingerprint=fingerprint, rollout=rollout
        )
        if not reply:
            return None
        number, other, theirs = reply
        return Differing(queues[number - 1], other.decode(), theirs.decode())

    def renew(self, wids: Collection[str]) -> frozenset[str]:
        """Renew leases; return the workers that have lost theirs. Their work is void, and they must be killed."""
        return self.look(wids).fenced

    def expired(self) -> dict[str, int]:
        """Return the workers whose lease has run out, each with its deadline in ms."""
        return self.look(()).expired

    def look(self, wids: Collection[str]) -> Look:
        """Renew these leases, and look for expired leases and delayed messages that are due, in one request."""
        fenced, flat, due, next_ms = _run_renew(self._redis, lease_ms=self.lease_ms, wids=wids)
        found = [(wid, float(at)) for wid, at in zip(flat[::2], flat[1::2], strict=True) if _is_text(wid)]
        expired = {wid.decode(): int(at) for wid, at in found if math.isfinite(at)}  # other clients may write inf
        next_s = next_ms / 1000 if next_ms >= 0 else math.inf
        return Look(frozenset(wid.decode() for wid in fenced), expired, bool(due), next_s)

    def reap(self, wid: str, *, to: Side, crash: Crash | None = None) -> Reaped | AlreadyReaped:
        """Fence a worker whose exit the caller has seen (waitpid), and give back the messages that it held.

        `to` says to which end of the queue they go. Callers choose the tail after a crash, so that a message that
        crashes workers does not delay the others, and the head in all other cases.
        """
        return _reaped(self._reap(wid, expired_deadline="", to=to, crash=crash))

    def reap_expired(self, wid: str, deadline: int) -> Reaped | Alive | AlreadyReaped:
        """Fence a worker of another host if its lease still ends at `deadline`; no message is blamed.

        Call this only for a lease that `ExpiryConfirmation` has confirmed: after an outage of Redis every lease has run
        out.
        """
        reply = self._reap(wid, expired_deadline=deadline, to="head", crash=None)
        return Alive() if reply[0] == b"ALIVE" else _reaped(reply)

    def _reap(self, wid: str, *, expired_deadline: int | Literal[""], to: Side, crash: Crash | None) -> list[Any]:
        """Reap in one step, or in several if the worker held many claims; any process may finish those steps."""
        verdict, *rest = _run_reap(self._redis, wid=wid, expired_deadline=expired_deadline, side=to, crash=crash)
        if verdict != b"MANY":
            return [verdict, *rest]
        dead_lettered, released = rest[1], 0
        # The first call has set the lease's deadline to 0.
        deadline_now: int | Literal[""] = "" if expired_deadline == "" else 0
        while verdict == b"MANY":
            released += self._give_back(wid, to=to, crash=crash)
            verdict, *rest = _run_reap(self._redis, wid=wid, expired_deadline=deadline_now, side=to, crash=None)
        return [verdict, released + rest[0], dead_lettered] if verdict == b"REAPED" else [verdict]

    def _give_back(self, wid: str, *, to: Side, crash: Crash | None) -> int:
        """Give back all claims of a worker, in portions, and keep their order.

        If more than one claim may have caused the crash, mark the message of each as a suspect: workers claim such a
        message alone from then on.
        """
        held = sorted((i for i, _ in claims_of(self._redis, wid)), key=_serial, reverse=to == "head")
        suspected = frozenset(held if crash is None or crash.claims is None else crash.claims)
        released = 0
        for start in range(0, len(held), _MOST_AT_ONCE):
            portion = held[start : start + _MOST_AT_ONCE]
            suspects = [i for i in portion if i in suspected]
            if crash is not None and len(suspected) > 1 and suspects:
                _run_suspect(self._redis, claims=keys.claims(wid), claim_ids=suspects)
            released += run_release(self._redis, claims=keys.claims(wid), side=to, claim_ids=portion)
        return released


def _serial(claim_id: str) -> int:
    """Return the number of a claim, by which claims are ordered, as parts/record.lua does."""
    return int(claim_id.rpartition("-")[2])


def _reaped(reply: list[Any]) -> Reaped | AlreadyReaped:
    if reply[0] == b"GONE":
        return AlreadyReaped()
    _, released, dead_lettered = reply
    return Reaped(released, dead_lettered.decode() or None)


class ExpiryConfirmation:
    """Distinguishes a dead host from a short interruption. It does no I/O; its input is `Leases.expired`.

    A lease is confirmed as lost when it was seen expired twice with the same deadline, `patience_s` apart. A live
    supervisor would have renewed it in between, even if the server had been unreachable before.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._since: dict[tuple[str, int], float] = {}

    def confirm(self, expired: Mapping[str, int], at: float) -> list[tuple[str, int]]:
        """Take the leases that are expired now, at the monotonic time `at`, and forget all others.

        Return those that have been expired for `patience_s`.
        """
        self._since = {lease: self._since.get(lease, at) for lease in expired.items()}
        return [lease for lease, since in self._since.items() if at - since >= self._patience_s]

    def next_s(self, at: float) -> float:
        """Return the seconds until the next of the expired leases may be confirmed."""
        return min((since + self._patience_s - at for since in self._since.values()), default=math.inf)


def _is_text(wid: bytes) -> bool:
    """Return True if a member of the zset can be a worker's name."""
    try:
        wid.decode()
    except UnicodeDecodeError:
        return False
    return True
