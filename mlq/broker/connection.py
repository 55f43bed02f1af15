"""Connections to the broker and to the state store, and what their failures mean to a user."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

from mlq.broker import embedded
from mlq.config import DEFAULT, Settings, state_directory
from mlq.errors import (
    BrokerRefused,
    BrokerUnreachable,
    InvalidSetting,
    MlqError,
    NeedsRedis,
    NoBroker,
    NoResults,
    NoStateStore,
    UnreadableResults,
)
from mlq.masking import masked

if TYPE_CHECKING:
    from kombu import Connection
    from redis import Redis

_KEY_NAMES: Final = {"global_keyprefix", "priority_steps", "sep"}
"""Transport options that change the names of the lists: a worker would see an empty queue."""

_CONNECT_TIMEOUT_S: Final = 3.0
_ANSWER_TIMEOUT_S: Final = 4.0
"""A broker that does not answer must be reported within 5 s, the start of the command included."""

_PIPELINED: Final = re.compile(r"\ACommand # \d+ .* of pipeline caused error: ", re.DOTALL)


@dataclass(frozen=True)
class Address:
    """A broker or store: where it is, and which setting says so."""

    url: str
    origin: str

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return masked(self.url)


def broker_address(settings: Settings) -> Address:
    """Find the broker: the configured one, else the embedded one that runs for this user.

    Raises NoBroker.
    """
    if settings.broker_url is not None:
        return Address(settings.broker_url, settings.origin("broker_url"))
    running = embedded.find(state_directory(settings))
    if running is None:
        raise NoBroker
    return Address(running.url, f"the embedded broker, pid {running.pid}")


def state_address(settings: Settings) -> Address:
    """Find the Redis that records workers and jobs: state_url, else the broker, else the result backend.

    Raises NoBroker, NoStateStore.
    """
    if settings.state_url is not None:
        return Address(settings.state_url, settings.origin("state_url"))
    broker = broker_address(settings)
    if is_redis(broker.url):
        return broker
    if settings.result_backend is not None and is_redis(settings.result_backend):
        return Address(settings.result_backend, settings.origin("result_backend"))
    raise NoStateStore(url=broker.shown)


def result_address(settings: Settings) -> Address:
    """Find the Redis that holds results. Raises NoBroker, NoResults, UnreadableResults."""
    if settings.result_backend is None:
        found = broker_address(settings)
    else:
        found = Address(settings.result_backend, settings.origin("result_backend"))
    if found.url == "none":
        raise NoResults(origin=found.origin)
    if not is_redis(found.url):
        raise UnreadableResults(url=found.shown, origin=found.origin)
    return found


def transport_options(settings: Settings, url: str) -> dict[str, Any]:
    """Give kombu and Celery the options without which a frozen server blocks its clients for ever."""
    given = settings.broker_transport_options or {}
    if not is_redis(url):
        return dict(given)
    if url.startswith("sentinel://") and "master_name" not in given:
        raise _invalid_options(settings, 'a sentinel:// broker needs the name of its primary: {"master_name": "…"}')
    renamed = sorted(_KEY_NAMES & given.keys())
    if renamed:
        raise _invalid_options(settings, f"mlq finds messages by kombu's own key names, which {renamed[0]} changes")
    return {
        "visibility_timeout": settings.visibility_timeout,
        "queue_order_strategy": "priority",
        "socket_timeout": settings.socket_timeout,
        "socket_connect_timeout": min(_CONNECT_TIMEOUT_S, settings.socket_timeout),
        "socket_keepalive": True,
        "health_check_interval": settings.socket_timeout,
        **given,
    }


def _invalid_options(settings: Settings, reason: str) -> InvalidSetting:
    key = "broker_transport_options"
    value = masked(str(settings.broker_transport_options))
    return InvalidSetting(key=key, value=value, origin=settings.origin(key), reason=reason)


def tls_options(url: str) -> dict[str, Any] | None:
    """Demand a certificate with the right name on rediss://; kombu by itself would accept any, silently."""
    if not url.startswith("rediss://"):
        return None
    import ssl

    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}


@contextmanager
def connected(settings: Settings, address: Address) -> Iterator[Connection]:
    """Open a connection of kombu's, and turn its failures into ours.

    Raises BrokerUnreachable, BrokerRefused.
    """
    from kombu import Connection

    connection = Connection(
        address.url,
        transport_options=_impatient(transport_options(settings, address.url)),
        **_tls(address.url),
        connect_timeout=_CONNECT_TIMEOUT_S,
    )
    with explained(address), connection:
        # Each address once: connect() would wait 2 s and try again.
        connection.ensure_connection(max_retries=max(0, len(connection.alt) - 1))
        yield connection


@contextmanager
def state_store(settings: Settings) -> Iterator[Redis]:
    """Open the Redis that holds what mlq itself records.

    Raises NoBroker, NoStateStore, BrokerUnreachable, BrokerRefused.
    """
    with connected(settings, state_address(settings)) as connection:
        yield redis_client(connection)


def results_beside_queues(settings: Settings, broker: Address) -> bool:
    """Tell whether results are in the broker's own database, where one script can write them with all else."""
    return settings.result_backend in {None, broker.url}


@contextmanager
def result_store(settings: Settings) -> Iterator[Redis]:
    """Open the Redis that holds results, which is the broker unless result_backend says otherwise.

    Raises NoBroker, NoResults, UnreadableResults, BrokerUnreachable, BrokerRefused.
    """
    with connected(settings, result_address(settings)) as connection:
        yield redis_client(connection)


def redis_client(connection: Connection) -> Redis:
    """Take kombu's own client: it understands every form of URL that workers do, Sentinel's included."""
    channel: Any = connection.default_channel
    return cast("Redis", channel.client)


def with_timeout(client: Redis, seconds: float) -> Redis:
    """Make a client of the same server, with connections of its own that wait no longer than this for a reply."""
    from redis import ConnectionPool, Redis

    pool = client.connection_pool
    longest = pool.connection_kwargs.get("socket_timeout") or seconds
    kwargs = {**pool.connection_kwargs, "socket_timeout": min(seconds, longest)}
    return Redis(connection_pool=ConnectionPool(connection_class=pool.connection_class, **kwargs))


@contextmanager
def explained(address: Address) -> Iterator[None]:
    """Say of a failed connection what a user can do about it."""
    try:
        yield
    except (MlqError, BrokenPipeError):  # explained already; the reader of our output has left, not the broker
        raise
    except Exception as exc:
        reason = _reason(exc)
        facts: Mapping[str, Any] = {"url": address.shown, "origin": address.origin, "reason": reason}
        if _is_refusal(exc) or (exc.__cause__ is not None and _is_refusal(exc.__cause__)):
            raise BrokerRefused(**facts, mend=_refusal_hint(reason)) from exc
        if _is_away(exc):
            raise BrokerUnreachable(**facts, mend=_away_hint(address)) from exc
        raise


def _impatient(options: dict[str, Any]) -> dict[str, Any]:
    """Shorten the time for an answer: a person waits for it."""
    timeout = options.get("socket_timeout")
    return options if timeout is None else {**options, "socket_timeout": min(_ANSWER_TIMEOUT_S, timeout)}


def _tls(url: str) -> dict[str, Any]:
    options = tls_options(url)
    return {"ssl": options} if options else {}


def is_redis(url: str) -> bool:
    """Tell a Redis or Valkey server, in every form of its URL, from other brokers."""
    return urlsplit(url).scheme in {"redis", "rediss", "redis+socket", "sentinel"}


def demand_redis(address: Address, what: str) -> None:
    """Make sure that a broker is one in which mlq's own keys can be. Raises NeedsRedis."""
    if not is_redis(address.url):
        raise NeedsRedis(what=what, url=address.shown, origin=address.origin)


def _is_away(exc: Exception) -> bool:
    import socket

    from kombu.exceptions import OperationalError
    from redis.exceptions import ConnectionError as RedisConnectionError
    from redis.exceptions import TimeoutError as RedisTimeoutError

    # No other OSError: a full disk under the output is not a broker that is away.
    away = (OperationalError, RedisConnectionError, RedisTimeoutError, ConnectionError, TimeoutError, socket.gaierror)
    return isinstance(exc, away)


def _is_refusal(exc: BaseException) -> bool:
    from redis.exceptions import AuthenticationError, ResponseError

    return isinstance(exc, (AuthenticationError, ResponseError))


def _reason(exc: Exception) -> str:
    """Give the server's own words; redis-py puts the command before them, and that holds what was to be stored."""
    said = _PIPELINED.sub("", str(exc))
    return said.strip().rstrip(".") or type(exc).__name__


def _refusal_hint(reason: str) -> str:
    if reason.startswith(("OOM", "command not allowed when used memory")):
        return "its memory is full: let workers drain it, or raise maxmemory; `mlq queues` shows what waits"
    if "NOAUTH" in reason or "WRONGPASS" in reason or "uthentication" in reason or "password" in reason:
        return "put the right user and password into MLQ_BROKER_URL: redis://user:password@host:6379/0"
    return "see its log; MLQ_BROKER_URL names another server"


def _away_hint(address: Address) -> str:
    if _in_container() and urlsplit(address.url).hostname in {"localhost", "127.0.0.1", "::1"}:
        return "inside a container `localhost` is the container: set MLQ_BROKER_URL to the server's own name"
    if address.origin == DEFAULT or address.origin.startswith("the embedded"):
        return "start one with `mlq up`, or set MLQ_BROKER_URL"
    return "start that server, or set MLQ_BROKER_URL to another; with neither, `mlq up` runs an embedded one"


def _in_container() -> bool:
    marks = (Path("/.dockerenv"), Path("/run/.containerenv"))
    return any(m.exists() for m in marks) or "KUBERNETES_SERVICE_HOST" in os.environ
