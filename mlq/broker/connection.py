"""Connections to the broker, the state store and the result store, and errors with hints for their failures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from mlq.broker import embedded, key_types, rabbitmq, refusals, schema, sentinels
from mlq.broker.errors import (
    ClusterBroker,
    KeyOfAnotherType,
    NeedsRedis,
    NoBroker,
    NoResults,
    NoStateStore,
    UnreadableResults,
)
from mlq.errors import MlqError
from mlq.security.masking import masked, without_passwords
from mlq.settings import server_url, tls
from mlq.settings.config import Settings, state_directory
from mlq.settings.errors import InvalidSetting

if TYPE_CHECKING:
    from pathlib import Path

    from kombu import Connection
    from redis import Redis

    from mlq.broker.credentials import FileCredentials

_KEY_NAMES: Final = {"global_keyprefix", "priority_steps", "sep"}
"""Transport options that change the keys of queues: with them a worker would find its queues empty."""

_CONNECT_TIMEOUT_S: Final = 3.0
_ANSWER_TIMEOUT_S: Final = 4.0
"""A broker that does not answer must be reported within 5 s, including the start of the command."""

_TIME_LIMITS: Final = {"socket_timeout", "socket_connect_timeout", "socket_keepalive"}


@dataclass(frozen=True)
class Address:
    """The address of a broker or store, and the setting that names it."""

    url: str
    origin: str
    """Where the setting was found."""

    setting: str = "MLQ_BROKER_URL"
    """What a hint tells the user to change."""

    is_embedded: bool = False
    file: Path | None = None
    """The file that contains the URL, if it is in a file of its own."""

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return masked(self.url)

    def __repr__(self) -> str:
        return f"Address({self.shown!r}, {self.origin!r})"


def broker_address(settings: Settings) -> Address:
    """Return the address of the configured broker, or else of this user's running embedded broker.

    Raises NoBroker.
    """
    if settings.broker_url is not None:
        return configured_address(settings, "broker_url")
    running = embedded.find(state_directory(settings))
    if running is None:
        raise NoBroker
    return Address(running.url, f"the embedded broker, pid {running.pid}", is_embedded=True)


def configured_address(settings: Settings, key: str) -> Address:
    """Return the address of the server that a setting names."""
    url, file = str(settings.get(key)), settings.url_file(key)
    setting = f"MLQ_{key.upper()}" if file is None else f"the URL in {file}"
    return Address(url, settings.origin(key), setting, file=file)


def credentials(address: Address) -> FileCredentials | None:
    """Return the credentials that are read again for each connection; None for a URL that is not in a file."""
    if address.file is None:
        return None
    from mlq.broker.credentials import read_from

    return read_from(address.file, address.url)


def state_address(settings: Settings) -> Address:
    """Return the address of the Redis for workers and jobs: state_url, else the broker, else the result backend.

    Raises NoBroker, NoStateStore.
    """
    if settings.state_url is not None:
        return configured_address(settings, "state_url")
    broker = broker_address(settings)
    if is_redis(broker.url):
        return broker
    if settings.result_backend is not None and is_redis(settings.result_backend):
        return configured_address(settings, "result_backend")
    raise NoStateStore(url=broker.shown)


def result_address(settings: Settings) -> Address:
    """Return the address of the Redis for results. Raises NoBroker, NoResults, UnreadableResults."""
    if settings.result_backend is None:
        found = broker_address(settings)
    else:
        found = configured_address(settings, "result_backend")
    if found.url == "none":
        raise NoResults(origin=found.origin)
    if not is_redis(found.url):
        raise UnreadableResults(url=found.shown, origin=found.origin)
    return found


def transport_options(settings: Settings, url: str) -> dict[str, Any]:
    """Return the transport options for kombu and Celery, with time limits, so that no client waits forever."""
    given = settings.broker_transport_options or {}
    if not is_redis(url):
        # Without confirms, a message that is published while the connection breaks is lost without an error.
        return {"confirm_publish": True, **given} if url.startswith("amqp") else dict(given)
    if _is_watched(url) and "master_name" not in given:
        raise _invalid_options(settings, 'a sentinel:// broker needs the name of its primary: {"master_name": "…"}')
    renamed = sorted(_KEY_NAMES & given.keys())
    if renamed:
        raise _invalid_options(settings, f"mlq finds messages by kombu's own key names, which {renamed[0]} changes")
    options = {
        "visibility_timeout": settings.visibility_timeout,
        "queue_order_strategy": "priority",
        "socket_timeout": settings.socket_timeout,
        "socket_connect_timeout": min(_CONNECT_TIMEOUT_S, settings.socket_timeout),
        "socket_keepalive": True,
        "health_check_interval": settings.socket_timeout,
        **given,
        **server_url.read(url).options,  # options in the URL apply to this server only
    }
    return _with_sentinels(options) if _is_watched(url) else options


def _with_sentinels(options: dict[str, Any]) -> dict[str, Any]:
    """Add options so that each Sentinel is asked once, with the server's time limits, before the next one is asked.

    By default redis-py retries an unreachable Sentinel for seconds before it asks the next one.
    """
    given = options.get("sentinel_kwargs") or {}
    if not isinstance(given, Mapping):  # invalid: redis-py will report it
        return options
    limits = {name: value for name, value in options.items() if name in _TIME_LIMITS}
    return {**options, "sentinel_kwargs": {**limits, "retry": None, **given}}


def _invalid_options(settings: Settings, reason: str) -> InvalidSetting:
    key = "broker_transport_options"
    value = without_passwords(settings.broker_transport_options)
    return InvalidSetting(key=key, value=value, origin=settings.origin(key), reason=reason)


def bare(url: str) -> str:
    """Return a URL without its options, which are passed separately (`transport_options`, `tls.options`).

    Two URLs of the same database are equal then, even if their options differ.
    """
    return server_url.read(url).url if is_redis(url) or url.startswith("amqps") else url


def connectable(address: Address) -> str:
    """Return the URL with which to connect: without user and password if they are read from a file."""
    url = bare(address.url)
    return url if address.file is None else server_url.without_credentials(url)


@contextmanager
def connected(settings: Settings, address: Address, *, any_schema: bool = False) -> Iterator[Connection]:
    """Open a kombu connection, and convert its failures to mlq's errors.

    Raises BrokerUnreachable, BrokerRefused; and, unless `any_schema`, OtherSchema for keys that this mlq cannot use.
    """
    from mlq.broker.channels import PatientConnection

    options = _impatient(transport_options(settings, address.url), address)
    arguments = {"transport_options": options, **_tls(address.url), "connect_timeout": _CONNECT_TIMEOUT_S}
    connection = PatientConnection.reading(credentials(address))(connectable(address), **arguments)
    with explained(address, options), connection, _with_cluster_named(address, arguments):
        try:
            # Try each address once: connect() would retry after 2 s. One attempt asks all Sentinels.
            further = 0 if _is_watched(address.url) else max(0, len(connection.alt) - 1)
            connection.ensure_connection(max_retries=further)
        except (TypeError, ValueError, AttributeError, LookupError) as exc:
            # The configured options are passed unchanged to kombu and redis-py, which validate few of them.
            if settings.broker_transport_options is None:
                raise
            raise _invalid_options(settings, f"kombu cannot connect with it: {type(exc).__name__}: {exc}") from exc
        if is_redis(address.url):
            _demand_no_cluster(redis_client(connection), address)
            if not any_schema:
                schema.demand(redis_client(connection), address)
        yield connection


@contextmanager
def state_store(settings: Settings) -> Iterator[Redis]:
    """Open the Redis that holds mlq's own records.

    Raises NoBroker, NoStateStore, BrokerUnreachable, BrokerRefused.
    """
    with connected(settings, state_address(settings)) as connection:
        yield redis_client(connection)


def results_beside_queues(settings: Settings, broker: Address) -> bool:
    """Return True if results are in the broker's database, where the script that ends a claim can store them."""
    return settings.result_backend is None or bare(settings.result_backend) == bare(broker.url)


@contextmanager
def result_store(settings: Settings) -> Iterator[Redis]:
    """Open the Redis that holds results: the result backend, or else the broker.

    Raises NoBroker, NoResults, UnreadableResults, BrokerUnreachable, BrokerRefused.
    """
    with connected(settings, result_address(settings)) as connection:
        yield redis_client(connection)


def redis_client(connection: Connection) -> Redis:
    """Return kombu's own Redis client, which supports every form of URL that workers support, including Sentinel."""
    channel: Any = connection.default_channel
    return cast("Redis", channel.client)


def with_timeout(client: Redis, seconds: float) -> Redis:
    """Return a client for the same server with its own connections, which wait at most `seconds` for a reply."""
    from redis import ConnectionPool, Redis

    pool = client.connection_pool
    longest = pool.connection_kwargs.get("socket_timeout") or seconds
    kwargs = {**pool.connection_kwargs, "socket_timeout": min(seconds, longest)}
    return Redis(connection_pool=ConnectionPool(connection_class=pool.connection_class, **kwargs))


@contextmanager
def explained(address: Address, options: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Convert a failed connection to an error with a hint. `options` are the transport options, for Sentinel."""
    try:
        yield
    except (MlqError, BrokenPipeError):  # has its hint already; the output's reader has closed the pipe
        raise
    except Exception as exc:
        if _is_watched(address.url) and options and refusals.has_no_primary(exc):
            raise sentinels.explain(address, options, refusals.reason_of(exc)) from exc
        found = _misplaced(address, exc, options) or rabbitmq.refusal(exc, address) or refusals.explain(exc, address)
        if found is None:
            raise
        raise found from exc


def _misplaced(address: Address, exc: Exception, options: Mapping[str, Any] | None) -> MlqError | None:
    """Return the error for a key of another type, after a search for it: the server does not name the key."""
    from mlq.broker.channels import PatientConnection

    if not is_redis(address.url) or not key_types.is_wrong_type(exc):
        return None
    arguments = {"transport_options": options or {}, **_tls(address.url), "connect_timeout": _CONNECT_TIMEOUT_S}
    try:
        with PatientConnection(bare(address.url), **arguments) as connection:
            found = key_types.find(redis_client(connection))
    except Exception:  # noqa: BLE001 (if the search fails, the server's own error is shown)
        return None
    if not found:
        return None
    key = found[0]
    return KeyOfAnotherType(url=address.shown, origin=address.origin, reason=key.sentence, fix=key.repair)


def _demand_no_cluster(redis: Redis, address: Address) -> None:
    """Refuse a cluster at once: a single node executes some commands, but does not have the keys of the others."""
    from redis.exceptions import ResponseError

    try:
        server: Any = redis.info("server")
    except ResponseError:  # INFO is refused or renamed: the first command that a cluster refuses will reveal it
        return
    if "cluster" in {server.get("redis_mode"), server.get("server_mode")}:
        fix = f"set {address.setting} to a server that is no cluster; Sentinel (sentinel://) gives one that fails over"
        raise ClusterBroker(url=address.shown, origin=address.origin, fix=fix)


@contextmanager
def _with_cluster_named(address: Address, arguments: Mapping[str, Any]) -> Iterator[None]:
    """If the database does not exist, check in database 0 for a cluster: Valkey only reports an invalid number."""
    from mlq.broker.channels import PatientConnection

    try:
        yield
    except Exception as exc:
        if refusals.names_no_database(exc) and is_redis(address.url):
            of_file = PatientConnection.reading(credentials(address))
            with of_file(server_url.in_database_0(connectable(address)), **arguments) as connection:
                _demand_no_cluster(redis_client(connection), address)
        raise


def _impatient(options: dict[str, Any], address: Address) -> dict[str, Any]:
    """Shorten the time limit of replies, because a user waits. Sentinels, asked one after another, share the limit."""
    timeout = options.get("socket_timeout")
    if not isinstance(timeout, (int, float)):  # none, or invalid: kombu will report it
        return options
    shortened = {**options, "socket_timeout": min(_ANSWER_TIMEOUT_S, timeout)}
    asked = options.get("sentinel_kwargs")
    if not _is_watched(address.url) or not isinstance(asked, Mapping):
        return shortened
    share = min(timeout, _ANSWER_TIMEOUT_S / len(address.url.split(";")))
    limits = {"socket_timeout": share, "socket_connect_timeout": share}
    return {**shortened, "sentinel_kwargs": {**asked, **limits}}


def _tls(url: str) -> dict[str, Any]:
    options = tls.options(url)
    return {"ssl": options} if options else {}


def _is_watched(url: str) -> bool:
    """Return True for a URL of Sentinels."""
    return url.startswith("sentinel://")


def is_redis(url: str) -> bool:
    """Return True for a URL of a Redis or Valkey server, in any form."""
    return url.partition("://")[0] in server_url.REDIS


def demand_redis(address: Address, what: str) -> None:
    """Check that a broker can hold mlq's own keys. Raises NeedsRedis."""
    if not is_redis(address.url):
        raise NeedsRedis(what=what, url=address.shown, origin=address.origin)
