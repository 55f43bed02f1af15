"""What shares a forward, and what runs by itself."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from mlq.engine import batchable
from mlq.protocol.claim import Claim
from mlq.protocol.message import Message, decode
from mlq.protocol.names import BATCH_PREDICT, PREDICT

SERVED = {PREDICT: PREDICT, BATCH_PREDICT: BATCH_PREDICT, "their.predict": PREDICT}


def message(task_id: str, argument: Any = 1, *, task: str = PREDICT, crashes: int | None = None) -> Message:
    """Decode a message as a stock client sends it; with `crashes`, workers died with it in hand."""
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
    """Split, and name what shares a forward and what runs by itself."""
    together, alone = batchable.split(messages, SERVED, revoked or set())
    return [rows.message.task_id for rows in together], [m.task_id for m in alone]


def test_plain_rows_share_a_forward_in_their_order() -> None:
    """Of single rows, of many and under a foreign name."""
    messages = [message("a"), message("b", [1, 2], task=BATCH_PREDICT), message("c", task="their.predict")]
    assert ids(messages) == (["a", "b", "c"], [])


def test_an_id_that_is_there_twice_shares_a_forward_once() -> None:
    """Outcomes are looked up by id: one of the two would be answered with the other's rows."""
    first, second, third = message("a", 1), message("a", 2), message("a", 3)
    together, alone = batchable.split([first, message("b"), second, third], SERVED, ())
    assert [rows.message for rows in together if rows.message.task_id == "a"] == [first]
    assert alone == [second, third]


@pytest.mark.parametrize("crashes", [0, 1])
def test_a_suspect_runs_by_itself(crashes: int) -> None:
    """A worker died with it, or with it among others: the next that dies names the culprit, and takes nobody along."""
    assert ids([message("a"), message("b", crashes=crashes), message("c")]) == (["a", "c"], ["b"])


def test_what_was_revoked_runs_by_itself() -> None:
    """Which is where Celery looks whether it may."""
    assert ids([message("a"), message("b"), message("c")], {"b", "x"}) == (["a", "c"], ["b"])


@pytest.mark.parametrize("task", ["own.task", "mlq.other"])
def test_another_task_runs_by_itself(task: str) -> None:
    """The model has no part in it."""
    assert ids([message("a"), message("b", task=task)]) == (["a"], ["b"])


def test_a_duplicate_of_what_runs_by_itself_still_shares_a_forward() -> None:
    """Only ids that share a forward stand in each other's way."""
    assert ids([message("a", crashes=1), message("a")]) == (["a"], ["a"])
