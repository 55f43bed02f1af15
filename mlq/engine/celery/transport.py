"""The transport of a worker: kombu's Redis transport, but the engine claims the messages and records their ends."""

from __future__ import annotations

import logging
from typing import Any, ClassVar, Protocol

from kombu import transport as kombu_transport
from kombu.transport import redis
from kombu.utils.json import dumps
from redis.exceptions import OutOfMemoryError

from mlq.broker.channels import QueuesOnly, WithoutMulti, demand_queue
from mlq.engine.celery.patient_client import PatientRedis
from mlq.protocol import reserved_names
from mlq.store.claims.completion import Successor
from mlq.store.queues import backlog

log = logging.getLogger("mlq.transport")


class ClaimOwner(Protocol):
    """The engine, as the transport sees it: the owner of the claims of this process."""

    @property
    def skew_s(self) -> float:
        """Seconds by which this host's clock is ahead of the server's."""

    def attach(self, connected: Any, hub: Any) -> None:
        """Deliver messages to the consumers of this transport from now on."""

    def acknowledge(self, claim_id: str) -> None:
        """Record the end of a message."""

    def reject(self, claim_id: str, *, requeue: bool) -> None:
        """Give a message back, or dead-letter it."""

    def keep_successor(self, successor: Successor) -> bool:
        """Keep a message that is published at the end of a task; False if it must be sent now."""


class _QoS(redis.QoS):
    """An acknowledgement ends a claim. Messages that stock workers left in `unacked` are restored as by kombu."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Do nothing: Redis holds the claim already."""

    def ack(self, delivery_tag: str) -> None:
        owner_of(self.channel).acknowledge(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 (kombu's signature)
        owner_of(self.channel).reject(delivery_tag, requeue=requeue)

    @property
    def visibility_timeout(self) -> int:
        """Seconds of the stock workers' timeout, corrected by this host's clock, which may be ahead of theirs."""
        channel: Any = self.channel
        return int(channel.visibility_timeout) + round(owner_of(channel).skew_s)

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Restore messages of stock workers, except while memory is full, because the lock cannot be written then."""
        try:
            super().restore_visible(*args, **kwargs)
        except OutOfMemoryError as exc:
            log.warning("messages of dead stock workers are not restored: %s", exc, extra={"action": "restore_failed"})

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Do nothing: claims outlive their connection, and the engine gives them back when it ends."""


class _Poller(redis.MultiChannelPoller):
    """Polls for control messages only: BRPOP would take task messages without a claim."""

    def _register_BRPOP(self, channel: Any) -> None:  # noqa: N802 (kombu's name)
        """Do nothing: the claimer reads the queues."""


class _Claiming(WithoutMulti):
    """A mixin for kombu's Redis channels. Control and reply queues, which are fanout, behave as in kombu."""

    owner: ClassVar[ClaimOwner]
    QoS = _QoS

    def _put(self, queue: str, message: Any, **kwargs: Any) -> Any:
        """Publish a message; one that follows from a task that ends is kept, and published with the end.

        Messages that a task's body publishes while memory is full are written beyond the limit, like results: the body
        may wait for them, and an exception would fail the task. The same holds for replies to control messages.
        """
        demand_queue(queue)
        channel: Any = self
        priority = channel._get_message_priority(message, reverse=False)  # noqa: SLF001 (kombu's scheme of keys)
        key = channel._q_for_pri(queue, priority)  # noqa: SLF001
        raw = dumps(message).encode()
        if self.owner.keep_successor(Successor(key, raw)):
            return None
        try:
            return super()._put(queue, message, **kwargs)
        except OutOfMemoryError:
            with channel.conn_or_acquire() as client:
                return backlog.push(PatientRedis(connection_pool=client.connection_pool), key, raw)


class _Delivering:
    """A mixin for kombu's Redis transports that corrects the origin of a message."""

    def _deliver(self, message: Any, queue: str) -> None:
        """Deliver a message; if it names an origin that is not a queue, replace it by the queue that it came from.

        A retry is sent to the origin of the message, and kombu restores messages to it; the sender wrote it.
        """
        properties = message.get("properties") if isinstance(message, dict) else None
        info = properties.get("delivery_info") if isinstance(properties, dict) else None
        if isinstance(info, dict) and not _is_of_a_queue(info):
            info |= {"exchange": "", "routing_key": queue}
        super()._deliver(message, queue)  # type: ignore[misc]


def _is_of_a_queue(info: dict[str, Any]) -> bool:
    exchange, key = info.get("exchange") or "", info.get("routing_key") or ""
    if not isinstance(exchange, str) or not isinstance(key, str):
        return False
    return reserved_names.why_not_an_exchange(exchange) is None and reserved_names.why_not_a_queue(key) is None


class _Attaching(_Delivering):
    """A mixin for kombu's Redis transports that lets the engine deliver to each new connection."""

    owner: ClassVar[ClaimOwner]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = _Poller()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Let the hub serve control messages as in kombu, and run the engine's batches between them."""
        super().register_with_event_loop(connection, loop)  # type: ignore[misc]
        self.owner.attach(self, loop)


def owner_of(channel: Any) -> ClaimOwner:
    """Return the owner of the claims that a channel acknowledges."""
    owner: ClaimOwner = channel.owner
    return owner


def install(owner: ClaimOwner) -> None:
    """Replace kombu's Redis transports in this process, so that each form of a URL works unchanged.

    A class path in `broker_transport` does not work: redis+socket:// ignores it, rediss:// becomes plaintext, and a
    list of URLs falls back to the stock transport after a failover.
    """
    _replace(
        _made("Claiming", redis.Transport, redis.Channel, owner),
        _made("ClaimingSentinel", redis.SentinelTransport, redis.SentinelChannel, owner),
    )


def install_checks() -> None:
    """Let kombu's Redis transports in this process write to queues only, and change nothing else."""
    _replace(
        _checked(redis.Transport, redis.Channel),
        _checked(redis.SentinelTransport, redis.SentinelChannel),
    )


def _replace(plain: Any, sentinel: Any) -> None:
    # kombu calls an alias that is not a string, and uses the class that it returns.
    aliases: Any = kombu_transport
    aliases.TRANSPORT_ALIASES.update({"redis": lambda: plain, "rediss": lambda: plain, "sentinel": lambda: sentinel})
    aliases._transport_cache.clear()  # noqa: SLF001 (it holds transports that were resolved before)


def _checked(transport: type, channel: type) -> Any:
    checking = type(channel.__name__, (QueuesOnly, channel), {})
    return type(transport.__name__, (_Delivering, transport), {"Channel": checking})


def _made(name: str, transport: type, channel: type, owner: ClaimOwner) -> Any:
    claiming = type(f"{name}Channel", (_Claiming, channel), {"owner": owner})
    return type(f"{name}Transport", (_Attaching, transport), {"owner": owner, "Channel": claiming})
