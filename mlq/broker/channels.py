"""Channels: kombu's Redis channels, which write to queues only, bound broadcasts, and look at queues outside of MULTI.

Redis 7 refuses every command inside MULTI while its memory is full, reads included; kombu declares queues there. A
worker that connected at such a moment could never take a message, so nothing would make room again. Each of these
methods reads, or writes what may be written twice, so none needs a transaction.
"""

from __future__ import annotations

import logging
import time
from functools import cache
from queue import Empty
from typing import TYPE_CHECKING, Any, ClassVar, cast

from kombu import Connection
from kombu.exceptions import EncodeError
from kombu.utils.json import loads
from redis.exceptions import ResponseError

from mlq.broker.script import is_full
from mlq.protocol import reserved_names
from mlq.protocol.control_messages import LARGEST_BYTES, Refused, complaints
from mlq.settings import tls

if TYPE_CHECKING:
    from mlq.broker.credentials import FileCredentials

log = logging.getLogger("mlq.channels")


class NotAQueue(EncodeError):
    """What is raised where a message was to be sent to a name that is no queue's.

    It is an EncodeError since Celery's tracer fails a task for one: where its links cannot be published for another
    reason, Celery 5.6 acknowledges the task and tells its client nothing.
    """

    __module__ = "celery.exceptions"


class QueuesOnly:
    """Mixed into kombu's Redis channels. Nothing goes to a key that holds no queue, whoever names it.

    A name comes from the options of a link, from the exchange's table of bindings, which clients may write, from the
    address for the reply to a control message, or from a message that stock Celery left in `unacked`.
    """

    def _put(self, queue: str, message: Any, **kwargs: Any) -> Any:
        """Publish. Raises NotAQueue."""
        demand_queue(queue)
        return super()._put(queue, message, **kwargs)  # type: ignore[misc]

    def _queue_bind(self, exchange: Any, routing_key: Any, pattern: Any, queue: Any) -> None:
        """Bind. Raises NotAQueue: the table of bindings would be left behind."""
        demand_queue(queue)
        super()._queue_bind(exchange, routing_key, pattern, queue)  # type: ignore[misc]

    def _do_restore_message(self, payload: Any, exchange: str, routing_key: str, *args: Any, **kwargs: Any) -> None:
        """Put a message back that a stock worker left, unless it says that it came from no queue.

        The sender wrote that, so nothing tells where it came from. It is dropped: if this raised, the others that were
        left behind it would never be restored.
        """
        channel: Any = self
        try:
            misplaced = next(filter(reserved_names.is_reserved, channel._lookup(exchange, routing_key)), None)  # noqa: SLF001 (as kombu looks it up)
        except ResponseError as exc:  # the table of bindings is a key of another type
            misplaced = f"{exchange} ({exc})"
        if misplaced is not None:
            log.error("a message that a stock worker left says that it came from %r, and is dropped", misplaced)
            return
        super()._do_restore_message(payload, exchange, routing_key, *args, **kwargs)  # type: ignore[misc]


def demand_queue(name: str) -> None:
    """Make sure that a name may be a queue's. Raises NotAQueue."""
    if reserved_names.is_reserved(name):
        message = f"nothing may be sent to {name!r}: {reserved_names.why_not_a_queue(name)}"
        raise NotAQueue(message)


class WithoutMulti(QueuesOnly):
    """Mixed into kombu's Redis channels."""

    _cannot_bind = False

    def _handle_message(self, client: Any, response: Any) -> Any:
        """Take what was published to a channel of the server's, and pass nothing on that is not to be decoded.

        kombu decodes whatever comes, and lets some of what it cannot decode end the process: what is nested too deeply,
        or stands for a type of Python's and is none.
        """
        payload = super()._handle_message(client, response)  # type: ignore[misc]
        try:
            _check_broadcast(payload["data"])
        except Refused as exc:
            complaints.add(exc)
            payload["data"] = b""  # kombu passes over what is empty
        return payload

    def _brpop_read(self, **options: Any) -> Any:
        """Take a message where Celery's own transport does; one that kombu cannot even hand over is gone, and said so.

        Stock lets it end the worker. A list, or text that is no JSON, names no client that could be told.
        """
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as exc:
            log.warning("a message cannot be decoded, and is discarded: %s", type(exc).__name__)
            raise Empty from None

    def _size(self, queue: str) -> int:
        return sum(self._ask_lists("llen", queue))

    def _has_queue(self, queue: str, **_: Any) -> bool:
        return any(self._ask_lists("exists", queue))

    def _ask_lists(self, command: str, queue: str) -> list[int]:
        """Ask the same of each of a queue's lists, one a priority step."""
        channel: Any = self
        with channel.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
            for priority in channel.priority_steps:
                pipe.execute_command(command, channel._q_for_pri(queue, priority))  # noqa: SLF001 (kombu's key scheme)
            return cast("list[int]", pipe.execute())

    def _delete(self, queue: str, exchange: str, routing_key: str, pattern: str, *_: Any, **kwargs: Any) -> None:
        """Delete a queue, as the reply queue of a monitor that leaves."""
        channel: Any = self
        channel.auto_delete_queues.discard(queue)
        member = channel.sep.join([routing_key or "", pattern or "", queue or ""])
        with channel.conn_or_acquire(client=kwargs.get("client")) as client:
            client.srem(channel.keyprefix_queue % (exchange,), member)
            client.srem(channel.keyprefix_binding_permanent % (exchange,), member)
            client.delete(*(channel._q_for_pri(queue, priority) for priority in channel.priority_steps))  # noqa: SLF001

    def _queue_bind(self, exchange: Any, routing_key: Any, pattern: Any, queue: Any) -> None:
        """Bind, or go on without while memory is full.

        Tasks are claimed by the names of their queues, and clients declare what they publish to. What is lost is the
        mark of a control queue, under which a monitor counts who listens; it still receives what is sent.
        """
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)
        except ResponseError as exc:
            if not is_full(exc):
                raise
            log.warning("queue %s is not bound: %s", queue, exc)

    def maybe_refresh_binding_expiry(self) -> None:
        """Keep bindings alive. While memory is full kombu would log a traceback every second."""
        channel: Any = self
        try:
            super().maybe_refresh_binding_expiry()  # type: ignore[misc]
        except ResponseError as exc:
            if not is_full(exc):
                raise
            channel._binding_expiry_refreshed_at = time.monotonic()  # noqa: SLF001 (at kombu's own pace)
            if not self._cannot_bind:
                log.warning("bindings of control queues are not refreshed: %s", exc)
            self._cannot_bind = True
        else:
            self._cannot_bind = False


def _check_broadcast(data: Any) -> None:
    """Look at a broadcast message as kombu will, but survive it. Raises Refused."""
    if not isinstance(data, (bytes, str)):  # the number of a subscription's answer
        return
    if len(data) > LARGEST_BYTES:
        raise Refused(f"it has {len(data):,} bytes, the limit is {LARGEST_BYTES:,}")
    try:
        said = loads(data) if data else {}
    except Exception as exc:  # noqa: BLE001 (kombu makes objects of Python's of what it says, which may raise anything)
        raise Refused(f"it is not JSON: {type(exc).__name__}") from None
    if not isinstance(said, dict):
        raise Refused("it is not a JSON object")


def _check_message(payload: Any) -> None:
    """Look at what kombu relies on before it takes a message. Raises ValueError.

    What fails later than that would keep one of the few places for messages in this process's hands, for good.
    """
    said = payload if isinstance(payload, dict) else {}
    found = said.get("properties")
    properties: dict[str, Any] = found if isinstance(found, dict) else {}
    parts: tuple[tuple[Any, Any], ...] = (
        (properties.get("delivery_tag"), str),
        (properties.get("delivery_info"), dict),
        (said.get("headers"), dict | None),
        (said.get("content-encoding"), str | None),
    )
    if not all(isinstance(part, kind) for part, kind in parts):
        raise ValueError("a part of the message is missing, or of another type")


class PatientConnection(Connection):
    """kombu's connection, whose channels do without MULTI, with TLS as each address asks for it.

    With `credentials` it reads user and password anew each time that it connects.
    """

    credentials: ClassVar[FileCredentials | None] = None

    @classmethod
    def reading(cls, credentials: FileCredentials | None) -> type[PatientConnection]:
        """Give the class of connections with these credentials: kombu makes further ones of the same class."""
        return cls if credentials is None else type(cls.__name__, (cls,), {"credentials": credentials})

    def _init_params(self, **params: Any) -> None:  # type: ignore[override]  # kombu names all of them
        """Take the parameters of one address, the first or the next one that is tried."""
        stock: Any = super()
        stock._init_params(  # noqa: SLF001 (where kombu makes of a list of URLs what it connects to)
            **{**params, "ssl": tls.of_address(params["transport"], params["hostname"], params["ssl"])}
        )

    def _establish_connection(self) -> Any:
        stock: Any = super()
        connect = stock._establish_connection  # noqa: SLF001 (called for each attempt to connect)
        return connect() if self.credentials is None else self.credentials.connect(self, connect)

    def get_transport_cls(self) -> Any:
        """Give the transport, with our channel where it is Redis's."""
        stock: Any = super().get_transport_cls()
        return _without_multi(stock)


@cache
def _without_multi(transport: Any) -> Any:
    from kombu.transport.redis import Transport
    from kombu.transport.virtual import Message

    class Checked(Message):
        def __init__(self, payload: Any, channel: Any = None, **options: Any) -> None:
            _check_message(payload)
            super().__init__(payload, channel=channel, **options)

    if not (isinstance(transport, type) and issubclass(transport, Transport)):
        return transport
    if issubclass(transport.Channel, WithoutMulti):
        return transport
    channel = type(transport.Channel.__name__, (WithoutMulti, transport.Channel), {"Message": Checked})
    return type(transport.__name__, (transport,), {"Channel": channel})
