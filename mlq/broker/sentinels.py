"""Sentinels: why they name no primary. redis-py raises one error whether none answers, none knows it, or it is down."""

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
class _Said:
    """The answers of all Sentinels of a URL."""

    known: set[str] = field(default_factory=set)
    watched: list[_Watched] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    away: list[str] = field(default_factory=list)


def explain(address: Address, options: Mapping[str, Any], failed: str) -> MlqError:
    """Ask each Sentinel of a URL about the primary in the transport options; `failed` is redis-py's error text."""
    name, said = str(options.get("master_name")), _Said()
    for url in address.url.split(";"):
        _ask(url, name, options.get("sentinel_kwargs") or {}, said)
    facts: Any = {"url": address.shown, "origin": address.origin}
    if said.watched:
        seen = next((watched for watched in said.watched if watched.is_down), said.watched[0])
        return BrokerUnreachable(**facts, **_of_primary(seen, name, failed))
    if said.known:
        return UnknownPrimary(**facts, name=name, known=", ".join(sorted(said.known)))
    if said.refused:
        hint = 'its own password goes into broker_transport_options: {"sentinel_kwargs": {"password": "…"}}'
        if "unknown command" in said.refused[0]:
            hint = f"that is no Sentinel: set {address.setting} to redis://, or to the port of one ({_PORT})"
        return BrokerRefused(**facts, reason=said.refused[0], fix=hint)
    hint = f"start them, or name those that run in {address.setting}: sentinel://a:{_PORT};sentinel://b:{_PORT}"
    return BrokerUnreachable(**facts, reason=f"no Sentinel answers: {'; '.join(said.away)}", fix=hint)


def _of_primary(seen: _Watched, name: str, failed: str) -> dict[str, str]:
    """Return reason and fix. Sentinel regards a dead primary as up until `down-after-milliseconds` have passed."""
    host, _, port = seen.sentinel.rpartition(":")
    quorum = f"`redis-cli -h {host} -p {port} SENTINEL CKQUORUM {name}` tells whether another can be elected"
    if seen.is_down:
        reason = f"its Sentinels regard primary {name!r} as down ({seen.primary}, {seen.state})"
        return {"reason": reason, "fix": f"start it; {quorum}"}
    said = failed.partition(" : ")[0]  # the rest describes redis-py's clients
    reason = f"{said}; its Sentinels regard primary {name!r} as up ({seen.primary}, {seen.state})"
    return {"reason": reason, "fix": f"start it, or let this host reach {seen.primary} if it runs; {quorum}"}


def _ask(url: str, name: str, given: Mapping[str, Any], said: _Said) -> None:
    from redis import Redis
    from redis.exceptions import AuthenticationError, RedisError, ResponseError

    place = urlsplit(url)
    at = f"{place.hostname}:{place.port or _PORT}"
    limits = {"socket_timeout": _PATIENCE_S, "socket_connect_timeout": _PATIENCE_S, "retry": None}
    try:
        with Redis(host=place.hostname or "localhost", port=place.port or _PORT, **{**given, **limits}) as sentinel:
            primaries: Any = sentinel.sentinel_masters()
            said.known |= set(primaries)
            if name in primaries:
                said.watched.append(_watched(sentinel, name, primaries[name], at))
    except (AuthenticationError, ResponseError) as exc:
        said.refused.append(f"{at}: {exc}".rstrip())
    except (RedisError, OSError) as exc:
        said.away.append(f"{at}: {exc}".rstrip("."))


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
