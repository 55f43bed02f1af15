"""The errors for failed connections: the reason decides about the hint, and the setting with the URL is named."""

from __future__ import annotations

import pytest
from kombu.exceptions import OperationalError
from redis.exceptions import AuthenticationError, BusyLoadingError, ReadOnlyError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from mlq.broker import refusals
from mlq.broker.connection import Address
from mlq.broker.errors import BrokerRefused, BrokerUnreachable, ClusterBroker
from mlq.errors import MlqError

BROKER = Address("redis://:secret@127.0.0.1:1/0", "MLQ_BROKER_URL")
RESULTS = Address("redis://127.0.0.1:1/0", "mlq.toml", "MLQ_RESULT_BACKEND")


@pytest.mark.parametrize(
    ("exc", "error", "hint"),
    [
        (ResponseError("MOVED 3999 10.0.0.2:6379"), ClusterBroker, "no cluster"),
        (ResponseError("CLUSTERDOWN Hash slot not served"), ClusterBroker, "no cluster"),
        (ResponseError("SELECT is not allowed in cluster mode"), ClusterBroker, "no cluster"),
        (
            AuthenticationError("AUTH <password> called without any password configured"),
            BrokerRefused,
            "leave the pass",
        ),
        (ResponseError("DENIED Redis is running in protected mode because"), BrokerRefused, "`requirepass`"),
        (ResponseError("MISCONF Redis is configured to save RDB snapshots"), BrokerRefused, "free its disk"),
        (ResponseError("NOREPLICAS Not enough good replicas to write."), BrokerRefused, "min-replicas-to-write"),
        (ResponseError("BUSY Redis is busy running a script."), BrokerRefused, "SCRIPT KILL"),
        (ReadOnlyError("You can't write against a read only replica."), BrokerRefused, "its primary"),
        (ResponseError("unknown command 'XREAD', with args beginning with:"), BrokerRefused, "renamed or disabled"),
        (RedisConnectionError("max number of clients reached"), BrokerRefused, "maxclients"),
        (ResponseError("No permissions to access a key"), BrokerRefused, "mlq acl submitter"),
        (ResponseError("No permissions to access a channel"), BrokerRefused, "mlq acl worker"),
        (ResponseError("something new"), BrokerRefused, "see its log"),
        (BusyLoadingError("Redis is loading the dataset in memory"), BrokerUnreachable, "wait, and try again"),
        (OSError(28, "No space left on device"), None, ""),
    ],
    ids=lambda given: str(given)[:20] if isinstance(given, Exception) else "",
)
def test_the_servers_reply_decides_about_the_error(exc: Exception, error: type[MlqError] | None, hint: str) -> None:
    """It does so for an error of redis-py, and for the same error wrapped by kombu."""
    wrapped = OperationalError(str(exc))
    wrapped.__cause__ = exc
    found = refusals.explain(exc, BROKER)
    if error is None:
        assert found is None
        return
    for explained in (found, refusals.explain(wrapped, BROKER)):
        assert type(explained) is error
        assert hint in explained.hint
        assert "secret" not in explained.message + explained.hint


@pytest.mark.parametrize("words", ["WRONGPASS invalid username-password pair", "CROSSSLOT Keys", "READONLY You", "odd"])
def test_the_hint_names_the_setting_that_led_to_the_server(words: str) -> None:
    """Changing the broker's setting does not fix a result backend that refuses."""
    found = refusals.explain(ResponseError(words), RESULTS)
    assert found is not None
    assert "MLQ_RESULT_BACKEND" in found.hint
    assert "MLQ_BROKER_URL" not in found.hint
