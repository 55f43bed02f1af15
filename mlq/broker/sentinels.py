"""Sentinels: why they name no primary. redis-py says the same whether none answers, none knows it, or it is down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from mlq.errors import BrokerRefused, BrokerUnreachable, MlqError, UnknownPrimary

if TYPE_CHECKING:
    from redis import Redis

    from mlq.broker.connection import Address

_PORT: Final = 26379
_PATIENCE_S: Final = 1.0
"""For each Sentinel: a person waits, and there are three of them."""


@dataclass
class _Said:
    """What the Sentinels of a URL said, one by one."""

    known: set[str] = field(default_factory=set)
    down: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    away: list[str] = field(default_factory=list)


def explain(address: Address, options: Mapping[str, Any]) -> MlqError:
    """Ask each Sentinel of a URL about the primary that the transport options name."""
    name, said = str(options.get("master_name")), _Said()
    for url in address.url.split(";"):
        _ask(url, name, options.get("sentinel_kwargs") or {}, said)
    facts: Any = {"url": address.shown, "origin": address.origin}
    if said.down:
        reason = f"its Sentinels take primary {name!r} for down ({said.down[0]})"
        hint = f"start it; `redis-cli -p {_PORT} SENTINEL CKQUORUM {name}` tells whether another can be elected"
        return BrokerUnreachable(**facts, reason=reason, mend=hint)
    if said.known:
        return UnknownPrimary(**facts, name=name, known=", ".join(sorted(said.known)))
    if said.refused:
        hint = 'its own password goes into broker_transport_options: {"sentinel_kwargs": {"password": "…"}}'
        if "unknown command" in said.refused[0]:
            hint = f"that is no Sentinel: set {address.setting} to redis://, or to the port of one ({_PORT})"
        return BrokerRefused(**facts, reason=said.refused[0], mend=hint)
    hint = f"start them, or name those that run in {address.setting}: sentinel://a:{_PORT};sentinel://b:{_PORT}"
    return BrokerUnreachable(**facts, reason=f"no Sentinel answers: {'; '.join(said.away)}", mend=hint)


def _ask(url: str, name: str, credentials: Mapping[str, Any], said: _Said) -> None:
    from redis import Redis
    from redis.exceptions import AuthenticationError, RedisError, ResponseError

    place = urlsplit(url)
    at = f"{place.hostname}:{place.port or _PORT}"
    given = {"socket_timeout": _PATIENCE_S, "socket_connect_timeout": _PATIENCE_S, **credentials}
    try:
        with Redis(host=place.hostname or "localhost", port=place.port or _PORT, **given) as sentinel:
            primaries: Any = sentinel.sentinel_masters()
            said.known |= set(primaries)
            if name in primaries:
                said.down.append(f"{_state(primaries[name])}; {_quorum(sentinel, name)}")
    except (AuthenticationError, ResponseError) as exc:
        said.refused.append(f"{at}: {exc}".rstrip())
    except (RedisError, OSError) as exc:
        said.away.append(f"{at}: {exc}".rstrip("."))


def _state(primary: Mapping[str, Any]) -> str:
    return f"{primary.get('ip')}:{primary.get('port')}, {str(primary.get('flags')).replace('_', '-')}"


def _quorum(sentinel: Redis, name: str) -> str:
    """Give what a Sentinel says of the others that it needs to elect another primary."""
    from redis.exceptions import ResponseError

    try:
        sentinel.execute_command("SENTINEL CKQUORUM", name)  # type: ignore[no-untyped-call]
    except ResponseError as exc:
        return str(exc)
    return "enough Sentinels are there to elect another"
