"""The transport inside a worker: kombu's own, but task messages are claimed, and their ends recorded."""

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

log = logging.getLogger("mlq.transport")


class ClaimOwner(Protocol):
    """Who holds the claims of this process."""

    @property
    def skew_s(self) -> float:
        """How far this host's clock is ahead of the server's."""

    def attach(self, connected: Any, hub: Any) -> None:
        """Deliver messages to the consumers of this transport from now on."""

    def acknowledge(self, claim_id: str) -> None:
        """Record the end of a message."""

    def reject(self, claim_id: str, *, requeue: bool) -> None:
        """Give a message back, or bury it."""

    def keep_successor(self, successor: Successor) -> bool:
        """Keep a message that is published at the end of a task; False if it is to go out now."""


class _QoS(redis.QoS):
    """Acknowledgements end claims. What stock workers left in `unacked` is still restored, as kombu does it."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Nothing to remember: the claim is filed in Redis already."""

    def ack(self, delivery_tag: str) -> None:
        keeper_of(self.channel).acknowledge(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 (kombu's signature)
        keeper_of(self.channel).reject(delivery_tag, requeue=requeue)

    @property
    def visibility_timeout(self) -> int:
        """Give stock workers' time-out as it counts on this host's clock, which may be ahead of theirs."""
        channel: Any = self.channel
        return int(channel.visibility_timeout) + round(keeper_of(channel).skew_s)

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Leave stock workers' messages where they are while memory is full: the lock could not be written."""
        try:
            super().restore_visible(*args, **kwargs)
        except OutOfMemoryError as exc:
            log.warning("what stock workers left is not restored: %s", exc)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Nothing to restore: a claim outlives its connection, and the keeper gives back what it holds at the end."""


class _Poller(redis.MultiChannelPoller):
    """Polls for control messages alone: BRPOP would take tasks without a claim."""

    def _register_BRPOP(self, channel: Any) -> None:  # noqa: N802 (kombu's name)
        """Leave the queues to the intake."""


class _Claiming(WithoutMulti):
    """Mixed into kombu's Redis channels. Control and reply queues, which are fanout, keep stock behaviour."""

    keeper: ClassVar[ClaimOwner]
    QoS = _QoS

    def _put(self, queue: str, message: Any, **kwargs: Any) -> Any:
        """Publish, unless what is published follows from a task that ends: then it goes out with its end.

        What a task's body publishes while memory is full goes beyond the limit, as answers do: the body may wait for
        it, and an exception would fail the task for the weather. A reply to a control message does, too.
        """
        demand_queue(queue)
        channel: Any = self
        priority = channel._get_message_priority(message, reverse=False)  # noqa: SLF001 (kombu's own key scheme)
        key = channel._q_for_pri(queue, priority)  # noqa: SLF001
        raw = dumps(message).encode()
        if self.keeper.keep_successor(Successor(key, raw)):
            return None
        try:
            return super()._put(queue, message, **kwargs)
        except OutOfMemoryError:
            with channel.conn_or_acquire() as client:
                return PatientRedis(connection_pool=client.connection_pool).lpush(key, raw)


class _Delivering:
    """Mixed into kombu's Redis transports."""

    def _deliver(self, message: Any, queue: str) -> None:
        """Deliver a message as one that came from its queue, where it says that it came from what is none.

        A retry goes to where the message came from, and so does what kombu restores; the message's sender has written
        that down.
        """
        properties = message.get("properties") if isinstance(message, dict) else None
        said = properties.get("delivery_info") if isinstance(properties, dict) else None
        if isinstance(said, dict) and not _is_of_a_queue(said):
            said |= {"exchange": "", "routing_key": queue}
        super()._deliver(message, queue)  # type: ignore[misc]


def _is_of_a_queue(said: dict[str, Any]) -> bool:
    exchange, key = said.get("exchange") or "", said.get("routing_key") or ""
    if not isinstance(exchange, str) or not isinstance(key, str):
        return False
    return reserved_names.why_not_an_exchange(exchange) is None and reserved_names.why_not_a_queue(key) is None


class _Attaching(_Delivering):
    """Mixed into kombu's Redis transports."""

    keeper: ClassVar[ClaimOwner]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = _Poller()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Let the hub serve control messages as ever, and our batches beside them."""
        super().register_with_event_loop(connection, loop)  # type: ignore[misc]
        self.keeper.attach(self, loop)


def keeper_of(channel: Any) -> ClaimOwner:
    """Give the keeper to which a channel belongs."""
    keeper: ClaimOwner = channel.keeper
    return keeper


def install(keeper: ClaimOwner) -> None:
    """Replace kombu's Redis transports in this process: URLs stay stock, and every form of them works.

    A class path in `broker_transport` would not do: redis+socket:// ignores it, rediss:// becomes plaintext, and a
    list of URLs reverts to stock on fail-over.
    """
    _replace(
        _made("Claiming", redis.Transport, redis.Channel, keeper),
        _made("ClaimingSentinel", redis.SentinelTransport, redis.SentinelChannel, keeper),
    )


def install_checks() -> None:
    """Let kombu's Redis transports in this process write to queues only, and else be as they are."""
    _replace(
        _checked(redis.Transport, redis.Channel),
        _checked(redis.SentinelTransport, redis.SentinelChannel),
    )


def _replace(plain: Any, sentinel: Any) -> None:
    # kombu calls what is not a text, and takes what it gives.
    aliases: Any = kombu_transport
    aliases.TRANSPORT_ALIASES.update({"redis": lambda: plain, "rediss": lambda: plain, "sentinel": lambda: sentinel})
    aliases._transport_cache.clear()  # noqa: SLF001 (where names were resolved before us)


def _checked(transport: type, channel: type) -> Any:
    checking = type(channel.__name__, (QueuesOnly, channel), {})
    return type(transport.__name__, (_Delivering, transport), {"Channel": checking})


def _made(name: str, transport: type, channel: type, keeper: ClaimOwner) -> Any:
    claiming = type(f"{name}Channel", (_Claiming, channel), {"keeper": keeper})
    return type(f"{name}Transport", (_Attaching, transport), {"keeper": keeper, "Channel": claiming})
