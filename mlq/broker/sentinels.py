"""Sentinels: finds out why they name no primary.

redis-py raises the same error if no Sentinel answers, if none knows the primary, and if the primary is down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from mlq.broker.errors import BrokerRefused, BrokerUnreachable, UnknownPrimary
from mlq.errors import MlqError

if TYPE_CHECKING:
    from redis import Redis

    from mlq.broker.connection import Address

_PORT: Final = 26379
_PATIENCE_S: Final = 1.0
"""Seconds to wait for each Sentinel: a user waits for the answer, and there are usually three Sentinels."""


@dataclass(frozen=True)
class _Watched:
    """A Sentinel's view of the primary."""

    primary: str
    """Host and port of the primary."""

    state: str
    """The Sentinel's description of its state."""

    is_down: bool
    sentinel: str
    """Host and port of the Sentinel."""


@dataclass
class _Answers:
    """The answers of all Sentinels of a URL."""

    known: set[str] = field(default_factory=set)
    watched: list[_Watched] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    away: list[str] = field(default_factory=list)


def explain(address: Address, options: Mapping[str, Any], failed: str) -> MlqError:
    """Ask each Sentinel of a URL about the primary in the transport options; `failed` is redis-py's error text."""
    name, answers = str(options.get("master_name")), _Answers()
    for url in address.url.split(";"):
        _ask(url, name, options.get("sentinel_kwargs") or {}, answers)
    facts: Any = {"url": address.shown, "origin": address.origin}
    if answers.watched:
        watched = next((view for view in answers.watched if view.is_down), answers.watched[0])
        return BrokerUnreachable(**facts, **_explain_primary(watched, name, failed))
    if answers.known:
        return UnknownPrimary(**facts, name=name, known=", ".join(sorted(answers.known)))
    if answers.refused:
        hint = 'its own password goes into broker_transport_options: {"sentinel_kwargs": {"password": "…"}}'
        if "unknown command" in answers.refused[0]:
            hint = f"that is no Sentinel: set {address.setting} to redis://, or to the port of one ({_PORT})"
        return BrokerRefused(**facts, reason=answers.refused[0], fix=hint)
    hint = f"start them, or name those that run in {address.setting}: sentinel://a:{_PORT};sentinel://b:{_PORT}"
    return BrokerUnreachable(**facts, reason=f"no Sentinel answers: {'; '.join(answers.away)}", fix=hint)


def _explain_primary(watched: _Watched, name: str, failed: str) -> dict[str, str]:
    """Return reason and fix. Sentinel regards a dead primary as up until `down-after-milliseconds` have passed."""
    host, _, port = watched.sentinel.rpartition(":")
    quorum = f"`redis-cli -h {host} -p {port} SENTINEL CKQUORUM {name}` tells whether another can be elected"
    if watched.is_down:
        reason = f"its Sentinels regard primary {name!r} as down ({watched.primary}, {watched.state})"
        return {"reason": reason, "fix": f"start it; {quorum}"}
    error = failed.partition(" : ")[0]  # the rest describes redis-py's clients
    reason = f"{error}; its Sentinels regard primary {name!r} as up ({watched.primary}, {watched.state})"
    return {"reason": reason, "fix": f"start it, or let this host reach {watched.primary} if it runs; {quorum}"}


def _ask(url: str, name: str, given: Mapping[str, Any], answers: _Answers) -> None:
    from redis import Redis
    from redis.exceptions import AuthenticationError, RedisError, ResponseError

    place = urlsplit(url)
    at = f"{place.hostname}:{place.port or _PORT}"
    limits = {"socket_timeout": _PATIENCE_S, "socket_connect_timeout": _PATIENCE_S, "retry": None}
    try:
        with Redis(host=place.hostname or "localhost", port=place.port or _PORT, **{**given, **limits}) as sentinel:
            primaries: Any = sentinel.sentinel_masters()
            answers.known |= set(primaries)
            if name in primaries:
                answers.watched.append(_watched(sentinel, name, primaries[name], at))
    except (AuthenticationError, ResponseError) as exc:
        answers.refused.append(f"{at}: {exc}".rstrip())
    except (RedisError, OSError) as exc:
        answers.away.append(f"{at}: {exc}".rstrip("."))


def _watched(sentinel: Redis, name: str, primary: Mapping[str, Any], at: str) -> _Watched:
    flags = str(primary.get("flags")).replace("_", "-")
    place = f"{primary.get('ip')}:{primary.get('port')}"
    return _Watched(place, f"{flags}; {_quorum(sentinel, name)}", "down" in flags, at)


def _quorum(sentinel: Redis, name: str) -> str:
    """Return a Sentinel's statement on whether enough Sentinels are reachable to elect another primary."""
    from redis.exceptions import ResponseError

    try:
        sentinel.execute_command("SENTINEL CKQUORUM", name)  # type: ignore[no-untyped-call]
    except ResponseError as exc:
        return str(exc)
    return "enough Sentinels are there to elect another"
