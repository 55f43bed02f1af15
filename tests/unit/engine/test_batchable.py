"""Which messages share a forward, and which run alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from mlq.engine import batchable
from mlq.protocol.message import Claim, Message, decode
from mlq.protocol.names import BATCH_PREDICT, PREDICT

SERVED = {PREDICT: PREDICT, BATCH_PREDICT: BATCH_PREDICT, "their.predict": PREDICT}


def message(task_id: str, argument: Any = 1, *, task: str = PREDICT, crashes: int | None = None) -> Message:
    """Decode a message of a stock client; `crashes` workers died while they held it."""
    raw = {
        "body": json.dumps([[argument], {}, {}]),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": task, "id": task_id},
        "properties": {"delivery_info": {"exchange": "", "routing_key": "q"}, "delivery_tag": "t"},
    }
    found = decode(replace(Claim("1-1", "q", 0, json.dumps(raw).encode()), crashes=crashes))
    assert isinstance(found, Message)
    return found


def ids(messages: list[Message], revoked: set[str] | None = None) -> tuple[list[str], list[str]]:
    """Split messages, and return the ids that share a forward and those that run alone."""
    together, alone = batchable.split(messages, SERVED, revoked or set())
    return [rows.message.task_id for rows in together], [m.task_id for m in alone]


def test_plain_rows_share_a_forward_in_their_order() -> None:
    """This holds for single rows, for many rows and for an alias of the task."""
    messages = [message("a"), message("b", [1, 2], task=BATCH_PREDICT), message("c", task="their.predict")]
    assert ids(messages) == (["a", "b", "c"], [])


def test_of_two_messages_with_the_same_id_one_shares_a_forward() -> None:
    """Outcomes are looked up by id, so one of them would get the answers of the other."""
    first, second, third = message("a", 1), message("a", 2), message("a", 3)
    together, alone = batchable.split([first, message("b"), second, third], SERVED, ())
    assert [rows.message for rows in together if rows.message.task_id == "a"] == [first]
    assert alone == [second, third]


@pytest.mark.parametrize("crashes", [0, 1])
def test_a_suspect_runs_alone(crashes: int) -> None:
    """A worker died while it held this message: the next death proves its guilt, and affects no other message."""
    assert ids([message("a"), message("b", crashes=crashes), message("c")]) == (["a", "c"], ["b"])


def test_a_revoked_message_runs_alone() -> None:
    """Celery checks revocation when it runs a message."""
    assert ids([message("a"), message("b"), message("c")], {"b", "x"}) == (["a", "c"], ["b"])


@pytest.mark.parametrize("task", ["own.task", "mlq.other"])
def test_another_task_runs_alone(task: str) -> None:
    """It does not use the model."""
    assert ids([message("a"), message("b", task=task)]) == (["a"], ["b"])


def test_a_duplicate_of_a_message_that_runs_alone_still_shares_a_forward() -> None:
    """Only equal ids within a forward are a conflict."""
    assert ids([message("a", crashes=1), message("a")]) == (["a"], ["a"])
