"""RabbitMQ: declaration of queues, and errors with hints for what the server refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from mlq.broker.errors import BrokerRefused, InvalidQueueArgument, QueueDiffers
from mlq.errors import MlqError

if TYPE_CHECKING:
    from kombu import Connection, Queue

    from mlq.broker.connection import Address
    from mlq.settings.config import Settings

_NOT_SET: Final = "not set"

_DIFFERS: Final = re.compile(
    r"inequivalent arg '(?P<argument>.*?)' for (?P<kind>queue|exchange) '(?P<name>.*)' in vhost '.*': "
    r"received (?P<ours>.+) but current is (?P<theirs>.+)",
    re.DOTALL,
)
_INVALID: Final = re.compile(
    r"invalid arg '(?P<argument>.*?)' for queue '(?P<name>.*)' in vhost '.*?'"
    r"(?: of queue type (?P<type>\w+)|: (?P<why>.+))",
    re.DOTALL,
)
_VALUE: Final = re.compile(r"the value '(?P<typed>.*)' of type '\w+'|'(?P<plain>.*)'", re.DOTALL)
_CODE: Final = re.compile(r"\A[A-Z_]+ - ")
"""RabbitMQ puts the name of its reply code before its error text."""


def queue_entity(settings: Settings, name: str) -> Queue:
    """Return a queue as Celery's clients declare it: exchange and routing key have its name; with its arguments."""
    from kombu import Exchange, Queue

    arguments = dict(settings.queue_arguments(name))
    return Queue(name, Exchange(name), routing_key=name, queue_arguments=arguments or None)


def declare(connection: Connection, settings: Settings, names: Sequence[str]) -> None:
    """Declare queues. Raises amqp.PreconditionFailed where one exists with other arguments: see `refusal`."""
    for name in names:
        queue_entity(settings, name).bind(connection.default_channel).declare()


def exists(connection: Connection, name: str) -> bool:
    """Return True if the server has a queue, without declaring it."""
    from amqp.exceptions import NotFound

    channel: Any = connection.channel()  # a new one, because the server closes it if the queue does not exist
    try:
        channel.queue_declare(name, passive=True)
    except NotFound:
        return False
    channel.close()
    return True


def refusal(exc: BaseException, address: Address) -> MlqError | None:
    """Return the error with a hint for a refusal of RabbitMQ; None for any other exception."""
    from amqp.exceptions import AMQPError, RecoverableConnectionError

    if not isinstance(exc, AMQPError) or isinstance(exc, RecoverableConnectionError):
        return None
    said = _CODE.sub("", str(exc.reply_text)).rstrip(".")
    if found := _DIFFERS.search(said):
        return _differs(found, address)
    if found := _INVALID.search(said):
        why = f"a queue of type {found['type']} has none" if found["type"] else found["why"].strip('"')
        return InvalidQueueArgument(url=address.shown, argument=found["argument"], name=found["name"], reason=why)
    reason, fix = said.partition(". For details")[0], _hint(said).replace("{set}", address.setting)
    return BrokerRefused(url=address.shown, origin=address.origin, reason=reason, fix=fix)


def _differs(found: re.Match[str], address: Address) -> QueueDiffers:
    ours, theirs = _value(found["ours"]), _value(found["theirs"])
    argument, name = found["argument"], found["name"]
    if not argument.startswith("x-"):
        wanted = "mlq declares durable queues and direct exchanges, as Celery does"
        fix = f"{wanted}: delete that {found['kind']}, or set queues to other names"
    elif theirs == _NOT_SET:
        fix = f"remove {argument} from queue.{name}.arguments in mlq.toml, or delete the queue once it is empty"
    else:
        fix = f"add to mlq.toml: [queue.{_toml(name)}] arguments = {{{_toml(argument)} = {_literal(theirs)}}}"
    facts = {"url": address.shown, "kind": found["kind"], "name": name, "argument": argument}
    return QueueDiffers(**facts, ours=ours, theirs=theirs, fix=fix)


def _value(said: str) -> str:
    """Extract a value from RabbitMQ's error text: none, '5', or the value '10' of type 'signedint'."""
    found = _VALUE.fullmatch(said)
    return _NOT_SET if found is None else found["typed"] or found["plain"]


def _toml(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)


def _literal(value: str) -> str:
    """Return a value in TOML syntax; its type is guessed, because RabbitMQ does not always report it."""
    return value if re.fullmatch(r"-?\d+|true|false", value) else json.dumps(value)


def _hint(said: str) -> str:
    if "Login was refused" in said:
        return "put the right user and password into {set}: amqp://user:password@host:5672//"
    if "vhost" in said and "not found" in said:
        return "{set} ends with the virtual host: amqp://host:5672/NAME; the default one is / (amqp://host:5672//)"
    if "refused for user" in said or "access to" in said:
        return "give this user its rights with `rabbitmqctl set_permissions`, or put another into {set}"
    return "see its log; {set} names another server"
