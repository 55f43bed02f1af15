"""The errors for RabbitMQ's refusals, which name the setting to change."""

from __future__ import annotations

import json
from typing import Any

import pytest
from amqp.exceptions import AccessRefused, ConnectionForced, NotAllowed, PreconditionFailed, ResourceLocked

from mlq.broker import rabbitmq
from mlq.broker.connection import Address
from mlq.errors import MlqError
from mlq.settings.config import load
from mlq.settings.errors import InvalidSetting

AT = Address("amqp://h//", "MLQ_BROKER_URL")
INEQUIVALENT = "PRECONDITION_FAILED - inequivalent arg '{}' for {} '{}' in vhost '/': received {} but current is {}"
INVALID = "PRECONDITION_FAILED - invalid arg '{}' for queue '{}' in vhost '/'{}"


def explain_refusal(exc: Exception) -> MlqError:
    """Return the error text for an exception."""
    found = rabbitmq.refusal(exc, AT)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("said", "happened", "advice"),
    [
        (
            ("x-max-priority", "queue", "a", "none", "the value '10' of type 'signedint'"),
            "exists at amqp://h// with x-max-priority = 10; the configuration has x-max-priority = not set",
            "add to mlq.toml: [queue.a] arguments = {x-max-priority = 10}",
        ),
        (("x-max-priority", "queue", "a", "'5'", "'10'"), "x-max-priority = 5", "{x-max-priority = 10}"),
        (("x-queue-type", "queue", "a b", "none", "the value 'quorum' of type 'longstr'"), "= quorum", '[queue."a b"]'),
        (("x-queue-type", "queue", "a'b", "the value 'quorum' of type 'longstr'", "none"), "= not set", "remove x-qu"),
        (
            ("x-max-length", "queue", "a", "the value '5' of type 'signedint'", "none"),
            "x-max-length = 5",
            "queue.a.arg",
        ),
        (("durable", "queue", "a", "'true'", "'false'"), "durable = false", "delete that queue"),
        (("type", "exchange", "a", "'direct'", "'topic'"), "exchange 'a' exists", "delete that exchange"),
    ],
)
def test_the_error_names_both_values_and_the_setting(said: tuple[str, ...], happened: str, advice: str) -> None:
    """The replies are those of RabbitMQ 3.10; the value that the queue has is the one to configure."""
    error = explain_refusal(PreconditionFailed(INEQUIVALENT.format(*said)))
    assert error.exit_code == 3
    assert happened in error.message
    assert advice in error.hint


@pytest.mark.parametrize(
    ("exc", "code", "words"),
    [
        (PreconditionFailed(INVALID.format("x-max-priority", "a", ": {max_value_exceeded,300}")), 3, "{max_value"),
        (PreconditionFailed(INVALID.format("x-max-priority", "a", " of queue type rabbit_quorum_queue")), 3, "quorum"),
        (
            AccessRefused("ACCESS_REFUSED - access to queue 'a' in vhost '/' refused for user 'u'"),
            4,
            "refused for user",
        ),
        (AccessRefused("ACCESS_REFUSED - queue name 'amq.foo' contains reserved prefix 'amq.*'"), 4, "reserved prefix"),
        (NotAllowed("NOT_ALLOWED - vhost nope not found"), 4, "vhost nope not found"),
        (ResourceLocked("RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'a'"), 4, "exclusive access"),
    ],
)
def test_other_refusals_keep_the_servers_sentence(exc: Exception, code: int, words: str) -> None:
    """An error of the configuration is exit 3, everything else that the server refuses is exit 4."""
    error = explain_refusal(exc)
    assert error.exit_code == code
    assert words in error.message
    assert error.hint


def test_an_outage_is_not_a_refusal() -> None:
    """A restart passes, and errors of other brokers are not RabbitMQ's refusals."""
    assert rabbitmq.refusal(ConnectionForced("CONNECTION_FORCED - broker forced connection closure"), AT) is None
    assert rabbitmq.refusal(ValueError("x"), AT) is None


@pytest.mark.parametrize(
    "options",
    [
        [],
        "realtime",
        {"realtime": 5},
        {"realtime": {"args": {}}},
        {"realtime": {"arguments": 10}},
        {"realtime": {"arguments": {"x-max-priority": 0}}},
        {"realtime": {"arguments": {"x-max-priority": 256}}},
        {"realtime": {"arguments": {"x-max-priority": "10"}}},
        {"realtime": {"arguments": {"x-max-priority": True}}},
        {"realtime": {"arguments": {"x-queue-type": "stream"}}},
        {"realtime": {"arguments": {"x-queue-type": "quorum", "x-max-priority": 5}}},
        {"realtime": {"arguments": {"x-max-length": None}}},
        {"realtime": {"arguments": {"x-max-length": [1]}}},
    ],
)
def test_arguments_that_no_server_accepts_are_refused_without_asking_it(options: Any) -> None:
    """They are refused on Redis, too, which does not use them: the error does not depend on the broker."""
    with pytest.raises(InvalidSetting, match="MLQ_QUEUE"):
        load({"MLQ_QUEUE": json.dumps(options) if not isinstance(options, str) else options})


def test_a_queue_is_declared_with_its_own_arguments() -> None:
    """Other queues do not get them."""
    settings = load({"MLQ_QUEUE": '{"realtime": {"arguments": {"x-max-priority": 10}}}'})
    assert rabbitmq.queue_entity(settings, "realtime").queue_arguments == {"x-max-priority": 10}
    assert rabbitmq.queue_entity(settings, "batch").queue_arguments is None
