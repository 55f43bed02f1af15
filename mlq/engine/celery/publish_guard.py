"""Publishing: what a task's message makes a worker send goes to queues, never to a key or an exchange of another kind.

A link, an errback, a chain, the body of a chord and a retry are sent with the options that came with the message. On
RabbitMQ and in every pool this is where they are looked at first; channels.py looks at all that goes to Redis.
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
    """Let every app of this process look at where it sends a task or a reply, before it declares or writes anything."""
    _check_tasks()
    _check_replies()


def _check_tasks() -> None:
    stock: Any = AMQP
    create = stock._create_task_sender  # noqa: SLF001 (what each app makes its sender with)

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
    """Let replies to control messages go to where monitors wait for them, whatever address such a message names.

    An error would close the mailbox for a moment, and so what others ask would go unheard.
    """
    stock: Any = Mailbox
    publish = stock._publish_reply  # noqa: SLF001 (what kombu's own Node calls)

    def publish_checked(mailbox: Any, reply: Any, exchange: Any, *args: Any, **kwargs: Any) -> None:
        if exchange != mailbox.reply_exchange.name:
            log.warning("a control message gets no reply: its address is none of a monitor's")
            return
        try:
            publish(mailbox, reply, exchange, *args, **kwargs)
        except NotAQueue as exc:
            log.warning("a control message gets no reply: %s", exc)

    stock._publish_reply = publish_checked  # noqa: SLF001 (see above)


def check(task: str, exchange: Any, routing_key: Any, queue: Any) -> None:
    """Make sure that a task is sent to a queue, by whichever of these names. Raises NotAQueue."""
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
