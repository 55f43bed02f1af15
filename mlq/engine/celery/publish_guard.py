"""The publish guard: what a worker sends because of a message goes to queues only, never to another key or exchange.

A link, an errback, a chain, the body of a chord and a retry are sent with options that came with the message. With
RabbitMQ and in prefork pools this is the first check of them; broker/channels.py checks all that is sent to Redis.
"""

from __future__ import annotations

import logging
from typing import Any

from celery.app.amqp import AMQP
from kombu.pidbox import Mailbox

from mlq.broker.channels import NotAQueue
from mlq.protocol import reserved_names

log = logging.getLogger("mlq.transport")


def install() -> None:
    """Let all apps of this process check the destination of a task or a reply, before they declare or write."""
    _check_tasks()
    _check_replies()


def _check_tasks() -> None:
    stock: Any = AMQP
    create = stock._create_task_sender  # noqa: SLF001 (each app creates its sender with it)

    def create_checked(amqp: Any) -> Any:
        send = create(amqp)

        def send_task_message(
            producer: Any,
            name: str,
            message: Any,
            exchange: Any = None,
            routing_key: Any = None,
            queue: Any = None,
            **options: Any,
        ) -> Any:
            check(name, exchange, routing_key, queue)
            return send(producer, name, message, exchange, routing_key, queue, **options)

        return send_task_message

    stock._create_task_sender = create_checked  # noqa: SLF001 (see above)


def _check_replies() -> None:
    """Send replies to control messages only to the exchange where monitors wait, not to the address in a message.

    Other replies are skipped: an error would close the mailbox for a moment, and messages of other clients were lost.
    """
    stock: Any = Mailbox
    publish = stock._publish_reply  # noqa: SLF001 (kombu's Node calls it)

    def publish_checked(mailbox: Any, reply: Any, exchange: Any, *args: Any, **kwargs: Any) -> None:
        if exchange != mailbox.reply_exchange.name:
            log.warning(
                "a control message gets no reply: its reply address is not a monitor's",
                extra={"action": "reply_refused"},
            )
            return
        try:
            publish(mailbox, reply, exchange, *args, **kwargs)
        except NotAQueue as exc:
            log.warning("a control message gets no reply: %s", exc, extra={"action": "reply_refused"})

    stock._publish_reply = publish_checked  # noqa: SLF001 (see above)


def check(task: str, exchange: Any, routing_key: Any, queue: Any) -> None:
    """Make sure that all of these names address a queue. Raises NotAQueue."""
    through = getattr(queue, "exchange", None)
    for kind, given, why_not in (
        ("queue", queue, reserved_names.why_not_a_queue),
        ("routing key", routing_key, reserved_names.why_not_a_queue),
        ("exchange", exchange, reserved_names.why_not_an_exchange),
        ("exchange", through, reserved_names.why_not_an_exchange),
    ):
        name = getattr(given, "name", given) or ""
        why = why_not(name) if isinstance(name, str) else "a name is a text"
        if why is not None:
            message = f"{task} may not be sent to the {kind} {name!r}: {why}"
            raise NotAQueue(message)
