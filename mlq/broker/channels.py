"""Channels: kombu's Redis channels, changed to write to queues only, to limit broadcasts, and to avoid MULTI.

While its memory is full, Redis 7 refuses every command inside MULTI, including reads; kombu declares queues there. A
worker that connected at such a moment could never claim a message and make room again. The methods here only read, or
write values that may be written twice, so none needs a transaction.
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
    """A message was to be sent to a name that is not a queue's.

    It is an EncodeError because Celery then fails the task. If a task's links cannot be published for another reason,
    Celery 5.6 acknowledges the task and stores no result for its client.
    """

    __module__ = "celery.exceptions"


class QueuesOnly:
    """Mixin for kombu's Redis channels that refuses to publish to a key which is not a queue.

    The name may come from the options of a link, from the exchange's table of bindings, which clients may write, from
    the reply queue of a control message, or from a message that a worker of Celery left in `unacked`.
    """

    def _put(self, queue: str, message: Any, **kwargs: Any) -> Any:
        """Publish a message. Raises NotAQueue."""
        demand_queue(queue)
        return super()._put(queue, message, **kwargs)  # type: ignore[misc]

    def _queue_bind(self, exchange: Any, routing_key: Any, pattern: Any, queue: Any) -> None:
        """Bind a queue. Raises NotAQueue, because the entry would remain in the table of bindings."""
        demand_queue(queue)
        super()._queue_bind(exchange, routing_key, pattern, queue)  # type: ignore[misc]

    def _do_restore_message(self, payload: Any, exchange: str, routing_key: str, *args: Any, **kwargs: Any) -> None:
        """Put back a message that a worker of Celery left, unless the message names a key that is not a queue.

        The sender wrote that name, so the real queue is unknown, and the message is dropped. An exception here would
        prevent kombu from restoring the messages after it.
        """
        channel: Any = self
        try:
            misplaced = next(filter(reserved_names.is_reserved, channel._lookup(exchange, routing_key)), None)  # noqa: SLF001 (kombu's own)
        except ResponseError as exc:  # the table of bindings is a key of another type
            misplaced = f"{exchange} ({exc})"
        if misplaced is not None:
            log.error(
                "dropped a message that a worker of Celery left: it names %r as its queue",
                misplaced,
                extra={"action": "message_dropped"},
            )
            return
        super()._do_restore_message(payload, exchange, routing_key, *args, **kwargs)  # type: ignore[misc]


def demand_queue(name: str) -> None:
    """Check that a name can be a queue's. Raises NotAQueue."""
    if reserved_names.is_reserved(name):
        message = f"nothing may be sent to {name!r}: {reserved_names.why_not_a_queue(name)}"
        raise NotAQueue(message)


class WithoutMulti(QueuesOnly):
    """Mixin for kombu's Redis channels that replaces MULTI, and checks messages before kombu decodes them."""

    _cannot_bind = False

    def _handle_message(self, client: Any, response: Any) -> Any:
        """Receive a broadcast, and replace one that kombu must not decode.

        kombu decodes every broadcast, and some that it cannot decode crash the process: those that are nested too
        deeply, and those with an invalid representation of a Python type.
        """
        payload = super()._handle_message(client, response)  # type: ignore[misc]
        try:
            _check_broadcast(payload["data"])
        except Refused as exc:
            complaints.add(exc)
            payload["data"] = b""  # kombu ignores empty data
        return payload

    def _brpop_read(self, **options: Any) -> Any:
        """Receive a message as kombu does; discard one that kombu cannot decode, and log it.

        kombu would let it crash the worker. Such a message (a list, or text that is not JSON) names no client to which
        a failure could be reported.
        """
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as exc:
            log.warning(
                "discarded a message that cannot be decoded: %s",
                type(exc).__name__,
                extra={"action": "message_discarded"},
            )
            raise Empty from None

    def _size(self, queue: str) -> int:
        return sum(self._ask_lists("llen", queue))

    def _has_queue(self, queue: str, **_: Any) -> bool:
        return any(self._ask_lists("exists", queue))

    def _ask_lists(self, command: str, queue: str) -> list[int]:
        """Send one command for each of a queue's lists, one per priority step; return the replies."""
        channel: Any = self
        with channel.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
            for priority in channel.priority_steps:
                pipe.execute_command(command, channel._q_for_pri(queue, priority))  # noqa: SLF001 (kombu names keys here)
            return cast("list[int]", pipe.execute())

    def _delete(self, queue: str, exchange: str, routing_key: str, pattern: str, *_: Any, **kwargs: Any) -> None:
        """Delete a queue, such as the reply queue of a monitor that disconnects."""
        channel: Any = self
        channel.auto_delete_queues.discard(queue)
        member = channel.sep.join([routing_key or "", pattern or "", queue or ""])
        with channel.conn_or_acquire(client=kwargs.get("client")) as client:
            client.srem(channel.keyprefix_queue % (exchange,), member)
            client.srem(channel.keyprefix_binding_permanent % (exchange,), member)
            client.delete(*(channel._q_for_pri(queue, priority) for priority in channel.priority_steps))  # noqa: SLF001 (see above)

    def _queue_bind(self, exchange: Any, routing_key: Any, pattern: Any, queue: Any) -> None:
        """Bind a queue; while memory is full, continue without the binding.

        Workers claim tasks by queue name, and clients declare the queues to which they publish. Only the binding of a
        control queue is missing then, by which a monitor counts workers; the worker still receives control messages.
        """
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)
        except ResponseError as exc:
            if not is_full(exc):
                raise
            log.warning("queue %s is not bound: %s", queue, exc, extra={"action": "queue_not_bound"})

    def maybe_refresh_binding_expiry(self) -> None:
        """Refresh the expiry of bindings. While memory is full, kombu would log a traceback every second."""
        channel: Any = self
        try:
            super().maybe_refresh_binding_expiry()  # type: ignore[misc]
        except ResponseError as exc:
            if not is_full(exc):
                raise
            channel._binding_expiry_refreshed_at = time.monotonic()  # noqa: SLF001 (at kombu's own pace)
            if not self._cannot_bind:
                log.warning(
                    "bindings of control queues are not refreshed: %s", exc, extra={"action": "bindings_not_refreshed"}
                )
            self._cannot_bind = True
        else:
            self._cannot_bind = False


def _check_broadcast(data: Any) -> None:
    """Decode a broadcast as kombu will, and refuse one on which kombu would fail. Raises Refused."""
    if not isinstance(data, (bytes, str)):  # the number in the reply to a subscription
        return
    if len(data) > LARGEST_BYTES:
        raise Refused(f"it has {len(data):,} bytes, the limit is {LARGEST_BYTES:,}")
    try:
        decoded = loads(data) if data else {}
    except Exception as exc:  # noqa: BLE001 (kombu creates Python objects from it, which may raise anything)
        raise Refused(f"it is not JSON: {type(exc).__name__}") from None
    if not isinstance(decoded, dict):
        raise Refused("it is not a JSON object")


def _check_message(payload: Any) -> None:
    """Check the parts of a message on which kombu relies. Raises ValueError.

    If kombu failed on them later, the message would occupy one of the few prefetch slots of this process permanently.
    """
    decoded = payload if isinstance(payload, dict) else {}
    given = decoded.get("properties")
    properties: dict[str, Any] = given if isinstance(given, dict) else {}
    parts: tuple[tuple[Any, Any], ...] = (
        (properties.get("delivery_tag"), str),
        (properties.get("delivery_info"), dict),
        (decoded.get("headers"), dict | None),
        (decoded.get("content-encoding"), str | None),
    )
    if not all(isinstance(part, kind) for part, kind in parts):
        raise ValueError("a part of the message is missing, or of another type")


class PatientConnection(Connection):
    """kombu's connection with channels that do not use MULTI, and with the TLS options of each address.

    With `credentials` it reads user and password again each time that it connects.
    """

    credentials: ClassVar[FileCredentials | None] = None

    @classmethod
    def reading(cls, credentials: FileCredentials | None) -> type[PatientConnection]:
        """Return a class of connections with these credentials: kombu creates further connections from the class."""
        return cls if credentials is None else type(cls.__name__, (cls,), {"credentials": credentials})

    def _init_params(self, **params: Any) -> None:  # type: ignore[override]  # kombu names all of them
        """Set the parameters of one address: the first one, or the next one to try."""
        stock: Any = super()
        stock._init_params(  # noqa: SLF001 (kombu converts a list of URLs to one address here)
            **{**params, "ssl": tls.of_address(params["transport"], params["hostname"], params["ssl"])}
        )

    def _establish_connection(self) -> Any:
        stock: Any = super()
        connect = stock._establish_connection  # noqa: SLF001 (called for each attempt to connect)
        return connect() if self.credentials is None else self.credentials.connect(self, connect)

    def get_transport_cls(self) -> Any:
        """Return the transport class; for Redis, with the channel class of this module."""
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
