"""Connections to the broker and to the state store, and what their failures mean to a user."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from mlq.broker import embedded, key_types, rabbitmq, refusals, schema, sentinels
from mlq.errors import (
    ClusterBroker,
    InvalidSetting,
    KeyOfAnotherType,
    MlqError,
    NeedsRedis,
    NoBroker,
    NoResults,
    NoStateStore,
    UnreadableResults,
)
from mlq.security.masking import masked, without_passwords
from mlq.settings import server_url, tls
from mlq.settings.config import Settings, state_directory

if TYPE_CHECKING:
    from pathlib import Path

    from kombu import Connection
    from redis import Redis

    from mlq.broker.credentials import FileCredentials

_KEY_NAMES: Final = {"global_keyprefix", "priority_steps", "sep"}
"""Transport options that change the names of the lists: a worker would see an empty queue."""

_CONNECT_TIMEOUT_S: Final = 3.0
_ANSWER_TIMEOUT_S: Final = 4.0
"""A broker that does not answer must be reported within 5 s, the start of the command included."""

_TIME_LIMITS: Final = {"socket_timeout", "socket_connect_timeout", "socket_keepalive"}


@dataclass(frozen=True)
class Address:
    """A broker or store: where it is, and which setting says so.

    `origin` is where that setting was found, `setting` what a hint tells to change, `file` where the URL was read.
    """

    url: str
    origin: str
    setting: str = "MLQ_BROKER_URL"
    is_embedded: bool = False
    file: Path | None = None

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return masked(self.url)

    def __repr__(self) -> str:
        return f"Address({self.shown!r}, {self.origin!r})"


def broker_address(settings: Settings) -> Address:
    """Find the broker: the configured one, else the embedded one that runs for this user.

    Raises NoBroker.
    """
    if settings.broker_url is not None:
        return configured_address(settings, "broker_url")
    running = embedded.find(state_directory(settings))
    if running is None:
        raise NoBroker
    return Address(running.url, f"the embedded broker, pid {running.pid}", is_embedded=True)


def configured_address(settings: Settings, key: str) -> Address:
    """Give the server that a setting names."""
    url, file = str(settings.get(key)), settings.url_file(key)
    setting = f"MLQ_{key.upper()}" if file is None else f"the URL in {file}"
    return Address(url, settings.origin(key), setting, file=file)


def credentials(address: Address) -> FileCredentials | None:
    """Give what reads user and password of a server anew; None for a URL that is in no file of its own."""
    if address.file is None:
        return None
    from mlq.broker.credentials import read_from

    return read_from(address.file, address.url)


def state_address(settings: Settings) -> Address:
    """Find the Redis that records workers and jobs: state_url, else the broker, else the result backend.

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
    """Find the Redis that holds results. Raises NoBroker, NoResults, UnreadableResults."""
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
    """Give kombu and Celery the options without which a frozen server blocks its clients for ever."""
    given = settings.broker_transport_options or {}
    if not is_redis(url):
        # Confirmed: a message that was published while the server went away would be lost without an error.
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
        **server_url.read(url).options,  # of this server alone
    }
    return _with_sentinels(options) if _is_watched(url) else options


def _with_sentinels(options: dict[str, Any]) -> dict[str, Any]:
    """Ask each Sentinel once, with the time limits of the server: if one is away, the next one knows the primary.

    redis-py would try one that is away again and again, for seconds, before it asks the next one.
    """
    given = options.get("sentinel_kwargs") or {}
    if not isinstance(given, Mapping):  # nonsense, of which redis-py is to say so
        return options
    limits = {name: value for name, value in options.items() if name in _TIME_LIMITS}
    return {**options, "sentinel_kwargs": {**limits, "retry": None, **given}}


def _invalid_options(settings: Settings, reason: str) -> InvalidSetting:
    key = "broker_transport_options"
    value = without_passwords(settings.broker_transport_options)
    return InvalidSetting(key=key, value=value, origin=settings.origin(key), reason=reason)


def bare(url: str) -> str:
    """Give a URL as kombu and Celery take it: its options go beside it (`transport_options`, `tls.options`).

    Two URLs of one database are the same then, whatever their options are.
    """
    return server_url.read(url).url if is_redis(url) or url.startswith("amqps") else url


def connectable(address: Address) -> str:
    """Give the URL with which to connect: without user and password where those are read from a file."""
    url = bare(address.url)
    return url if address.file is None else server_url.without_credentials(url)


@contextmanager
def connected(settings: Settings, address: Address, *, any_schema: bool = False) -> Iterator[Connection]:
    """Open a connection of kombu's, and turn its failures into ours.

    Raises BrokerUnreachable, BrokerRefused; OtherSchema, unless `any_schema`, for keys that this mlq cannot use.
    """
    from mlq.broker.channels import PatientConnection

    options = _impatient(transport_options(settings, address.url), address)
    arguments = {"transport_options": options, **_tls(address.url), "connect_timeout": _CONNECT_TIMEOUT_S}
    connection = PatientConnection.reading(credentials(address))(connectable(address), **arguments)
    with explained(address, options), connection, _with_cluster_named(address, arguments):
        try:
            # Each address once: connect() would wait 2 s and try again. Of Sentinels, one attempt asks all.
            further = 0 if _is_watched(address.url) else max(0, len(connection.alt) - 1)
            connection.ensure_connection(max_retries=further)
        except (TypeError, ValueError, AttributeError, LookupError) as exc:
            # What was configured goes to kombu and redis-py as it is, and they check little of it.
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
    """Open the Redis that holds what mlq itself records.

    Raises NoBroker, NoStateStore, BrokerUnreachable, BrokerRefused.
    """
    with connected(settings, state_address(settings)) as connection:
        yield redis_client(connection)


def results_beside_queues(settings: Settings, broker: Address) -> bool:
    """Tell whether results are in the broker's own database, where one script can write them with all else."""
    return settings.result_backend is None or bare(settings.result_backend) == bare(broker.url)


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
def explained(address: Address, options: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Say of a failed connection what a user can do about it. `options` are the transport's, for Sentinel."""
    try:
        yield
    except (MlqError, BrokenPipeError):  # explained already; the reader of our output has left, not the broker
        raise
    except Exception as exc:
        if _is_watched(address.url) and options and refusals.has_no_primary(exc):
            raise sentinels.explain(address, options, refusals.reason_of(exc)) from exc
        found = _misplaced(address, exc, options) or rabbitmq.refusal(exc, address) or refusals.explain(exc, address)
        if found is None:
            raise
        raise found from exc


def _misplaced(address: Address, exc: Exception, options: Mapping[str, Any] | None) -> MlqError | None:
    """Name the key of another type that a command met; the server does not say which it was."""
    from mlq.broker.channels import PatientConnection

    if not is_redis(address.url) or not key_types.is_wrong_type(exc):
        return None
    arguments = {"transport_options": options or {}, **_tls(address.url), "connect_timeout": _CONNECT_TIMEOUT_S}
    try:
        with PatientConnection(bare(address.url), **arguments) as connection:
            found = key_types.find(redis_client(connection))
    except Exception:  # noqa: BLE001 (whatever fails meanwhile: then the server's own words have to do)
        return None
    if not found:
        return None
    key = found[0]
    return KeyOfAnotherType(key=key.key, kind=key.kind, expected=key.expected, url=address.shown, fix=key.repair)


def _demand_no_cluster(redis: Redis, address: Address) -> None:
    """Refuse a cluster at once: one node answers some commands, and knows nothing of what is on the others."""
    from redis.exceptions import ResponseError

    try:
        server: Any = redis.info("server")
    except ResponseError:  # INFO is refused or renamed: then the first command that a cluster refuses names it
        return
    if "cluster" in {server.get("redis_mode"), server.get("server_mode")}:
        fix = f"set {address.setting} to a server that is no cluster; Sentinel (sentinel://) gives one that fails over"
        raise ClusterBroker(url=address.shown, origin=address.origin, fix=fix)


@contextmanager
def _with_cluster_named(address: Address, arguments: Mapping[str, Any]) -> Iterator[None]:
    """Look in database 0 if there is no other: a cluster of Valkey's says only that the number is too large."""
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
    """Shorten the time for an answer: a person waits for it. Sentinels, asked one after the other, share it."""
    timeout = options.get("socket_timeout")
    if not isinstance(timeout, (int, float)):  # none, or nonsense, of which kombu is to say so
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
    """Tell the URL of Sentinels from that of a server."""
    return url.startswith("sentinel://")


def is_redis(url: str) -> bool:
    """Tell a Redis or Valkey server, in every form of its URL, from other brokers."""
    return url.partition("://")[0] in server_url.REDIS


def demand_redis(address: Address, what: str) -> None:
    """Make sure that a broker is one in which mlq's own keys can be. Raises NeedsRedis."""
    if not is_redis(address.url):
        raise NeedsRedis(what=what, url=address.shown, origin=address.origin)
