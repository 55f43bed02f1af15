"""Retries: an outage is reported once, and no try follows the one before it too soon or too late."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from mlq.broker.retries import Outage, Retry

AWAY = RedisConnectionError("connection refused")


def failing(times: int, exc: Exception = AWAY) -> Callable[[], str]:
    """Return a call that fails some times before it replies."""
    left = [exc] * times

    def ask() -> str:
        if left:
            raise left.pop()
        return "reply"

    return ask


def test_an_outage_is_reported_once_when_it_begins_and_once_when_it_ends() -> None:
    """A log line for each try would hide every other line."""
    said: list[str] = []
    outage = Outage(lambda exc: said.append(f"away: {exc}"), lambda: said.append("back"))
    for _ in range(2):
        outage.succeeded()
        for _ in range(3):
            outage.failed(AWAY)
        outage.succeeded()
    assert said == ["away: connection refused", "back"] * 2


def test_the_pause_grows_up_to_its_limit_and_starts_again_with_the_next_outage() -> None:
    """A server that is away for hours gets few requests, and a short outage costs little time."""
    outage = Outage(lambda _: None, first_pause_s=0.05, longest_pause_s=0.3)
    pauses = [outage.failed(AWAY) for _ in range(5)]
    assert pauses == [0.05, 0.1, 0.2, 0.3, 0.3]
    outage.succeeded()
    assert outage.failed(AWAY) == 0.05


def test_a_pause_without_a_limit_of_its_own_stays_the_same() -> None:
    """A thread that runs at an interval tries again at that interval."""
    outage = Outage(lambda _: None, first_pause_s=2.0)
    assert [outage.failed(AWAY) for _ in range(3)] == [2.0, 2.0, 2.0]


def patient() -> None:
    """Let the wait go on."""


def test_a_call_is_repeated_until_the_server_replies() -> None:
    """An outage does not end a job; the user reads two lines about it."""
    said: list[str] = []
    pauses: list[float] = []
    assert Retry(said.append, patient, pauses.append)(failing(3)) == "reply"
    assert said == [
        "the broker does not answer, trying again until it does: connection refused",
        "the broker is back",
    ]
    assert pauses == [0.05, 0.1, 0.2]


def test_a_call_that_succeeds_says_nothing_and_waits_for_nothing() -> None:
    """Each row of a job passes here."""
    said: list[str] = []
    pauses: list[float] = []
    assert Retry(said.append, patient, pauses.append)(failing(0)) == "reply"
    assert said == []
    assert pauses == []


def test_an_error_that_the_server_replies_is_raised() -> None:
    """A missing right does not come back by waiting."""
    with pytest.raises(ResponseError):
        Retry(lambda _: None, patient, lambda _: None)(failing(1, ResponseError("NOPERM")))


def test_an_exception_before_a_retry_ends_the_waiting() -> None:
    """Ctrl-C and a time limit end a command whose broker is away."""

    def give_up() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        Retry(lambda _: None, give_up, lambda _: None)(failing(1))
